"""Teachers, students, and the encoders that they are made of."""
