"""The functions and classes for scripts and notebooks: rows in memory, settings by name, results to look at."""
