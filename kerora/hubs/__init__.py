"""The sites that models and data come from, and go to: names, downloads with time limits, uploads."""
