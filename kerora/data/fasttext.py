"""Files of fastText: each line has labels such as ``__label__positive``, and the text."""

from collections.abc import Iterator

from kerora.data.lines import BadLineError, Lines
from kerora.data.table import RawRow, Table
from kerora.errors import DataError

PREFIX = "__label__"


def read_fasttext(lines: Lines, skip_bad_rows: bool = False) -> Table:
    """Read a file of fastText. Blank lines are skipped.

    The label of a line without labels, or with several, is a tuple. The reader of the task says what it may be.

    Args:
        lines: the file.
        skip_bad_rows: whether a line that cannot be decoded is a bad row. Default: it is an error.

    Raises:
        DataError: the file is empty.
    """
    if not lines.first_lines():
        raise DataError(f"{lines.name} is empty. Give a file with rows.")
    return Table(lines.name, ("text", "label"), _rows(lines, skip_bad_rows), {}, several=("label",))


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
        labels = tuple(word.removeprefix(PREFIX) for word in words if word.startswith(PREFIX))
        text = " ".join(word for word in words if not word.startswith(PREFIX))
        # Without one label the row is still usable for prediction, so the reader of labels reports it.
        values = {"text": text, "label": labels[0] if len(labels) == 1 else labels}
        yield RawRow(number, lines.line, {} if problem else values, problem)
