"""What the tasks share that read a whole text at once: classification and its kin."""
