"""sweeps: many trials of one recipe, proposed by Optuna, each a run in a process of its own, all in one store"""
