"""`KeroraClassifier`: an estimator of scikit-learn for texts."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from kerora.data.labels import label_of
from kerora.data.memory_values import tensor_values
from kerora.data.rows import Rows
from kerora.runfolder import RunFolder
from kerora.runs.open import read_config
from kerora.scripting.estimator_inputs import InputError, Texts, labels_of, texts_of
from kerora.scripting.estimator_parameters import DEFAULTS, checked_names, config_of, signature
from kerora.scripting.kept_runs import OwnFolder, files_of, write_files
from kerora.scripting.request import Request, staged
from kerora.scripting.shared_models import LOCK, base_of, model_of
from kerora.settings.base import shown
from kerora.settings.fit import FitConfig
from kerora.settings.resolve import resolve, to_dict
from kerora.tasks.classification.probabilities import softmax
from kerora.training.fit import fit
from kerora.training.progress import Progress, Silent


class KeroraClassifier(ClassifierMixin, BaseEstimator):
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

    classes_: np.ndarray
    history_: list[dict[str, Any]]
    run_: str
    n_iter_: int
    n_features_in_: int
    feature_names_in_: np.ndarray
    # of the parameters those that this class reads
    run: str | None
    runs_dir: str | None
    callbacks: Any
    random_state: Any
    verbose: int
    _names: list[str]
    _folder: OwnFolder | None

    def __init__(self, **parameters: Any) -> None:
        checked_names(parameters, type(self).__name__)
        for name, default in DEFAULTS.items():
            setattr(self, name, parameters.get(name, default))

    __init__.__signature__ = signature()  # type: ignore[attr-defined]

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
        refuse(others, type(self).__name__)
        found = texts_of(X)
        labels, names = labels_of(y, len(found.first))
        parts = {"train": _table(found, labels, names)}
        if eval_set is not None:
            parts["validation"] = self._eval_table(eval_set, found, names)
        seed = self._seed()
        config = config_of(self.get_params(deep=False), seed, eval_set is not None)
        self._train(config, parts, found, {"task": "classification", "data.label": ["label"]})
        self.classes_, self._names = np.array(list(names), dtype=labels.dtype), list(names.values())
        self._set_features(found)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable label of each text, in the type of the labels of `fit`, shape (rows,)."""
        logits = self._logits(X)
        return self.classes_[logits.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, float64 (rows, classes), in the order of `classes_`."""
        return softmax(self._logits(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the logits (rows, classes). For two classes their difference (rows,): above 0 is ``classes_[1]``."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def _train(self, config: FitConfig, parts: dict[str, Any], texts: Texts, labels: dict[str, Any]) -> None:
        folder = None
        place: dict[str, Any] = {"run": self.run}
        if self.runs_dir is not None:
            place["runs_dir"] = self.runs_dir
        elif self.run is None:
            folder = OwnFolder()
            place = {"run": "run", "runs_dir": str(folder.path)}
        columns = list(texts.columns())
        join = "pair" if texts.second is not None else "space"
        names = {"data.text": columns, "data.text_join": join, **labels}
        config = resolve(to_dict(config), place, names)
        progress = Progress() if self.verbose else Silent()
        with LOCK, _own_randomness(), staged(Request(config, parts)) as stage:
            found = fit(
                stage.config,
                progress=progress,
                callbacks=list(self.callbacks or ()),
                files=stage.files,
                preset=base_of(config),
            )
        self._folder, self.run_ = folder, str(found.run.path)
        self.history_, self.n_iter_ = found.history, len(found.history)

    def _eval_table(self, eval_set: Any, train: Texts, names: dict[Any, str]) -> dict[str, list[str]]:
        found, given = eval_pair(eval_set, train)
        labels = list(tensor_values(given))
        named = [label_of(value) or "" for value in labels]
        unknown = next((value for value, name in zip(labels, named, strict=True) if name not in names.values()), None)
        if unknown is not None:
            raise InputError(f"eval_set: the label {shown(unknown)} does not occur in y. Leave out its rows.")
        if len(labels) != len(found.first):
            raise InputError(f"eval_set: there are {len(found.first)} texts, but {len(labels)} labels.")
        return {**found.columns(), "label": named}

    def _seed(self) -> int:
        state = self.random_state
        if isinstance(state, int | np.integer):
            return int(state)
        return int(check_random_state(state).randint(2**31 - 1))

    def _set_features(self, found: Texts) -> None:
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
        if found.width is not None:
            self.n_features_in_ = found.width
        if found.names is not None:
            self.feature_names_in_ = np.array(found.names, dtype=object)

    def _logits(self, X: Any) -> np.ndarray:
        """Return the logits (rows, classes) in the order of `classes_`."""
        check_is_fitted(self, "classes_")
        found = texts_of(X)
        self._check_features(found)
        rows: Rows[Any] = Rows.numbered(found.first, pairs=found.second)
        config = read_config(RunFolder.open(self.run_))
        with LOCK:
            model = model_of(Path(self.run_).resolve(), config)
            order = [model.classes.index(name) for name in self._names]
            logits: np.ndarray = model.predict_logits(rows, config.training.evaluation_batch_size)[:, order]
        return logits

    def _check_features(self, found: Texts) -> None:
        width = found.width or 1
        expected = getattr(self, "n_features_in_", 1)
        if width != expected:
            raise InputError(
                f"X has {width} features, but {type(self).__name__} is expecting {expected} features as input."
            )
        names = getattr(self, "feature_names_in_", None)
        if names is not None and found.names is not None and list(names) != list(found.names):
            raise InputError(
                f"The feature names should match those that were passed during fit. Received {list(found.names)}, "
                f"but fit had {list(names)}."
            )

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        state = {**state, "_folder": None}
        return {**state, "_files": files_of(Path(self.run_))} if hasattr(self, "run_") else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = state.pop("_files", None)
        super().__setstate__(state)
        if files is not None:
            self._folder = OwnFolder()
            write_files(files, self._folder.path)
            self.run_ = str(self._folder.path)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def eval_pair(eval_set: Any, train: Texts) -> tuple[Texts, Any]:
    """Return the texts and the labels of an `eval_set`.

    Raises:
        InputError: it is no pair, or its texts have another form than the training texts.
    """
    # XGBoost and LightGBM take a list of such pairs
    pair = eval_set[0] if isinstance(eval_set, list) and len(eval_set) == 1 else eval_set
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise InputError("eval_set must be (X, y), the validation rows.")
    found = texts_of(pair[0])
    if (found.second is None) != (train.second is None):
        raise InputError("eval_set and X must both hold single texts, or both hold pairs.")
    return found, pair[1]


def refuse(others: dict[str, Any], estimator: str) -> None:
    """Refuse arguments of `fit` that an estimator does not have.

    Raises:
        TypeError: there is one.
    """
    if others.get("sample_weight") is not None:
        raise TypeError(
            f"{estimator} has no sample_weight. Use class_weight='balanced', or repeat rows that count more."
        )
    unknown = [name for name in others if name != "sample_weight"]
    if unknown:
        raise TypeError(f"fit of {estimator} has no argument {', '.join(map(repr, unknown))}.")


def _table(texts: Texts, labels: np.ndarray, names: dict[Any, str]) -> dict[str, list[str]]:
    return {**texts.columns(), "label": [names[value] for value in labels]}


@contextlib.contextmanager
def _own_randomness() -> Iterator[None]:
    """Restore the global random states afterwards. A fit seeds them, but the caller may sample from them too."""
    states = np.random.get_state(), random.getstate(), torch.get_rng_state()
    try:
        yield
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])
        torch.set_rng_state(states[2])
