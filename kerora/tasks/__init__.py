"""The tasks that a model can be trained for. Each task is a folder; all have one contract and one registry."""
