"""What predictions.csv holds of a row. A module of its own, so that a report does not load Keras."""

SHOWN_CHARACTERS = 500
"""Number of characters of a text that predictions.csv holds."""
