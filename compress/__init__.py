"""`compress` turns a big multimodal teacher into a small student that ships to devices."""

__version__ = "0.1.0"
