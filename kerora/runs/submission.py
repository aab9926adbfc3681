"""submission.csv: the predicted labels of test rows, with the columns id and label."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import IO, Any

from kerora.runfolder import RunFolder, write_text
from kerora.tasks.registry import Task


def write_unlabelled(run: RunFolder, task: Task, model: Any, rows: Any, batch_size: int) -> None:
    """Predict the test rows without labels of a run, and write submission.csv in the order of the rows.

    Args:
        run: the run.
        task: the task of the run.
        model: its trained model.
        rows: the rows.
        batch_size: rows in a batch.
    """
    predictions = task.predictions
    found = predictions.predict(model, rows, batch_size, True)
    # numbers with the same digits as in `kerora predict --submission`
    shown = (
        [format(value, predictions.FORMAT) if isinstance(value, float) else cell_text(value) for value in row]
        for row in found
    )
    lines = ([identifier, *values] for identifier, values in zip(rows.ids, shown, strict=True))
    write_text(run.submission, submission_text(["id", *predictions.columns(model, True)], lines))


def cell_text(value: Any) -> Any:
    """Return a value for a cell of CSV: a list, such as several labels, as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def submission_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return the text of a CSV file whose lines end with one line feed."""
    stream = io.StringIO()
    csv.writer(PlainLineEnds(stream)).writerows((columns, *rows))
    return stream.getvalue()


class PlainLineEnds:
    """Ends the lines of a csv.writer with one line feed, which tools such as `cut` and `sort` expect.

    The option ``lineterminator`` is no solution: with it, the writer of Python 3.11 does not quote a single carriage
    return.
    """

    def __init__(self, target: IO[str]) -> None:
        self.target = target

    def write(self, row: str) -> int:
        """Write one row of the writer."""
        return self.target.write(row.removesuffix("\r\n") + "\n")
