"""Metrics, their significance, and the pages and tables that show them."""
