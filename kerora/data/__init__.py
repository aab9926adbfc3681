"""Text in: sources become rows, rows become tokens, tokens become batches."""
