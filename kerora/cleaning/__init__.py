"""Finds labels that are probably wrong, and rows that are like no other."""
