"""Embeds texts with a run or a preset: one vector for each text. The input may be of any size."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from kerora.data.bad_rows import BadRows, write_bad_rows
from kerora.data.extract import Record
from kerora.data.streams import stream_texts
from kerora.data.vectors import check_ending, vector_file
from kerora.errors import ConfigError
from kerora.models import catalogue
from kerora.models.embedding import Embedder
from kerora.models.packaged import PACKAGED
from kerora.models.precision import backbone_dtype
from kerora.models.presets import find_preset
from kerora.notices import notice
from kerora.places import check_output
from kerora.runfolder import RunFolder
from kerora.runs.inputs import check_pairs, empty_count, input_config, pools, rows_of
from kerora.runs.open import load, read_by_columns_of, read_config
from kerora.settings.fit import DataConfig, FitConfig


def embed_file(
    model: Path | str,
    source: Path | IO[bytes],
    output: Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    batch_size: int = 64,
    max_length: int | None = None,
    preset: str | Path | None = None,
    force: bool = False,
    skipped: BadRows | None = None,
) -> np.ndarray | int:
    """Embed every text of a source, in the order of the rows; see `Embedder`.

    Args:
        model: the folder of a run, whose adapter is applied, or a preset.
        source: a file, or a binary stream.
        output: a .npy or .parquet file. On an error, no file is left.
        settings: dotted ``data.`` settings of the columns. The other settings are those of the run.
        batch_size: rows in a batch. Default: 64.
        max_length: longest window in tokens. Default: that of the run; for a preset 256.
        preset: path or name of the base model, if it moved since the run was made.
        force: whether to replace an existing output file.
        skipped: counts the rows that `skip_bad_rows` drops.

    Returns:
        The number of rows that were written. Without `output` the vectors, float32 (rows, width).

    Raises:
        ConfigError: the output has another ending, or `preset` is given beside a preset.
        RunError: the output exists and `force` is False, or cannot be written.
        PresetError: there is no such run or preset.
        DataError: a row cannot be used.
    """
    if output is not None:
        check_ending(output)
        check_output(output, force)
    run = run_of(model, preset)
    config = _reading(run, settings or {}, isinstance(source, str | Path))
    bad = empty_count(skipped, config)
    records = stream_texts(source, config, bad)
    first = next(records, None)  # an error in the input then appears before the slow loading of the model
    if run is not None:
        check_pairs(run, first)
    embedder = _embedder(model, run, max_length, preset)
    parts = _embedded(embedder, itertools.chain([] if first is None else [first], records), batch_size)
    result: np.ndarray | int = 0
    if output is None:
        result = np.concatenate([np.zeros((0, embedder.width), np.float32), *(vectors for _, vectors in parts)])
    else:
        with vector_file(output, embedder.width) as write:
            for ids, vectors in parts:
                write(ids, vectors)
                result += len(ids)
    write_bad_rows(config.bad_rows, [bad])
    return result


def run_of(model: Path | str, preset: str | Path | None = None) -> RunFolder | None:
    """Return the run in a folder, or None if `model` names a preset.

    Raises:
        ConfigError: `preset`, the base model of a run, is given beside a preset.
    """
    run = RunFolder(model)
    if run.manifest.is_file():
        if str(model) in (*catalogue.bundled_names(), *PACKAGED, *catalogue.registered()):
            notice(f"{model} is a run folder and the name of a preset. The run is used.")
        return run
    if preset is not None:
        raise ConfigError(f"--preset {preset} names the base model of a run, but {model} is no run. Leave it out.")
    return None


def _reading(run: RunFolder | None, settings: Mapping[str, Any], is_file: bool) -> DataConfig:
    if run is None:
        return input_config(DataConfig(), settings, is_file)
    return read_by_columns_of(run, input_config(read_config(run).data, settings, is_file))


def _embedder(model: Path | str, run: RunFolder | None, max_length: int | None, preset: str | Path | None) -> Embedder:
    if run is not None:
        return Embedder.of_model(load(run.path, preset), max_length)
    defaults = FitConfig()
    return Embedder.of_preset(find_preset(model), max_length or defaults.model.max_length, backbone_dtype(defaults))


def _embedded(embedder: Embedder, records: Iterator[Record], batch_size: int) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield the ids and the vectors of the records, a pool of batches at a time."""
    for pool in pools(records, batch_size):
        yield [record.id for record in pool], embedder.embed(rows_of(pool), batch_size)
