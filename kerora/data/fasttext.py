"""Files of fastText: each line has labels such as ``__label__positive``, and the text."""

from collections.abc import Iterator

from kerora.data.lines import BadLineError, Lines
from kerora.data.table import RawRow, Table
from kerora.errors import DataError

PREFIX = "__label__"


def read_fasttext(lines: Lines, skip_bad_rows: bool = False) -> Table:
    """Read a file of fastText. Blank lines are skipped.

    A line without a label, or with several, has a `problem`: a row has one label.

    Args:
        lines: the file.
        skip_bad_rows: whether a line that cannot be decoded is a bad row. Default: it is an error.

    Raises:
        DataError: the file is empty.
    """
    if not lines.first_lines():
        raise DataError(f"{lines.name} is empty. Give a file with rows.")
    return Table(lines.name, ("text", "label"), _rows(lines, skip_bad_rows), {})


def _rows(lines: Lines, skip_bad_rows: bool) -> Iterator[RawRow]:
    number = 0
    while True:
        # Not a for loop, which an exception leaves: the line after a bad one can still be read.
        problem, words = None, []
        try:
            words = next(lines).split()
        except StopIteration:
            return
        except BadLineError as error:
            if not skip_bad_rows:
                raise
            problem = error.problem
        if not words and problem is None:
            continue
        number += 1
        # fastText accepts a label at any place in the line, not only at its start.
        labels = [word for word in words if word.startswith(PREFIX)]
        text = " ".join(word for word in words if not word.startswith(PREFIX))
        if len(labels) > 1:
            listed = ", ".join(label.removeprefix(PREFIX) for label in labels[:5])
            problem = f"has several labels: {listed}; a row can have one"
        # Without a label the row is still usable for prediction, so the reader of labels reports it.
        values = {"text": text, "label": labels[0].removeprefix(PREFIX) if labels else None}
        yield RawRow(number, lines.line, {} if problem else values, problem)
