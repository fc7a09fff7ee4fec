"""sweeps: many trials of one recipe, proposed by Optuna, each a run in a process of its own, here or on a Ray cluster, all in one store"""
