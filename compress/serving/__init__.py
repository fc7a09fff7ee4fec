"""`compress serve`: a page and an HTTP API that ask a bundle, and the teacher beside it, with one's own input."""
