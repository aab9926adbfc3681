"""Keras callbacks for `model.fit` in anyone's script."""

from kerora.training.callbacks import ClassificationReport, EarlyStopping, History
from kerora.training.progress import Progress

__all__ = ["ClassificationReport", "EarlyStopping", "History", "Progress"]
