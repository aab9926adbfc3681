"""`kerora.load_dataset`: rows from files or from memory, split."""

import os
from collections.abc import Collection, Mapping
from typing import Any

from kerora.data.rows import Dataset
from kerora.scripting.arguments import refuse_more
from kerora.scripting.request import data_request, staged
from kerora.settings.fit import DataConfig
from kerora.settings.resolve import resolve, to_dict
from kerora.tasks.found import with_task
from kerora.tasks.registry import task_named


def load_dataset(
    config: DataConfig | Mapping[str, Any] | str | os.PathLike[str] | Any = None,
    seed: int = 42,
    *,
    train: Any = None,
    validation: Any = None,
    test: Any = None,
    without: Collection[str] = (),
    task: str | None = None,
    **settings: Any,
) -> Dataset[Any]:
    """Load a data set with its splits, limited to a subset if one is set.

    The arguments `train`, `validation` and `test` replace parts of the source or add parts to it. If `train` is given,
    the source is not read. A missing validation part is cut from the training rows (`validation_split`), and so is a
    missing test part (`test_split`).

    Args:
        config: the source, as `data` of `kerora.fit`: a name, a path or rows in memory. Or the settings as a
            `DataConfig` or a dict of its keys. None takes the bundled data.
        seed: seed of the splits and the subset. Default: 42.
        train: the training rows, in a file or in memory; see `kerora.fit`.
        validation: the validation rows.
        test: the test rows.
        without: parts to leave out, such as ``test``. Their files are not opened. Rows that are cut for them from the
            training rows are dropped, so that the training rows are the same as with these parts.
        task: the task that reads the rows, such as ``multi-label``. Default: found by the data, as in a fit.
        **settings: settings of the data by the names of their options: ``text="message"``, ``test_split=0.2``.

    Raises:
        ConfigError: a setting is unknown or wrong.
        DataError: a row cannot be used. The error gives the place and the remedy.
    """
    if not isinstance(seed, int) or isinstance(seed, bool):
        refuse_more([seed], "kerora.load_dataset")
    rows = {"train": train, "validation": validation, "test": test}
    with staged(data_request(config, rows, settings, "kerora.load_dataset")) as stage:
        given = resolve(to_dict(stage.config), {"task": task, "training.seed": seed})
        config = with_task(given)
        dataset: Dataset[Any] = task_named(config.task).rows.load(config, tuple(without))
        return dataset
