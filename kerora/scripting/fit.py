"""`kerora.fit`: a whole run from rows in files or in memory, with settings by name."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerora.errors import ConfigError
from kerora.scripting.arguments import callbacks_of, progress_of, refuse_more
from kerora.scripting.request import read_request, staged
from kerora.scripting.result import FitResult
from kerora.settings.fit import FitConfig
from kerora.training import fit as training
from kerora.training.progress import Progress


def fit(
    config: FitConfig | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    *more: Any,
    data: Any = None,
    train: Any = None,
    validation: Any = None,
    test: Any = None,
    callbacks: keras.callbacks.Callback | Sequence[keras.callbacks.Callback] = (),
    force: bool = False,
    resume: str | os.PathLike[str] | None = None,
    progress: Progress | bool | None = None,
    argv: Sequence[str] = (),
    **settings: Any,
) -> FitResult:
    """Fine-tune a classifier or a language model and write its run folder.

    Rows are paths, names of data sets, or values in memory: a frame of pandas, polars or pyarrow (a lazy frame is
    collected), a dict of columns, a list of dicts or of ``(text, label)``, a tuple ``(texts, labels)``, a data set of
    Hugging Face, tf.data or torch. The index of a frame is ignored. None and NaN are missing values. The run keeps the
    rows with all their columns in its folder ``data``.

    Args:
        config: settings as a `FitConfig`, as a dict such as ``{"epochs": 3}`` or ``{"training": {"epochs": 3}}``, or as
            the path of a YAML file. Or the rows, as in `data`. None takes every default.
        *more: nothing. ``fit(texts, labels)`` is refused: write ``fit(train=(texts, labels))``.
        data: the whole data set: a value of ``--data``, the training rows in memory, or parts in memory by name, such
            as ``{"train": ..., "test": ...}`` or a `DatasetDict`.
        train: the training rows.
        validation: the validation rows. Default: a fraction of the training rows (`validation_split`).
        test: the test rows. Default: none, or a fraction of the training rows (`test_split`).
        callbacks: further callbacks of Keras, or one. The logs hold the results of the validation rows. Checkpoints do
            not hold the state of these callbacks.
        force: whether to replace an existing run of the same name.
        resume: path of a stopped run to continue. Its settings are those of the run folder.
        progress: True, or an object such as `kerora.callbacks.Progress()`, shows the progress. None shows nothing.
        argv: the command line, for the manifest.
        **settings: settings by the names of their options: ``epochs=1``, ``text="message"``. They override `config`.

    Raises:
        KeroraError: an input cannot be used, and nothing was written. Or training failed or was interrupted, and
            the last good state was saved.
    """
    refuse_more(more, "kerora.fit")
    callbacks, progress = callbacks_of(callbacks), progress_of(progress)
    rows = {"data": data, "train": train, "validation": validation, "test": test}
    if resume is not None:
        _check_alone({"config": config, **rows, **settings, "force": force or None})
        return FitResult.of(training.resume(os.fspath(resume), progress=progress, callbacks=callbacks))
    with staged(read_request(config, rows, settings)) as stage:
        found = training.fit(
            stage.config, force=force, progress=progress, argv=argv, callbacks=callbacks, files=stage.files
        )
    return FitResult.of(found)


def _check_alone(others: Mapping[str, Any]) -> None:
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise ConfigError(f"resume takes every setting from the run folder. Leave out: {', '.join(given)}.")
