"""JSON and JSON Lines files."""

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from kerora.data.lines import Lines
from kerora.data.table import RawRow, Table
from kerora.errors import DataError

ROWS_FOR_COLUMNS = 1000


def read_json_lines(lines: Lines) -> Table:
    """Read a file with one JSON object in each line. Blank lines are skipped.

    The columns are the keys of the first 1,000 objects, in order of appearance.

    Raises:
        DataError: the file is empty, or a line is not a JSON object.
    """
    return _table(lines.name, _objects(lines))


def read_json_table(lines: Lines) -> Table:
    """Read a JSON file that holds a list of objects, or an object of columns (lists of equal length).

    Raises:
        DataError: the file is empty, is not JSON, or has another structure.
    """
    text = "".join(lines)
    if not text.strip():
        raise DataError(f"{lines.name} is empty. Give a file with rows.")
    return _table(lines.name, _json_rows(lines.name, _parse(text, lines.name)))


def _objects(lines: Lines) -> Iterator[RawRow]:
    lines.row = 0
    for line in lines:
        if line.strip():
            value = _parse(line, lines.place(), lines.line)
            if not isinstance(value, dict):
                raise DataError(f"{lines.place()}: expected a JSON object. Received: {_cut(line)}")
            lines.row += 1
            yield RawRow(lines.row, lines.line, value)


def _parse(text: str, place: str, line: int = 0) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if line else f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{place}: not valid JSON at {where} ({error.msg}). Correct or remove it.") from error
    except (ValueError, RecursionError) as error:  # A number with too many digits, or lists nested too deeply.
        raise DataError(f"{place}: not usable JSON ({error}). Correct or remove it.") from error


def _json_rows(name: str, value: Any) -> Iterator[RawRow]:
    if isinstance(value, dict) and value and all(isinstance(column, list) for column in value.values()):
        lengths = {key: len(column) for key, column in value.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"{name}: the columns have different lengths: {lengths}. Make them equal.")
        value = [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    if not isinstance(value, list):
        raise DataError(
            f"{name}: expected a list of objects or an object of lists. Received: {_cut(json.dumps(value))}"
        )
    for number, item in enumerate(value, 1):
        if not isinstance(item, dict):
            raise DataError(f"{name}, row {number}: expected an object. Received: {_cut(json.dumps(item))}")
        yield RawRow(number, None, item)


def _table(name: str, rows: Iterable[RawRow]) -> Table:
    rows = iter(rows)
    head = list(itertools.islice(rows, ROWS_FOR_COLUMNS))
    if not head:
        raise DataError(f"{name} is empty. Give a file with rows.")
    columns = dict.fromkeys(key for row in head for key in row.values)
    return Table(name, tuple(columns), itertools.chain(head, rows), {})


def _cut(text: str, length: int = 40) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[:length]}..."
