"""Low-rank adaptation: the maths, its injection into a Keras model, and its files."""
