"""Unlabelled texts from files and from standard input, as prediction reads them."""

import contextlib
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from kerora.data.bad_rows import BadRow, BadRows
from kerora.data.column_names import LABEL_NAMES, TEXT_NAMES
from kerora.data.compression import decompressed, first_bytes, open_bytes
from kerora.data.dialect import CANDIDATES, delimiter_of
from kerora.data.extract import Record, read_records
from kerora.data.files import format_of, is_table, kind_by_content, open_table, read_text_table
from kerora.data.lines import BadLineError, Lines
from kerora.errors import DataError
from kerora.settings.fit import DataConfig

INPUT = "the input"
_NAMES = {"id", *TEXT_NAMES, *LABEL_NAMES}


def stream_texts(
    source: Path | IO[bytes] | IO[str], config: DataConfig, bad: BadRows | None = None, keep_bad: bool = False
) -> Iterator[Record]:
    """Stream unlabelled texts from a file or an open stream, such as stdin, of any size.

    A ``.txt`` file holds one text in each line. Blank lines are skipped, and the row number is the number of the line.
    The format of other files follows from their content or their ending. A stream is read in the format that is set; as
    CSV if `delimiter` or `columns` is set; as Parquet, Arrow, fastText or JSON if it begins like one; and else as one
    text in each line. It may be compressed.

    Args:
        source: file or open stream.
        config: columns and formats.
        bad: counts the rows that are skipped.
        keep_bad: whether to yield skipped rows of a table too; see `read_records`.

    Yields:
        The rows in order.

    Raises:
        DataError: the file or a row cannot be used, or the text looks like the header of a table.
    """
    if isinstance(source, str | Path):
        return _from_file(Path(source), config, bad, keep_bad)
    # A text stream such as sys.stdin has its bytes in `buffer`. `Lines` decodes them itself, to report errors.
    stream: IO[bytes] = getattr(source, "buffer", cast(IO[bytes], source))
    return _from_stream(stream, config, bad, keep_bad)


def _from_file(path: Path, config: DataConfig, bad: BadRows | None, keep_bad: bool) -> Iterator[Record]:
    # The content comes first: a .txt file of fastText is a table.
    if not is_table(path, config) and (config.format == "txt" or format_of(path) == ".txt"):
        with open_bytes(path) as stream:
            yield from _plain_texts(Lines(stream, str(path), config.encoding), config, bad)
    else:
        with open_table(path, config) as table:
            yield from read_records(table, config, bad, keep_bad)


def _from_stream(stream: IO[bytes], config: DataConfig, bad: BadRows | None, keep_bad: bool) -> Iterator[Record]:
    content = decompressed(stream, INPUT)
    kind = config.format or kind_by_content(first_bytes(content, INPUT))
    if kind is None and (config.columns or config.delimiter):
        kind = "tsv" if delimiter_of(config, ".csv") == "\t" else "csv"
    if kind in ("parquet", "arrow", "tsv"):
        # these are read from the end, or twice
        with _copied(content, kind) as path, open_table(path, config) as table:
            yield from read_records(dataclasses.replace(table, name=INPUT), config, bad, keep_bad)
        return
    lines = Lines(content, INPUT, config.encoding)
    first = lines.first_lines()
    if not first:
        raise DataError(f"{INPUT} is empty. Give one text in each line, or a table.")
    # CSV is not recognised: any text can hold commas.
    kind = kind or ("jsonl" if _is_json(first[0].strip()) else "txt")
    if kind == "txt":
        yield from _plain_texts(lines, config, bad)
    else:
        yield from read_records(read_text_table(lines, kind, config), config, bad, keep_bad)


@contextlib.contextmanager
def _copied(stream: IO[bytes], kind: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kerora-") as folder:
        path = Path(folder) / f"input.{kind}"
        with path.open("wb") as copy:
            shutil.copyfileobj(stream, copy)
        yield path


def _is_json(first: str) -> bool:
    """Tell whether the first line of a stream begins an object, or a list of objects or strings."""
    # Without parsing: the first line of a document written with line breaks is no valid JSON.
    if first.startswith(("{", "[{", '["')) or first == "[":
        return True
    with contextlib.suppress(ValueError, RecursionError):
        # A text may begin with a bracket, such as "[sic]". Only valid JSON is a list.
        return first.startswith("[") and isinstance(json.loads(first), list)
    return False


def _plain_texts(lines: Lines, config: DataConfig, bad: BadRows | None) -> Iterator[Record]:
    # With --format txt the user has said that the first line is a text.
    if config.format is None:
        _check_no_header(lines, config)
    while True:
        try:
            line = next(lines, None)
        except BadLineError as error:
            if not config.skip_bad_rows:
                raise
            if bad is not None:
                bad.add(lines.name, BadRow(f"line {lines.line}", error.problem))
            continue
        if line is None:
            return
        if text := line.strip():
            # The number of the line and not of the text, so that an editor finds it although blank lines are skipped.
            yield Record(str(lines.line), text, None, lines.line)


def _check_no_header(lines: Lines, config: DataConfig) -> None:
    """Check that a text file does not begin like a table.

    Raises:
        DataError: the first line has a tab, or names of columns.
    """
    first = [line.strip() for line in lines.first_lines(2)]
    line = first[0] if first else ""
    delimiter = next((mark for mark in CANDIDATES if mark in line), None)
    names = [name.strip().strip('"').lower() for name in line.split(delimiter or ",")]
    known = {*_NAMES, *(name.lower() for name in config.text)}
    # a name alone can be a text, but a line of names with a separator, or a name above other lines, is a header
    if "\t" in line or (any(name in known for name in names) and (delimiter or len(first) > 1)):
        kind = "tsv" if delimiter == "\t" or "\t" in line else "csv"
        raise DataError(
            f"{lines.name}, line 1: '{line:.60}' looks like the first line of a table. Add --format {kind} if it is "
            "one, or --format txt if each line is a text."
        )
