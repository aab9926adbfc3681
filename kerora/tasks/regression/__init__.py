"""Prediction of numbers: the task ``regression``."""
