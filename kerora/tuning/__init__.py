"""Hyperparameter search on Optuna: spaces, studies, workers, and what they write."""
