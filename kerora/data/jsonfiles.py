"""JSON and JSON Lines files."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kerora.data.annotations import exported
from kerora.data.json_layouts import parts_in, rows_in
from kerora.data.lines import BadLineError, Lines
from kerora.data.split_names import SPLIT_NAMES
from kerora.data.table import RawRow, Table
from kerora.errors import DataError

# JSON Lines has no header, and objects may leave out empty values. These rows wait in memory.
ROWS_FOR_COLUMNS = 1000


def read_json(lines: Lines, line_by_line: bool, skip_bad_rows: bool = False) -> Table:
    """Read JSON of either kind. The content decides: one object in each line, or one document.

    Args:
        lines: the file.
        line_by_line: what the ending says, for content that can be both.
        skip_bad_rows: whether a line that cannot be decoded is a bad row. Default: it is an error.

    Raises:
        DataError: the file is empty, or is no JSON of a known layout.
    """
    # By the content, because files of either kind are often named .json.
    if _is_lines(lines.first_lines(2), line_by_line):
        return read_json_lines(lines, skip_bad_rows)
    return read_json_table(lines)


def read_json_lines(lines: Lines, skip_bad_rows: bool = False) -> Table:
    """Read a file with one JSON object in each line. Blank lines are skipped.

    The columns are the keys of the first 1,000 objects, in order of appearance. Objects inside objects give further
    columns with dotted names. A line that is not a JSON object has a `problem`.

    Raises:
        DataError: the file is empty.
    """
    return _table(lines.name, _objects(lines, skip_bad_rows))


def read_json_table(lines: Lines) -> Table:
    """Read a JSON document of one of the layouts in `kerora.data.json_layouts`.

    Raises:
        DataError: the file is empty, is not JSON, or has another structure.
    """
    return table_of(lines.name, _document(lines))


def table_of(name: str, value: Any) -> Table:
    """Return the table in a parsed JSON document.

    Raises:
        DataError: it is empty or has no known layout.
    """
    return _table(name, _document_rows(rows_in(name, value)))


def read_json_parts(lines: Lines) -> dict[str, Any] | None:
    """Return the parts of a document such as ``{"train": [...], "test": [...]}``, or None for any other content.

    Raises:
        DataError: the file is not JSON.
    """
    first = lines.first_lines(2)
    if not first or not first[0].lstrip().startswith("{") or _is_lines(first, line_by_line=False):
        return None
    # only the first key is looked at, because parsing a large file twice is slow
    key = " ".join(line.strip() for line in first).lstrip("{ ").partition('"')[2].partition('"')[0]
    return parts_in(_document(lines)) if key.lower() in SPLIT_NAMES else None


def _is_lines(first: list[str], line_by_line: bool) -> bool:
    """Tell whether the first two lines that are not blank are those of a JSON Lines file."""
    start = first[0].strip() if first else ""
    if not start:
        return line_by_line
    # A bracket alone in its line begins a document that is written with line breaks.
    if start in ("[", "{"):
        return False
    value = _parsed_or_none(start)
    # One line can be a row or a document. The ending decides, unless the value can only be a table.
    if len(first) == 1:
        return line_by_line and not _is_document(value)
    if value is None:  # a broken line, or the first line of a document
        # "[{" begins a list of objects whose first line ends inside it.
        return line_by_line and not start.startswith("[{")
    return True


def _is_document(value: Any) -> bool:
    """Tell whether the only line of a file is a table. As a row, it would have no text."""
    if not isinstance(value, dict):
        return isinstance(value, list)
    if parts_in(value) or set(value) == {"data"}:
        return True
    columns = [column for column in value.values() if isinstance(column, list)]
    same_length = len(columns) == len(value) and len({len(column) for column in columns}) == 1
    # a list of objects is the conversation of a row
    return same_length and not any(isinstance(item, dict) for column in columns for item in column)


def _parsed_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _objects(lines: Lines, skip_bad_rows: bool) -> Iterator[RawRow]:
    lines.row = 0
    while True:
        try:
            line = next(lines, None)
        except BadLineError as error:
            if not skip_bad_rows:
                raise
            lines.row += 1
            yield RawRow(lines.row, lines.line, {}, error.problem)
            continue
        if line is None:
            return
        if line.strip():
            lines.row += 1
            yield _object(line, lines)


def _object(line: str, lines: Lines) -> RawRow:
    number = lines.row or 1
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return RawRow(number, lines.line, {}, f"is not valid JSON: column {error.colno} ({error.msg})")
    except (ValueError, RecursionError) as error:  # A number with too many digits, or lists nested too deeply.
        return RawRow(number, lines.line, {}, f"is not usable JSON: {error}")
    if not isinstance(value, dict):
        return RawRow(number, lines.line, {}, f"is no JSON object: {_cut(line)}")
    return RawRow(number, lines.line, dotted(value))


def _document(lines: Lines) -> Any:
    text = "".join(lines)
    if not text.strip():
        raise DataError(f"{lines.name} is empty. Give a file with rows.")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{lines.name}: not valid JSON at {where} ({error.msg}). Correct or remove it.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{lines.name}: not usable JSON ({error}). Correct or remove it.") from error


def _document_rows(items: Iterable[Any]) -> Iterator[RawRow]:
    for number, item in enumerate(items, 1):
        if isinstance(item, dict):
            yield RawRow(number, None, dotted(item))
        else:
            yield RawRow(number, None, {}, f"is no JSON object: {_cut(json.dumps(item))}")


def dotted(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of an object, and those of the objects in it with dotted names: ``review.body``."""
    if not any(isinstance(inner, dict) for inner in value.values()):
        return value
    found: dict[str, Any] = {}
    for key, inner in value.items():
        # The object stays too: a conversation or a user's column name can mean the object itself.
        found[key] = inner
        if isinstance(inner, dict):
            # a key of the file itself with such a name comes first
            found |= {f"{key}.{name}": item for name, item in dotted(inner).items() if f"{key}.{name}" not in value}
    return found


def _table(name: str, rows: Iterable[RawRow]) -> Table:
    rows = iter(rows)
    # The rows are a stream that can be read once, so the head is put back in front of the rest.
    head = list(itertools.islice(rows, ROWS_FOR_COLUMNS))
    if not head:
        raise DataError(f"{name} is empty. Give a file with rows.")
    columns = dict.fromkeys(key for row in head for key in row.values)
    # No object among the first rows: probably another format, not single bad rows.
    if not columns and head[0].problem:
        raise DataError(
            f"{name}, {head[0].place} {head[0].problem}. Correct the file, or name its format with --format."
        )
    return exported(Table(name, tuple(columns), itertools.chain(head, rows), {}))


def _cut(text: str, length: int = 40) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[:length]}..."
