"""Keras callbacks for `model.fit` in anyone's script."""

from kerora.tasks.classification.callback import ClassificationReport
from kerora.tasks.multi_label.callback import MultiLabelReport
from kerora.tasks.regression.callback import RegressionReport
from kerora.training.callbacks import History
from kerora.training.progress import Progress
from kerora.training.stopping import EarlyStopping

__all__ = ["ClassificationReport", "EarlyStopping", "History", "MultiLabelReport", "Progress", "RegressionReport"]
