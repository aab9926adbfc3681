"""`kerora.embed`: vectors of texts in files or in memory."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.bad_rows import BadRows
from kerora.data.memory import is_in_memory
from kerora.runs.embed import embed_file, run_of
from kerora.scripting.inputs import written
from kerora.settings.flat import from_flat


def embed(
    model: Path | str,
    source: Any,
    output: Path | str | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    batch_size: int = 64,
    max_length: int | None = None,
    preset: str | Path | None = None,
    force: bool = False,
    skipped: BadRows | None = None,
    **flat: Any,
) -> np.ndarray | int:
    """Embed every text of a file or of rows in memory: the mean of the states of its tokens.

    Special tokens count, padding does not. A text that is longer than `max_length` is divided into windows that overlap
    by a quarter, and its vector is the mean of theirs, weighted by tokens. The vectors are not normalised.

    Args:
        model: the folder of a run, whose adapter is applied, or a preset.
        source: the path of a file, a binary stream, or rows in memory: a list of texts, a frame, a dict of columns, or
            another form of `kerora.fit`.
        output: a .npy or .parquet file. On an error, no file is left.
        settings: dotted ``data.`` settings of the columns. The other settings are those of the run.
        batch_size: rows in a batch. Default: 64.
        max_length: longest window in tokens. Default: that of the run; for a preset 256.
        preset: path or name of the base model of a run, if it moved since the run was made.
        force: whether to replace an existing output file.
        skipped: counts the rows that `skip_bad_rows` drops.
        **flat: settings by the names of their options: ``text="message"``.

    Returns:
        The vectors, float32 (rows, width), in the order of the rows. With `output` the number of rows.

    Raises:
        ConfigError: the output has another ending, or `preset` is given although `model` is no run.
        RunError: the output exists or cannot be written.
        PresetError: there is no such run or preset.
        DataError: a row cannot be used.
    """
    given = {**(settings or {}), **from_flat(flat, call="kerora.embed")}
    target = None if output is None else Path(output)
    options: dict[str, Any] = {"settings": given, "batch_size": batch_size, "max_length": max_length}
    options |= {"preset": preset, "force": force, "skipped": skipped}
    if is_in_memory(source) and not hasattr(source, "read"):
        with written(run_of(model, preset), source, "input", given) as file:
            return embed_file(model, file, target, **options)
    return embed_file(model, Path(source) if isinstance(source, str | os.PathLike) else source, target, **options)
