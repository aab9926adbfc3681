"""Rows in memory as a file for the functions that read runs."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kerora.data.memory import described, write_part
from kerora.data.trained_columns import RunDataConfig
from kerora.notices import naming
from kerora.runfolder import RunFolder
from kerora.runs.open import read_by_columns_of, read_config
from kerora.scripting.request import by_argument
from kerora.settings.fit import DataConfig


@contextlib.contextmanager
def written(run: RunFolder | None, value: Any, name: str, settings: Mapping[str, Any]) -> Iterator[Path]:
    """Write rows in memory into a temporary file for the time of the block.

    Args:
        run: its columns name values without names. None: the columns of `settings`, else ``text`` and ``label``.
        value: the rows.
        name: the argument, for messages.
        settings: dotted ``data.`` settings.

    Raises:
        DataError: the rows have no known form.
    """
    data = DataConfig() if run is None else read_config(run).data
    found = data if run is None else read_by_columns_of(run, data)
    if isinstance(found, RunDataConfig) and found.trained is not None:
        # values without names of columns are those that the run was trained on
        data = dataclasses.replace(data, text=found.trained.texts, label=found.trained.labels)
    named = {key.removeprefix("data."): item for key, item in settings.items()}
    wanted = {key: named[key] for key in ("text", "label") if key in named}
    data = dataclasses.replace(data, **wanted)
    with tempfile.TemporaryDirectory(prefix="kerora-") as folder:
        file = write_part(value, Path(folder), name, DataConfig(text=data.text, label=data.label))
        names = {str(file): f"{name} ({described(value)})"}
        with naming(lambda text: by_argument(text, names)):
            yield file
