"""What the estimators of scikit-learn share: parameters, training in a run folder of their own, one base model."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from kerora.data.rows import Rows
from kerora.notices import naming
from kerora.runfolder import RunFolder
from kerora.runs.open import read_config
from kerora.scripting.arguments import callbacks_of
from kerora.scripting.estimator_inputs import InputError, Texts, texts_of
from kerora.scripting.estimator_parameters import DEFAULTS, checked_names, in_words_of_sklearn, signature
from kerora.scripting.kept_runs import OwnFolder, files_of, write_files
from kerora.scripting.request import Request, staged
from kerora.scripting.shared_models import LOCK, base_of, model_of
from kerora.settings.fit import FitConfig
from kerora.settings.resolve import resolve, to_dict
from kerora.training.fit import fit
from kerora.training.progress import Progress, Silent


class TextEstimator(BaseEstimator):
    """An estimator of scikit-learn that fine-tunes a text model. A subclass says what it predicts.

    Attributes:
        task: the task of its runs.
        history_: the rows of history.csv: one dict for each epoch.
        n_iter_: number of trained epochs.
        run_: path of the run folder.
        n_features_in_: number of columns; only if X had columns.
        feature_names_in_: names of the columns; only if X was a frame.
    """

    task = ""
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
    _folder: OwnFolder | None

    def __init__(self, **parameters: Any) -> None:
        checked_names(parameters, type(self).__name__)
        for name, default in DEFAULTS.items():
            setattr(self, name, parameters.get(name, default))

    __init__.__signature__ = signature()  # type: ignore[attr-defined]

    def _train(self, config: FitConfig, parts: dict[str, Any], texts: Texts) -> None:
        folder = None
        place: dict[str, Any] = {"run": self.run}
        if self.runs_dir is not None:
            place["runs_dir"] = self.runs_dir
        elif self.run is None:
            folder = OwnFolder()
            place = {"run": "run", "runs_dir": str(folder.path)}
        columns = list(texts.columns())
        join = "pair" if texts.second is not None else "space"
        labels = [name for name in parts["train"] if name not in columns]
        names = {"data.text": columns, "data.text_join": join, "data.label": labels, "task": self.task}
        config = resolve(to_dict(config), place, names)
        progress = Progress() if self.verbose else Silent()
        with LOCK, _own_randomness(), naming(in_words_of_sklearn), staged(Request(config, parts)) as stage:
            found = fit(
                stage.config,
                progress=progress,
                callbacks=callbacks_of(self.callbacks),
                files=stage.files,
                preset=base_of(config),
            )
        self._folder, self.run_ = folder, str(found.run.path)
        self.history_, self.n_iter_ = found.history, len(found.history)

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

    def _outputs(self, X: Any) -> tuple[np.ndarray, Any]:
        """Return the outputs of the model (rows, outputs), and the model."""
        check_is_fitted(self, "run_")
        found = texts_of(X)
        self._check_features(found)
        rows: Rows[Any] = Rows.numbered(found.first, pairs=found.second)
        config = read_config(RunFolder.open(self.run_))
        with LOCK:
            model = model_of(Path(self.run_).resolve(), config)
            outputs: np.ndarray = model.predict_logits(rows, config.training.evaluation_batch_size)
            return outputs, model

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


def validation_texts(eval_set: Any, train: Texts) -> tuple[Texts, Any]:
    """Return the texts and the labels of validation rows ``(X, y)``.

    Raises:
        InputError: it has another form, or holds pairs where the training rows hold single texts.
    """
    # XGBoost and LightGBM take a list of such pairs
    pair = eval_set[0] if isinstance(eval_set, list) and len(eval_set) == 1 else eval_set
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise InputError("eval_set must be (X, y), the validation rows.")
    found = texts_of(pair[0])
    if (found.second is None) != (train.second is None):
        raise InputError("eval_set and X must both hold single texts, or both hold pairs.")
    return found, pair[1]


def refuse(others: dict[str, Any], estimator: TextEstimator, remedy: str) -> None:
    """Refuse further arguments of `fit`.

    Raises:
        TypeError: there are some.
    """
    name = type(estimator).__name__
    if others.get("sample_weight") is not None:
        raise TypeError(f"{name} has no sample_weight. {remedy}")
    unknown = [key for key in others if key != "sample_weight"]
    if unknown:
        raise TypeError(f"fit of {name} has no argument {', '.join(map(repr, unknown))}.")


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
