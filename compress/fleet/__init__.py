"""Other devices: measuring there, and reading what was measured."""
