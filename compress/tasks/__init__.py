"""The tasks: each kind of answer is one room, a class in a file of its own, named in TASKS of compress/tables.py."""
