"""The formats of data files, and a function that opens a file of any format."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kerora.data.delimited import delimiter_of, is_quoted, read_delimited
from kerora.data.jsonfiles import read_json_lines, read_json_table
from kerora.data.lines import open_lines
from kerora.data.parquet import open_parquet
from kerora.data.table import Table
from kerora.errors import DataError, nearest
from kerora.settings.fit import DataConfig

TEXT_FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
FORMATS = (*TEXT_FORMATS, ".parquet")
FORMATS_IN_WORDS = "CSV, TSV, JSONL, JSON (each also .gz) or Parquet"


def format_of(path: Path) -> str:
    """Return the ending that names a file's format, in lower case and without ``.gz``: ``.csv``."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix if name.endswith(".gz") else path.suffix.lower()


def is_data_file(path: Path) -> bool:
    """Tell by its name whether a file has one of the formats. Only text formats may have ``.gz`` at the end."""
    return format_of(path) in (TEXT_FORMATS if path.suffix.lower() == ".gz" else FORMATS)


def stem_of(path: Path) -> str:
    """Return a file's name without its endings: ``train`` for ``train.csv.gz``."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return Path(name).stem


@contextmanager
def open_table(path: Path, config: DataConfig) -> Iterator[Table]:
    """Open a data file. Its ending gives the format.

    Raises:
        DataError: the file is missing (the error names similar files), has an unknown format, is empty, or is damaged.
    """
    require_file(path)
    suffix = format_of(path)
    if not is_data_file(path):
        raise DataError(f"{path}: the ending '{suffix}' is not a known format. Give {FORMATS_IN_WORDS}, or a folder.")
    if suffix == ".parquet":
        with open_parquet(path) as table:
            yield table
        return
    with open_lines(path) as lines:
        if suffix == ".json":
            yield read_json_table(lines)
        elif suffix in (".jsonl", ".ndjson"):
            yield read_json_lines(lines)
        else:
            delimiter = delimiter_of(config, suffix)
            quoted = suffix != ".tsv" or is_quoted(path, delimiter)
            yield read_delimited(lines, config.columns, delimiter, quoted)


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
