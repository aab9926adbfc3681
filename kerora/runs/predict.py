"""Predicts texts with the model of a run and writes a CSV or JSON Lines file. The input may be of any size."""

import contextlib
import csv
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from kerora.data.extract import Record
from kerora.data.rows import Rows
from kerora.data.sources import stream_texts
from kerora.errors import ConfigError, DataError, RunError
from kerora.lora.files import read_adapter_config
from kerora.runfolder import RunFolder, atomic_file
from kerora.runs.open import load, read_config_for
from kerora.settings.fit import DataConfig
from kerora.settings.resolve import resolve, to_dict
from kerora.tasks.registry import Task

FORMS = {".csv": "csv", ".jsonl": "jsonl"}
POOL_BATCHES = 16


def predict_file(
    path: Path | str,
    source: Path | IO[bytes],
    output: Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    form: str | None = None,
    submission: bool = False,
    batch_size: int = 64,
    preset: str | Path | None = None,
    force: bool = False,
    stream: IO[str] | None = None,
) -> int:
    """Predict every text of a source, and write id, label, score and p_<class> of each.

    Args:
        path: the run folder.
        source: a file, or a binary stream.
        output: a .csv or .jsonl file. On an error, no file is left. None writes to `stream`.
        settings: dotted ``data.`` settings of the columns. The other settings are those of the run.
        form: ``csv`` or ``jsonl``. None takes the ending of the output, or ``csv`` without an output.
        submission: whether to write only id and label.
        batch_size: rows in a batch. Default: 64.
        preset: path or name of the base model, if it moved since the run was made.
        force: whether to replace an existing output file.
        stream: the target if `output` is None.

    Returns:
        The number of rows.

    Raises:
        RunError: the output exists and `force` is False, or cannot be written.
        DataError: a row cannot be used.
    """
    if output is not None and output.exists() and not force:
        raise RunError(f"{output} exists. Choose another --output or add --force.")
    form = form or _form(output)
    run = RunFolder.open(path)
    trained, task = read_config_for(run, "predict")
    config = _column_config(trained.data, settings or {}, isinstance(source, str | Path))
    records = stream_texts(source, config)
    first = next(records, None)  # an error in the input then appears before the slow loading of the model
    model = load(run.path, preset)
    if first is not None and first.pair is None and read_adapter_config(run.adapter).get("kerora", {}).get("pairs"):
        raise DataError(
            f"{path} was trained on pairs, but the input has one text per row. Name two columns with --text."
        )
    rows = itertools.chain([first] if first is not None else [], records)
    with contextlib.ExitStack() as stack:
        target = stream if output is None else stack.enter_context(atomic_file(output))
        if target is None:
            raise ConfigError("predict_file needs an output file or a stream.")
        columns = ["id", *task.predictions.columns(model, submission)]
        return _write(target, form, columns, _predictions(task, model, rows, batch_size, submission))


def _column_config(of_the_run: DataConfig, settings: Mapping[str, Any], is_file: bool) -> DataConfig:
    trained = to_dict(of_the_run)
    # `columns` and `delimiter` only for a file: with them, a stream of plain text would be read as CSV
    kept = ["text", "text_join", "id", "skip_bad_rows", *(["columns", "delimiter"] if is_file else [])]
    return resolve({f"data.{key}": trained[key] for key in kept}, settings).data


def _form(output: Path | None) -> str:
    if output is None:
        return "csv"
    if output.suffix.lower() not in FORMS:
        raise ConfigError(f"The output must end in .csv or .jsonl, or name the form with --format. Received: {output}")
    return FORMS[output.suffix.lower()]


def _predictions(
    task: Task, model: Any, records: Iterator[Record], batch_size: int, submission: bool
) -> Iterator[list[Any]]:
    # One pool of batches at a time. Rows of similar length share a batch, and the memory stays bounded.
    while pool := list(itertools.islice(records, batch_size * POOL_BATCHES)):
        pairs = None if pool[0].pair is None else [record.pair or "" for record in pool]
        rows: Rows[Any] = Rows([record.text for record in pool], [record.id for record in pool], pairs=pairs)
        found = task.predictions.predict(model, rows, batch_size, submission)
        yield from ([identifier, *values] for identifier, values in zip(rows.ids, found, strict=True))


def _write(target: IO[str], form: str, columns: Sequence[str], rows: Iterator[list[Any]]) -> int:
    writer = csv.writer(_PlainLineEnds(target))
    if form == "csv":
        writer.writerow(columns)
    count = 0
    for values in rows:
        if form == "csv":
            writer.writerow([f"{value:.6f}" if isinstance(value, float) else value for value in values])
        else:
            plain = [round(value, 6) if isinstance(value, float) else value for value in values]
            target.write(json.dumps(dict(zip(columns, plain, strict=True)), ensure_ascii=False) + "\n")
        count += 1
    return count


class _PlainLineEnds:
    """Ends the lines of a csv.writer with one line feed, which tools such as `cut` and `sort` expect.

    The option ``lineterminator`` is no solution: with it, the writer of Python 3.11 does not quote a single carriage
    return.
    """

    def __init__(self, target: IO[str]) -> None:
        self.target = target

    def write(self, row: str) -> int:
        return self.target.write(row.removesuffix("\r\n") + "\n")
