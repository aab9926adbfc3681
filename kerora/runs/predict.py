"""Predicts texts with the model of a run and writes a CSV or JSON Lines file. The input may be of any size."""

import contextlib
import csv
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kerora.data.bad_rows import BadRows, by_reason, write_bad_rows
from kerora.data.extract import Record
from kerora.data.rows import Rows
from kerora.data.streams import stream_texts
from kerora.errors import ConfigError, DataError
from kerora.notices import notice
from kerora.places import check_output
from kerora.runfolder import RunFolder, atomic_file
from kerora.runs.inputs import check_pairs, empty_count, input_config, pools, rows_of
from kerora.runs.open import load, read_by_columns_of, read_config_for
from kerora.runs.submission import PlainLineEnds, cell_text
from kerora.tasks.abstention import ANSWER_ALL, Abstention, answers
from kerora.tasks.registry import Task

FORMS = {".csv": "csv", ".jsonl": "jsonl"}


def predict_file(
    path: Path | str,
    source: Path | IO[bytes],
    output: Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    form: str | None = None,
    submission: bool = False,
    fill: str | None = None,
    batch_size: int = 64,
    preset: str | Path | None = None,
    force: bool = False,
    stream: IO[str] | None = None,
    skipped: BadRows | None = None,
    abstain: Abstention = ANSWER_ALL,
) -> int:
    """Predict every text of a source, and write id, label, score and p_<class> of each.

    Args:
        path: the run folder.
        source: a file, or a binary stream.
        output: a .csv or .jsonl file. On an error, no file is left. None writes to `stream`.
        settings: dotted ``data.`` settings of the columns. The other settings are those of the run.
        form: ``csv`` or ``jsonl``. None takes the ending of the output, or ``csv`` without an output.
        submission: whether to write only id and label.
        fill: label of the rows that cannot be used, for a submission. Default: such a row is an error.
        batch_size: rows in a batch. Default: 64.
        preset: path or name of the base model, if it moved since the run was made.
        force: whether to replace an existing output file.
        stream: the target if `output` is None.
        skipped: counts the rows that `skip_bad_rows` drops.
        abstain: below which probability a row gets no label. Default: every row gets one.

    Returns:
        The number of rows that were written.

    Raises:
        ConfigError: `abstain` is no valid threshold.
        RunError: the output exists and `force` is False, or cannot be written. Or the run cannot give the threshold.
        DataError: a row cannot be used, or a submission would lack a row.
    """
    _check_request(output, force, fill, submission)
    form = form or _form(output)
    run = RunFolder.open(path)
    trained, task = read_config_for(run, "predict")
    new = input_config(trained.data, settings or {}, isinstance(source, str | Path), fill is not None)
    config = read_by_columns_of(run, new)
    bad = empty_count(skipped, config)
    threshold = abstain.threshold(run, task)
    records = _complete(stream_texts(source, config, bad, fill is not None), bad, submission, fill)
    first = next(records, None)  # an error in the input then appears before the slow loading of the model
    model = load(run.path, preset)
    filling = None if fill is None else task.predictions.filled(model, fill)
    check_pairs(run, first)
    job = _Job(task, model, batch_size, submission, filling, threshold)
    with _target(output, stream) as target:
        count = _write(target, form, job.columns(), job.predictions(first, records), task)
    write_bad_rows(config.bad_rows, [bad])
    job.tell(count)
    return count


@contextlib.contextmanager
def _target(output: Path | None, stream: IO[str] | None) -> Iterator[IO[str]]:
    # a file is closed, but a stream of the caller stays open
    if output is not None:
        with atomic_file(output) as file:
            yield file
    elif stream is not None:
        yield stream
    else:
        raise ConfigError("predict_file needs an output file or a stream.")


def _form(output: Path | None) -> str:
    if output is None:
        return "csv"
    if output.suffix.lower() not in FORMS:
        raise ConfigError(
            f"The output must end in .csv or .jsonl, or name the form with --output-format. Received: {output}"
        )
    return FORMS[output.suffix.lower()]


def _check_request(output: Path | None, force: bool, fill: str | None, submission: bool) -> None:
    if fill is not None and not submission:
        raise ConfigError("--fill gives a label to the bad rows of a submission. Add --submission, or leave it out.")
    check_output(output, force)


def _complete(records: Iterator[Record], bad: BadRows, submission: bool, fill: str | None) -> Iterator[Record]:
    """Check that a submission lacks no row. `fill` replaces rows without a text, but not rows that were not read."""
    filled = 0
    for record in itertools.chain(records, [None]):
        filled += record is not None and record.problem is not None
        if submission and bad.count > filled:
            remedy = "" if fill is not None else ", or give rows without a text a label with --fill LABEL"
            raise DataError(
                f"A submission needs every row, but some cannot be used ({by_reason(bad.reasons)}). "
                f"Correct them{remedy}."
            )
        if record is not None:
            yield record


@dataclass
class _Job:
    """The prediction of records; counts the rows whose answer is withheld."""

    task: Task
    model: Any
    batch_size: int
    submission: bool
    filling: list[Any] | None
    threshold: float | None
    withheld: int = 0

    def columns(self) -> list[str]:
        """Return the names of the values, with that of the identifier first."""
        return ["id", *self.task.predictions.columns(self.model, self.submission)]

    def tell(self, count: int) -> None:
        """Say how many of `count` rows have no answer, if there is a threshold."""
        if self.threshold is not None:
            notice(f"{self.withheld:,} of {count:,} rows have no label: their score is below {self.threshold:.6g}.")

    def predictions(self, first: Record | None, others: Iterator[Record]) -> Iterator[list[Any]]:
        """Yield the identifier and the values of each record. `first` is None if there are no records."""
        records = itertools.chain([] if first is None else [first], others)
        for pool in pools(records, self.batch_size):
            usable = [record for record in pool if record.problem is None]
            found = self._values(rows_of(usable)) if usable else iter(())
            yield from (
                [record.id, *(next(found) if record.problem is None else self.filling or [])] for record in pool
            )

    def _values(self, rows: Rows[Any]) -> Iterator[list[Any]]:
        for values in answers(self.task, self.model, rows, self.batch_size, self.submission, self.threshold):
            self.withheld += self.threshold is not None and values[0] is None
            yield values


def _write(target: IO[str], form: str, columns: Sequence[str], rows: Iterator[list[Any]], task: Task) -> int:
    writer, style = csv.writer(PlainLineEnds(target)), task.predictions.FORMAT
    if form == "csv":
        writer.writerow(columns)
    count = 0
    for values in rows:
        if form == "csv":
            writer.writerow(
                [format(value, style) if isinstance(value, float) else cell_text(value) for value in values]
            )
        else:
            # the same digits in both forms, because more would be rounding errors of float32
            plain = [float(format(value, style)) if isinstance(value, float) else value for value in values]
            target.write(json.dumps(dict(zip(columns, plain, strict=True)), ensure_ascii=False) + "\n")
        count += 1
    return count
