"""Rows from a named source (DATASETS in compress/tables.py), checked and laid out as memory-mapped arrays.

A source is a function that takes `base` (the recipe's folder) and its own options by keyword, and returns a `compress.data.source.Source`.
"""
