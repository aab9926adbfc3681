"""Metrics, predictions and reports of trained models."""
