"""The tasks that a model can be trained for: one folder each, behind one contract and one registry."""
