"""`KeroraClassifier`: an estimator of scikit-learn for texts."""

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin

from kerora.data.labels import label_of
from kerora.data.memory_values import tensor_values
from kerora.models.probabilities import softmax
from kerora.scripting.estimator import TextEstimator, refuse, validation_texts
from kerora.scripting.estimator_inputs import InputError, Texts, labels_of, texts_of
from kerora.scripting.estimator_parameters import config_of
from kerora.settings.base import shown


class KeroraClassifier(ClassifierMixin, TextEstimator):
    """Text classifier with the interface of scikit-learn, for `GridSearchCV`, `cross_val_score` and `Pipeline`.

    The parameters are the settings of a fit by the names of their options (`preset`, `epochs`, `rank`,
    `learning_rate`, `max_length`, ...) with the same defaults, and these:

    - `validation_fraction`: fraction of the rows that is held out for early stopping, stratified by class. 0 trains on
      all rows. Default: 0.1.
    - `class_weight`: None or ``balanced``. Default: None.
    - `random_state`: seed of the split, the adapter, the order of the rows and dropout: an int, a `RandomState` or None
      for a random seed. Default: 42.
    - `callbacks`: further callbacks of Keras. Default: None.
    - `verbose`: 0 shows nothing, 1 the progress. Default: 0.
    - `run`: name or path of the run folder to keep. A second fit with the same name is refused. Default: None, a
      temporary folder that is removed with the object.
    - `runs_dir`: folder in which each fit keeps a run folder with a name of its own. Default: None.

    Args:
        **parameters: the settings and the parameters above.

    Attributes:
        classes_: the labels in their own type, in the order of the probabilities, shape (classes,).
        history_: the rows of history.csv: one dict for each epoch.
        n_iter_: number of trained epochs.
        run_: path of the run folder.
        n_features_in_: number of columns; only if X had columns.
        feature_names_in_: names of the columns; only if X was a frame.

    All classifiers of a process share one loaded base model. A pickle holds the adapter and the name of the preset, but
    neither the base model nor the texts.

    Example:
        ```python
        from sklearn.model_selection import cross_val_score

        scores = cross_val_score(kerora.KeroraClassifier(epochs=1, rank=4), texts, labels, cv=3)
        ```
    """

    task = "classification"
    classes_: np.ndarray
    _names: list[str]

    def fit(self, X: Any, y: Any, eval_set: Any = None, **others: Any) -> "KeroraClassifier":
        """Fine-tune the base model.

        Args:
            X: texts (rows,) as a list, an array or a column; or a frame or array of one column, or of two columns for
                pairs of texts.
            y: labels (rows,): text, whole numbers or booleans.
            eval_set: validation rows ``(X, y)`` for early stopping, in place of `validation_fraction`.
            **others: nothing; `sample_weight` is refused.

        Raises:
            ValueError: texts or labels cannot be used.
            KeroraError: a parameter is wrong, or the training failed.
        """
        refuse(others, self, "Use class_weight='balanced', or repeat rows that count more.")
        found = texts_of(X)
        labels, names = labels_of(y, len(found.first))
        parts = {"train": _table(found, labels, names)}
        if eval_set is not None:
            parts["validation"] = self._eval_table(eval_set, found, names)
        seed = self._seed()
        config = config_of(self.get_params(deep=False), seed, eval_set is not None)
        self._train(config, parts, found)
        self.classes_, self._names = np.array(list(names), dtype=labels.dtype), list(names.values())
        self._set_features(found)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable label of each text, in the type of the labels of `fit`, shape (rows,)."""
        logits, _ = self._logits(X)
        return self.classes_[logits.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, float64 (rows, classes), in the order of `classes_`."""
        return softmax(*self._logits(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the logits (rows, classes). For two classes their difference (rows,): above 0 is ``classes_[1]``."""
        logits, _ = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def _logits(self, X: Any) -> tuple[np.ndarray, float]:
        """Return the logits (rows, classes) in the order of `classes_`, and the temperature of the run."""
        logits, model = self._outputs(X)
        return logits[:, [model.classes.index(name) for name in self._names]], model.temperature

    def _eval_table(self, eval_set: Any, train: Texts, names: dict[Any, str]) -> dict[str, list[str]]:
        found, labels = validation_texts(eval_set, train)
        labels = list(tensor_values(labels))
        named = [label_of(value) or "" for value in labels]
        unknown = next((value for value, name in zip(labels, named, strict=True) if name not in names.values()), None)
        if unknown is not None:
            raise InputError(f"eval_set: the label {shown(unknown)} does not occur in y. Leave out its rows.")
        if len(labels) != len(found.first):
            raise InputError(f"eval_set: there are {len(found.first)} texts, but {len(labels)} labels.")
        return {**found.columns(), "label": named}


def _table(texts: Texts, labels: np.ndarray, names: dict[Any, str]) -> dict[str, list[str]]:
    return {**texts.columns(), "label": [names[value] for value in labels]}
