"""Every source of rows behind three functions: a whole data set, labelled rows, streamed texts."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from kerora.data.classes import choose_classes, numbered, numbers_for_run
from kerora.data.delimited import delimiter_of, read_delimited
from kerora.data.extract import LabelledRows, Record, read_labelled, read_records, unread_part
from kerora.data.files import format_of, is_data_file, local_names, missing_file, open_table, require_file, stem_of
from kerora.data.folders import SPLIT_NAMES, is_unsplit, read_folder
from kerora.data.jsonfiles import read_json_lines
from kerora.data.lines import Lines, open_lines
from kerora.data.rows import Dataset, Rows
from kerora.data.save import is_saved, saved_name
from kerora.data.splits import cut_parts, take_subset
from kerora.data.table import Table
from kerora.data.tfds_source import is_tfds_name, read_tfds
from kerora.errors import DataError
from kerora.settings.fit import SPLITS, DataConfig

BUNDLED = "tickets"
BUNDLED_FILE = Path(__file__).with_name("tickets.jsonl")


def load_dataset(config: DataConfig | str, seed: int = 42, *, without: Collection[str] = ()) -> Dataset[Rows[int]]:
    """Load a data set: its parts, split and cut to a subset.

    `train`, `validation` and `test` files replace or add parts of the source. With `train` the source is
    not read; nor is the default source when any of the three is given. A validation part that is
    missing is cut from the training rows (`validation_split`), a test part likewise (`test_split`).

    Args:
        config: the settings, or the source alone.
        seed: seed of the splits and the subset; default 42.
        without: parts to leave out, such as ``test``: their files are not opened, and rows that are cut for them from
            the training rows are dropped.

    Raises:
        DataError: a file or a row cannot be used; says which, where, and what to do.
    """
    config = DataConfig(source=config) if isinstance(config, str) else config
    parts = _parts(config, without)
    if "train" not in parts:
        raise DataError(f"There are no training rows, only {' and '.join(parts)}. Give them with --train or --data.")
    train = parts["train"]
    classes, numbers = choose_classes(train, config)
    if config.subset is not None and config.subset < len(classes):
        raise DataError(f"Setting 'subset' is {config.subset}, fewer rows than the {len(classes)} classes. Raise it.")
    _check_pairs(parts)
    skipped = {split: part.skipped for split, part in parts.items() if part.skipped}
    splits = {split: numbered(parts[split], numbers, "the training rows") for split in SPLITS if split in parts}
    splits = cut_parts(splits, classes, config, seed, train.source)
    splits = {split: take_subset(rows, config.subset, seed, split) for split, rows in splits.items()}
    return Dataset(
        dataset_name(config), classes, {name: rows for name, rows in splits.items() if name not in without}, skipped
    )


def has_test_rows(config: DataConfig) -> bool:
    """Tell whether `load_dataset` would find or cut a test part; its rows are not read."""
    return config.test_split > 0 or "test" in _parts(config, without=SPLITS)


def load_rows(spec: str, config: DataConfig, classes: Sequence[str], split: str = "test") -> Rows[int]:
    """Load labelled rows in the label set of a trained run.

    Args:
        spec: a data set, file or folder, as `DataConfig.source`.
        config: columns and formats; the sources and splits in it are not looked at.
        classes: the run's class names in order.
        split: part to take where the source has parts; a file is taken whole.

    Raises:
        DataError: the source has no such part, or a row cannot be used, for example because the run
            does not know its label.
    """
    parts = _read(spec, config)
    part = next(iter(parts.values())) if _is_one_part(spec) else parts.get(split)
    if part is None:
        raise DataError(f"{spec} has no {split} part, only {' and '.join(parts)}. Choose one of these, or give a file.")
    return numbered(part, numbers_for_run(part, classes, config), "the run")


def stream_texts(path: Path | IO[bytes] | IO[str], config: DataConfig) -> Iterator[Record]:
    """Stream unlabelled texts of any size from a file, or from a stream such as stdin.

    A ``.txt`` file (or ``.txt.gz``) holds a text a line; blank lines are left out, and the row number is
    the line's. Other files are read by their ending. A stream is JSON Lines when its first character
    other than white space is ``{``, CSV when the `delimiter` or `columns` are set, else a text a line.

    Args:
        path: file or open stream.
        config: columns and formats.

    Yields:
        The rows in order.

    Raises:
        DataError: the file or a row cannot be used.
    """
    if not isinstance(path, str | Path):
        stream: IO[bytes] = getattr(path, "buffer", cast(IO[bytes], path))
        yield from _stream_input(Lines(stream, "the input"), config)
    elif format_of(Path(path)) == ".txt":
        require_file(Path(path))
        with open_lines(Path(path)) as lines:
            yield from _plain_texts(lines)
    else:
        with open_table(Path(path), config) as table:
            yield from read_records(table, config)


def _stream_input(lines: Lines, config: DataConfig) -> Iterator[Record]:
    first = lines.first_character()
    if not first:
        raise DataError(f"{lines.name} is empty. Give a text a line, or JSON Lines.")
    if config.columns or config.delimiter:
        yield from read_records(read_delimited(lines, config.columns, delimiter_of(config, ".csv")), config)
    elif first == "{":
        yield from read_records(read_json_lines(lines), config)
    else:
        yield from _plain_texts(lines)


def _plain_texts(lines: Lines) -> Iterator[Record]:
    for line in lines:
        if text := line.strip():
            yield Record(str(lines.line), text, None, lines.line)


def _parts(config: DataConfig, without: Collection[str] = ()) -> dict[str, LabelledRows]:
    given = {split: path for split in SPLITS if (path := getattr(config, split)) is not None}
    ignores_source = "train" in given or (given and config.source == BUNDLED)
    parts = {} if ignores_source else _read(config.source, config, without)
    for split, path in given.items():
        unread = split in without
        parts[split] = unread_part(path) if unread else _read_part(Path(path).expanduser(), config, split)
    return parts


def _read_part(path: Path, config: DataConfig, split: str) -> LabelledRows:
    """Read a file whole; of a folder with parts take the part of that name."""
    if path.is_dir():
        parts = read_folder(path, config)
        if split in parts or len(parts) == 1:
            return parts.get(split) or next(iter(parts.values()))
        raise DataError(f"The folder {path} has no {split} part, only {' and '.join(parts)}. Give a file.")
    with open_table(path, config) as table:
        return read_labelled(table, config)


def _read(spec: str, config: DataConfig, without: Collection[str] = ()) -> dict[str, LabelledRows]:
    path = Path(spec).expanduser()
    if spec == BUNDLED:
        return _read_bundled(without)
    if path.is_dir():
        return read_folder(path, config, without)
    if path.is_file() or is_data_file(path):
        return {"train": _read_part(path, config, "train")}
    if is_tfds_name(spec):
        unread = {split: unread_part(spec) for split in without}
        return read_tfds(spec, config, [BUNDLED, *local_names(Path())], read_labelled, without=unread)
    raise DataError(missing_file(path))


def _read_bundled(without: Collection[str] = ()) -> dict[str, LabelledRows]:
    with open_table(BUNDLED_FILE, DataConfig()) as table:
        rows = [row for row in table.rows if row.values["split"] not in without]
    by_split = {split: [row for row in rows if row.values["split"] == split] for split in SPLITS}
    tables = {split: Table(BUNDLED, table.columns, iter(part), {}) for split, part in by_split.items() if part}
    parts = {split: read_labelled(part, DataConfig()) for split, part in tables.items()}
    return {**parts, **{split: unread_part(BUNDLED) for split in without}}


def _is_one_part(spec: str) -> bool:
    path = Path(spec).expanduser()
    return spec != BUNDLED and (path.is_file() or (path.is_dir() and is_unsplit(path)))


def _check_pairs(parts: dict[str, LabelledRows]) -> None:
    pairs = {split: part.rows.pairs is not None for split, part in parts.items() if len(part.rows)}
    for split, paired in pairs.items():
        if paired != pairs["train"]:
            kinds = ("single texts", "sentence pairs")
            raise DataError(
                f"{parts[split].source} holds {kinds[paired]}, but {parts['train'].source} holds {kinds[not paired]}. "
                "Name the text columns with --text."
            )


def dataset_name(config: DataConfig) -> str:
    """Return the short name of a data set for run folders: its TFDS name, or the stem of its file."""
    spec = config.train or config.source
    path = Path(spec).expanduser()
    if not path.exists() or spec == BUNDLED:
        return spec.partition(":")[0]
    if path.is_dir() and is_saved(path):
        return saved_name(path)
    path = path.resolve()
    stem = path.name if path.is_dir() else stem_of(path)
    return path.parent.name or stem if stem.lower() in SPLIT_NAMES else stem
