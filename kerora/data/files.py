"""The formats of data files, and a function that opens a file of any format."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kerora.data.compression import ENDINGS, first_bytes, open_bytes, zip_member
from kerora.data.delimited import read_delimited
from kerora.data.dialect import find_dialect
from kerora.data.fasttext import PREFIX, read_fasttext
from kerora.data.jsonfiles import read_json, read_json_parts
from kerora.data.lines import BYTE_ORDER_MARK, Lines
from kerora.data.parquet import ARROW_FILE, PARQUET_FILE, open_arrow, open_parquet
from kerora.data.table import Table
from kerora.errors import DataError, nearest
from kerora.settings.fit import DataConfig

TEXT_FORMATS = {
    **{".csv": "csv", ".tsv": "tsv", ".tab": "tsv"},
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"},
}
FORMATS = {**TEXT_FORMATS, ".parquet": "parquet", ".arrow": "arrow"}
FORMATS_IN_WORDS = "CSV, TSV, JSONL, JSON (each also .gz, .bz2, .xz, .zst or .zip), Parquet or Arrow"


def format_of(path: Path) -> str:
    """Return the ending that names a file's format, in lower case and without ``.gz`` or the like: ``.csv``."""
    name = path.name.lower()
    if not name.endswith(ENDINGS):
        return path.suffix.lower()
    # data.csv.gz names its format. data.zip does not, but the file inside may.
    inner = Path(Path(name).stem).suffix
    return inner or (Path(zip_member(path)).suffix.lower() if name.endswith(".zip") else "")


def is_data_file(path: Path) -> bool:
    """Tell by its name whether a file has one of the formats. Only text formats may be compressed."""
    # Parquet and Arrow are compressed inside. A second compression prevents the reading from their end.
    return format_of(path) in (TEXT_FORMATS if path.name.lower().endswith(ENDINGS) else FORMATS)


def stem_of(path: Path) -> str:
    """Return a file's name without its endings: ``train`` for ``train.csv.gz``."""
    name = path.name
    for ending in ENDINGS:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
            break
    return Path(name).stem


def is_table(path: Path, config: DataConfig) -> bool:
    """Tell whether `open_table` can read a file: by its ending, by the setting `format`, or because it is fastText's.

    Raises:
        DataError: the file does not exist or is damaged.
    """
    if is_data_file(path):
        return True
    require_file(path)
    # A file without a known ending can be a table that the user names with --format.
    if config.format is not None:
        return config.format != "txt"
    with open_bytes(path) as stream:
        return kind_by_content(first_bytes(stream, str(path))) is not None


@contextmanager
def open_table(path: Path, config: DataConfig) -> Iterator[Table]:
    """Open a data file. Its first bytes or its ending give the format, or the setting `format`.

    Raises:
        DataError: the file is missing (the error names similar files), has an unknown format, is empty, or is damaged.
    """
    require_file(path)
    with open_bytes(path) as stream:
        kind = _kind(path, first_bytes(stream, str(path)), config)
        if kind in ("parquet", "arrow"):
            # By path: pyarrow maps the file and reads its end first.
            with (open_parquet if kind == "parquet" else open_arrow)(path) as table:
                yield table
        else:
            yield read_text_table(Lines(stream, str(path), config.encoding), kind, config, path)


def read_text_table(lines: Lines, kind: str, config: DataConfig, path: Path | None = None) -> Table:
    """Read a table from an open text file.

    Args:
        lines: the file.
        kind: ``csv``, ``tsv``, ``json``, ``jsonl`` or ``fasttext``.
        config: columns, separator, and whether bad rows are skipped.
        path: the file; None for standard input.

    Raises:
        DataError: the file is empty or has another format.
    """
    if kind == "fasttext":
        return read_fasttext(lines, config.skip_bad_rows)
    if kind in ("json", "jsonl"):
        return read_json(lines, kind == "jsonl", config.skip_bad_rows)
    dialect = find_dialect(lines, config, f".{kind}", path)
    return read_delimited(lines, config.columns, dialect, config.skip_bad_rows)


def json_parts(path: Path, config: DataConfig) -> dict[str, Any] | None:
    """Return the parts of a JSON document such as ``{"train": [...], "test": [...]}``, or None for any other file.

    Raises:
        DataError: the file is damaged, or is not JSON.
    """
    if not path.is_file() or not is_table(path, config):
        return None
    with open_bytes(path) as stream:
        if _kind(path, first_bytes(stream, str(path)), config) not in ("json", "jsonl"):
            return None
        return read_json_parts(Lines(stream, str(path), config.encoding))


def _kind(path: Path, head: bytes, config: DataConfig) -> str:
    # The marks of binary formats are certain, so they win over the ending. Text formats have no marks.
    found = kind_by_content(head)
    if found in ("parquet", "arrow"):
        return found
    # Arrow streams are found by their ending: unlike Arrow files they have no mark at the start.
    by_ending = FORMATS.get(format_of(path)) if is_data_file(path) else None
    if by_ending is not None:
        _check_format(path, by_ending, config)
        return by_ending
    kind = config.format if config.format not in (None, "txt") else found
    if kind is None:
        raise DataError(
            f"{path}: the ending '{format_of(path)}' is not a known format. Give {FORMATS_IN_WORDS}, or a folder. "
            "If it is one of these under another name, add --format."
        )
    return kind


def kind_by_content(head: bytes) -> str | None:
    """Return the format that the first bytes of a file show: ``parquet``, ``arrow``, ``fasttext`` or None."""
    # The first line of a text file may have a byte order mark, or be blank.
    if head.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(PREFIX.encode()):
        return "fasttext"
    marks = {PARQUET_FILE: "parquet", ARROW_FILE: "arrow"}
    return next((kind for mark, kind in marks.items() if head.startswith(mark)), None)


def _check_format(path: Path, by_ending: str, config: DataConfig) -> None:
    json_kinds = ("json", "jsonl")
    # The content decides between JSON and JSON Lines, so a user may name either.
    same = config.format == by_ending or (config.format in json_kinds and by_ending in json_kinds)
    if config.format is not None and not same:
        raise DataError(
            f"{path} is read as {by_ending}, by its ending. --format {config.format} is for standard input and for "
            "files whose ending says nothing. Leave it out or rename the file. --output-format is for the output."
        )


def require_file(path: Path) -> None:
    """Check that a file exists.

    Raises:
        DataError: the file does not exist. The error names files in that folder with similar names.
    """
    if path.is_file():
        return
    if path.exists():
        raise DataError(f"{path} is not a file. Give {FORMATS_IN_WORDS}, or a folder.")
    raise DataError(missing_file(path))


def missing_file(path: Path) -> str:
    """Return the message for a path that does not exist, with similar names from its folder."""
    folder = path.parent
    if not folder.is_dir():
        return f"There is no file {path}: the folder {folder} does not exist. Check the path."
    return f"There is no file {path}.{nearest(path.name, local_names(folder)) or ' Check the path.'}"


def local_names(folder: Path) -> list[str]:
    """Return the names of the data files and folders in a folder."""
    return [entry.name for entry in folder.iterdir() if entry.is_dir() or is_data_file(entry)]
