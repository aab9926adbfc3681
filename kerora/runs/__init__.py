"""The operations on a run folder: open, evaluate, predict, generate, report."""
