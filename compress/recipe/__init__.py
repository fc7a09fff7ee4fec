"""The recipe: its words, its check, and what `compress init` writes."""
