"""The modalities: each kind of input is one room, a class in a file of its own, named in MODALITIES of compress/tables.py."""
