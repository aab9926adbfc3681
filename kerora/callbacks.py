"""Keras callbacks for `model.fit` in anyone's script."""

from kerora.training.callbacks import ClassificationReport, History
from kerora.training.progress import Progress
from kerora.training.stopping import EarlyStopping

__all__ = ["ClassificationReport", "EarlyStopping", "History", "Progress"]
