"""`KeroraRegressor`: an estimator of scikit-learn that predicts numbers from texts."""

from typing import Any

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array

from kerora.data.memory_values import tensor_values
from kerora.errors import ConfigError
from kerora.scripting.estimator import TextEstimator, refuse, validation_texts
from kerora.scripting.estimator_inputs import InputError, Texts, texts_of
from kerora.scripting.estimator_parameters import config_of


class KeroraRegressor(RegressorMixin, MultiOutputMixin, TextEstimator):
    """Regressor of texts with the interface of scikit-learn, for one number or several.

    The parameters are those of `KeroraClassifier`: the settings of a fit by the names of their options (`preset`,
    `epochs`, `loss`, ...), `validation_fraction`, `random_state`, `callbacks`, `verbose`, `run` and `runs_dir`.
    `class_weight` must be None.

    Args:
        **parameters: the settings and the parameters above.

    Attributes:
        history_: the rows of history.csv: one dict for each epoch.
        n_iter_: number of trained epochs.
        run_: path of the run folder.
        n_features_in_: number of columns; only if X had columns.
        feature_names_in_: names of the columns; only if X was a frame.

    Example:
        ```python
        from sklearn.model_selection import cross_val_score

        scores = cross_val_score(kerora.KeroraRegressor(epochs=1, rank=4), texts, stars, cv=3, scoring="r2")
        ```
    """

    task = "regression"
    _flat: bool

    def fit(self, X: Any, y: Any, eval_set: Any = None, **others: Any) -> "KeroraRegressor":
        """Fine-tune the base model.

        Args:
            X: texts (rows,) as a list, an array or a column; or a frame or array of one column, or of two columns for
                pairs of texts.
            y: finite numbers (rows,) or (rows, targets).
            eval_set: validation rows ``(X, y)`` for early stopping, in place of `validation_fraction`.
            **others: nothing; `sample_weight` is refused.

        Raises:
            ValueError: texts or numbers cannot be used.
            KeroraError: a parameter is wrong, or the training failed.
        """
        refuse(others, self, "Repeat rows that count more.")
        parameters = self.get_params(deep=False)
        if parameters["class_weight"] is not None:
            raise ConfigError("class_weight is for classifiers. Leave it out.")
        found = texts_of(X)
        numbers = numbers_of(y, len(found.first))
        parts = {"train": _table(found, numbers)}
        if eval_set is not None:
            texts, others_y = validation_texts(eval_set, found)
            held_out = numbers_of(others_y, len(texts.first), "eval_set")
            if held_out.shape[1] != numbers.shape[1]:
                raise InputError(f"eval_set has {held_out.shape[1]} targets, but y has {numbers.shape[1]}.")
            parts["validation"] = _table(texts, held_out)
        self._train(config_of(parameters, self._seed(), eval_set is not None), parts, found)
        self._flat = np.asarray(tensor_values(y)).ndim == 1
        self._set_features(found)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the numbers of each text, float64: (rows,) if y was, else (rows, targets)."""
        numbers = self._outputs(X)[0].astype(np.float64)
        return numbers[:, 0] if self._flat else numbers


def numbers_of(y: Any, rows: int, name: str = "y") -> np.ndarray:
    """Return the numbers of y, float64 (rows, targets).

    Raises:
        InputError: the number of rows differs, or y is missing.
        ValueError: a value is no finite number.
    """
    if y is None:
        raise InputError("fit requires y to be passed, but the target y is None.")
    values = tensor_values(y)
    kind = np.asarray(values).dtype.kind
    if kind == "b":
        raise InputError(
            f"{name} holds true and false, which are no numbers. Use KeroraClassifier, or give 0.0 and 1.0."
        )
    found: np.ndarray = check_array(
        values, dtype=np.float64, ensure_2d=False, allow_nd=False, ensure_min_samples=0, input_name=name
    )
    if found.ndim not in (1, 2) or len(found) != rows:
        raise InputError(f"Found input variables with inconsistent numbers of samples: {[rows, len(found)]}")
    return found.reshape(rows, -1)


def _table(texts: Texts, numbers: np.ndarray) -> dict[str, list[Any]]:
    columns = texts.columns()
    names = ["label"] if numbers.shape[1] == 1 else [f"target_{place}" for place in range(numbers.shape[1])]
    return {**columns, **dict(zip(names, numbers.T.tolist(), strict=True))}
