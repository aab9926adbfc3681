"""`KeroraMultiLabelClassifier`: an estimator of scikit-learn for texts with any number of labels."""

from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import type_of_target

from kerora.data.memory_values import tensor_values
from kerora.models.multi_label import sigmoid
from kerora.runfolder import RunFolder
from kerora.scripting.estimator import TextEstimator, refuse, validation_texts
from kerora.scripting.estimator_inputs import InputError, Texts, texts_of
from kerora.scripting.estimator_parameters import config_of
from kerora.settings.base import shown
from kerora.settings.resolve import resolve, to_dict
from kerora.tasks.multi_label.labels import read_tag_labels


class KeroraMultiLabelClassifier(ClassifierMixin, TextEstimator):
    """Text classifier for several labels per text with the interface of scikit-learn.

    Labels are a matrix of 0 and 1 with one column for each label, as `sklearn.preprocessing.MultiLabelBinarizer` makes
    it: an array, a sparse matrix or a frame. The parameters are those of `KeroraClassifier`. The thresholds are chosen
    on the rows of `validation_fraction` or `eval_set`; `threshold=0.5` fixes them.

    Attributes:
        classes_: the names of the columns of a frame, else the numbers of the columns, shape (labels,).
        thresholds_: the probability from which on a text gets each label, shape (labels,).

    The other attributes are those of `KeroraClassifier`.

    Example:
        ```python
        y = sklearn.preprocessing.MultiLabelBinarizer().fit_transform([["joy"], [], ["anger", "fear"], ["joy"]])
        model = kerora.KeroraMultiLabelClassifier(epochs=1, validation_fraction=0).fit(texts, y)
        ```
    """

    task = "multi-label"
    classes_: np.ndarray
    thresholds_: np.ndarray

    def fit(self, X: Any, y: Any, eval_set: Any = None, **others: Any) -> "KeroraMultiLabelClassifier":
        """Fine-tune the base model.

        Args:
            X: texts (rows,), or pairs of texts; see `KeroraClassifier.fit`.
            y: a matrix of 0 and 1 (rows, labels).
            eval_set: validation rows ``(X, y)`` for early stopping and the thresholds.
            **others: nothing; `sample_weight` is refused.

        Raises:
            ValueError: texts or labels cannot be used.
            KeroraError: a parameter is wrong, or the training failed.
        """
        refuse(others, self, "Use class_weight='balanced', or repeat rows that count more.")
        found = texts_of(X)
        matrix, names = _matrix_of(y, len(found.first))
        columns = [f"label_{number}" for number in range(matrix.shape[1])]
        parts: dict[str, Any] = {"train": _table(found, matrix, columns)}
        if eval_set is not None:
            texts, given = validation_texts(eval_set, found)
            others_matrix, _ = _matrix_of(given, len(texts.first))
            if others_matrix.shape[1] != matrix.shape[1]:
                raise InputError(f"eval_set has {others_matrix.shape[1]} labels, but y has {matrix.shape[1]}.")
            parts["validation"] = _table(texts, others_matrix, columns)
        config = config_of(self.get_params(deep=False), self._seed(), eval_set is not None)
        self._train(resolve(to_dict(config), {}, {"data.class_names": list(map(str, names))}), parts, found)
        self.classes_ = np.array(names)
        self.thresholds_ = np.array(read_tag_labels(RunFolder.open(self.run_).labels).thresholds)
        self._set_features(found)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return which labels each text gets, int64 (rows, labels) of 0 and 1."""
        return (self.predict_proba(X) >= self.thresholds_).astype(np.int64)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each label, float64 (rows, labels), in the order of `classes_`."""
        return sigmoid(self.decision_function(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the logits (rows, labels)."""
        return self._outputs(X)[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.classifier_tags.multi_class = False
        tags.target_tags.two_d_labels = True
        tags.target_tags.multi_output = True
        return tags


def _matrix_of(y: Any, rows: int) -> tuple[np.ndarray, list[Any]]:
    """Return labels as bool (rows, labels), and the names of the labels.

    Raises:
        InputError: they are no matrix of 0 and 1, or the numbers of rows differ.
    """
    if y is None:
        raise InputError("fit requires y to be passed, but the target y is None.")
    frame = nw.from_native(y, pass_through=True)
    names = list(map(str, frame.columns)) if isinstance(frame, nw.DataFrame) else None
    dense = y.toarray() if hasattr(y, "toarray") else tensor_values(y) if names is None else frame.to_numpy()
    try:
        matrix = np.asarray(dense)
    except ValueError:
        matrix = np.empty(0)
    # scikit-learn takes a matrix without any 1 for another type
    good = matrix.ndim == 2 and matrix.dtype.kind in "biuf" and np.isin(matrix, (0, 1)).all()
    if not good or matrix.shape[1] < 2:
        raise InputError(
            "y must be a matrix of 0 and 1 with a column for each of two or more labels. Make it of lists of labels "
            f"with sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y). Received: {_kind(matrix, y)}"
        )
    if len(matrix) != rows:
        raise InputError(f"Found input variables with inconsistent numbers of samples: {[rows, len(matrix)]}")
    return matrix.astype(bool), names if names is not None else list(range(matrix.shape[1]))


def _kind(matrix: np.ndarray, y: Any) -> str:
    return f"{type_of_target(matrix)} {matrix.shape}" if matrix.ndim == 2 and matrix.size else shown(y)


def _table(texts: Texts, matrix: np.ndarray, columns: list[str]) -> dict[str, list[Any]]:
    labels = dict(zip(columns, matrix.T.astype(int).tolist(), strict=True))
    return {**texts.columns(), **labels}
