"""What is done with a run folder: open, evaluate, predict, generate, report."""
