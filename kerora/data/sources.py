"""Loads rows from every kind of source, for all tasks: a whole data set, or one part of it."""

import itertools
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kerora.data.bad_rows import by_reason, write_bad_rows
from kerora.data.classes import ClassLabels, numbered, numbers_for_run
from kerora.data.files import is_data_file, json_parts, local_names, missing_file, open_table, stem_of
from kerora.data.folders import find_in_folder, joined
from kerora.data.hub_source import hub_name, hub_path, is_hub_name
from kerora.data.jsonfiles import table_of
from kerora.data.labelled import LabelledReader, mark_unlabelled
from kerora.data.row_reader import Found, P, RowReader
from kerora.data.rows import Dataset, Rows, S
from kerora.data.save import is_saved, saved_name
from kerora.data.split_column import find_split_column, read_rows_of
from kerora.data.split_names import SPLIT_NAMES
from kerora.data.splits import cut_parts, take_subset
from kerora.data.table import Table
from kerora.data.tfds_source import find_tfds, is_tfds_name
from kerora.errors import DataError
from kerora.notices import notice
from kerora.places import expanded, listed_files
from kerora.settings.fit import SPLITS, DataConfig
from kerora.settings.resolve import as_settings

BUNDLED = "tickets"
BUNDLED_FILE = Path(__file__).with_name("tickets.jsonl")


def load_dataset(
    config: DataConfig | Mapping[str, Any] | str | Path, seed: int = 42, *, without: Collection[str] = ()
) -> Dataset[Rows[int]]:
    """Load a data set with its splits, limited to a subset if one is set.

    The files `train`, `validation` and `test` replace parts of the source or add parts to it. If `train` is given, the
    source is not read. If any of the three is given, the default source is not read either. A missing validation part
    is cut from the training rows (`validation_split`), and so is a missing test part (`test_split`).

    Args:
        config: the settings, a mapping of them, or only the source.
        seed: seed of the splits and the subset. Default: 42.
        without: parts to leave out, such as ``test``. Their files are not opened. Rows that are cut for them from the
            training rows are dropped, so that the training rows are the same as with these parts.

    Raises:
        DataError: a file or a row cannot be used. The error gives the place and the remedy.
    """
    settled = as_settings(config, DataConfig)
    if settled.label_separator is not None:
        raise DataError("--label-separator is for rows with several labels. Add --task multi-label, or leave it out.")
    return load_splits(settled, LabelledReader(), seed, without)


def load_splits(
    config: DataConfig, reader: RowReader[P, S], seed: int = 42, without: Collection[str] = ()
) -> Dataset[S]:
    """Load a data set of any task; see `load_dataset`.

    Args:
        config: the settings.
        reader: reads the rows and makes splits from them.
        seed: seed of the splits and the subset. Default: 42.
        without: parts to leave out.

    Raises:
        DataError: a file or a row cannot be used. The error gives the place and the remedy.
    """
    parts = read_parts(config, reader, without)
    if "train" not in parts:
        noun = reader.empty("").rows.noun
        raise DataError(f"There are no training {noun}, only {' and '.join(parts)}. Give them with --train or --data.")
    # Before `settle`, which can still refuse the rows. The list then helps to find out why.
    write_bad_rows(config.bad_rows, [part.bad for part in parts.values()])
    settled = reader.settle(parts, config)
    splits = cut_parts(settled.splits, settled.classes, config, seed, parts["train"].source)
    # After the cut, so that the parts of a subset are subsets of the same parts.
    splits = {split: take_subset(rows, config.subset, seed, split) for split, rows in splits.items()}
    # Parts are cut first and left out here, so that the training rows do not depend on `without`.
    kept = {split: rows for split, rows in splits.items() if split not in without}
    bad = {split: part.bad for split, part in parts.items() if part.skipped}
    return Dataset(
        dataset_name(config),
        settled.classes,
        kept,
        {split: found.count for split, found in bad.items()},
        {split: found.reasons for split, found in bad.items()},
        values=settled.values,
        columns=parts["train"].columns,
        unlabelled=None if "test" in without else settled.unlabelled,
    )


def is_at_hand(config: DataConfig) -> bool:
    """Tell whether the training rows are bundled or lie in a file or folder, so that no download can be needed."""
    specs = listed_files(config.train or config.source)
    return all(spec == BUNDLED or (not is_hub_name(spec) and expanded(spec).exists()) for spec in specs)


def has_test_rows(config: DataConfig, reader: RowReader[P, S]) -> bool:
    """Tell whether `load_splits` would find or cut a test part. The rows are not read."""
    # without=SPLITS: every part is found but none is read.
    return config.test_split > 0 or "test" in read_parts(config, reader, without=SPLITS)


def load_rows(spec: str, config: DataConfig, classes: ClassLabels, split: str = "test") -> Rows[int]:
    """Load labelled rows with the class numbers of a trained run.

    Args:
        spec: a data set, file or folder, as `DataConfig.source`.
        config: columns and formats. Its sources and splits are ignored.
        classes: the classes of the run.
        split: part to load if the source has parts. A file is loaded whole.

    Raises:
        DataError: the source has no such part, or a row cannot be used, for example because the run does not know
            its label.
    """
    part = read_part(spec, config, LabelledReader(), split)
    # A class of the run can really be -1.
    mark_unlabelled(part, [*classes.names, *classes.values])
    if part.unlabelled is not None:
        reason = part.unlabelled.removeprefix(f"{part.source}: ")
        raise DataError(
            f"{part.source} has no labels to compare with: {reason} `kerora predict RUN {spec}` predicts its texts."
        )
    return numbered(part, numbers_for_run(part, classes, config), "the run", classes.described())


def read_parts(config: DataConfig, reader: RowReader[P, S], without: Collection[str] = ()) -> dict[str, P]:
    """Read the source and the files `train`, `validation` and `test`, which replace or add parts; see `load_dataset`.

    Raises:
        DataError: a file or a row cannot be used.
    """
    given = {split: path for split in SPLITS if (path := getattr(config, split)) is not None}
    if config.config_name is not None and not any(
        map(_has_configs, [config.source, *itertools.chain(*map(listed_files, given.values()))])
    ):
        raise DataError(
            f"--config-name {config.config_name} chooses a part of a folder or of an hf:// data set that has several. "
            "A TFDS name holds its own: glue/sst2."
        )
    # The bundled data is the default source. Nobody means it beside files of their own.
    ignores_source = "train" in given or (given and config.source == BUNDLED)
    parts = {} if ignores_source else read_source(config.source, config, reader, without)
    for split, path in given.items():
        # An empty part marks that the split exists, so that none is cut for it.
        parts[split] = reader.empty(path) if split in without else _read_files(path, config, reader, split)
    return parts


def _read_files(spec: str, config: DataConfig, reader: RowReader[P, S], split: str) -> P:
    """Read the files of a part, one after another.

    Raises:
        DataError: one of them cannot be used, or some have labels and others have not.
    """
    parts = [_read_given(path, config, reader, split) for path in listed_files(spec)]
    without = [part.source for part in parts if getattr(part, "unlabelled", None) is not None]
    if without and len(without) < len(parts):
        raise DataError(f"{without[0]} has no labels, but the other files of --{split} have. Leave it out.")
    return joined(parts)


def read_source(spec: str, config: DataConfig, reader: RowReader[P, S], without: Collection[str] = ()) -> dict[str, P]:
    """Read all parts of a source.

    Args:
        spec: the bundled data set, a file, a folder, an ``hf://datasets/`` name, or the name of a TFDS data set.
        config: columns and formats. Its sources are ignored.
        reader: reads the rows.
        without: parts that are not read. If the source has them, they are returned without rows.

    Returns:
        The parts by split. A file is ``train``.

    Raises:
        DataError: there is no such source, or it cannot be used.
    """
    found = find_source(spec, config, reader)
    # An unsure part may turn out to have no labels. Then one is cut in its place, so it must be read.
    unread = [split for split in without if split not in found.unsure]
    parts = {split: reader.empty(spec) if split in unread else read() for split, read in found.parts.items()}
    return {split: part for split, part in parts.items() if part is not None}


def read_part(spec: str, config: DataConfig, reader: RowReader[P, S], split: str) -> P:
    """Read one part of a source, or of several files. A file, or a folder without parts, is read whole.

    Raises:
        DataError: the source has no such part, or it cannot be used.
    """
    files = listed_files(spec)
    if len(files) > 1:
        return joined([read_part(file, config, reader, split) for file in files])
    found = find_source(spec, config, reader)
    # A source that is not divided has one part, and it is named "train" although it can be any.
    name = next(iter(found.parts)) if found.whole else split
    part = found.parts[name]() if name in found.parts else None
    if part is None:
        others = " and ".join(other for other in found.parts if other != name)
        raise DataError(f"{spec} has no {split} part, only {others}. Choose one of these, or give a file.")
    write_bad_rows(config.bad_rows, [part.bad])
    if part.skipped:
        notice(f"{part.source}: bad rows skipped: {part.skipped:,} ({by_reason(part.bad.reasons)}).")
    return part


def find_source(spec: str, config: DataConfig, reader: RowReader[P, S]) -> Found[P]:
    """Find the parts of a source; see `read_source`.

    Raises:
        DataError: there is no such source.
    """
    # Before paths: a folder "tickets" in the working directory must not change the default data.
    if spec == BUNDLED:
        return _find_bundled(reader)
    path = hub_path(spec, config.config_name) if is_hub_name(spec) else expanded(spec)
    if path.is_dir():
        return find_in_folder(path, config, reader)
    # A missing rows.csv gets the error of a missing file, not that of an unknown TFDS name.
    if path.is_file() or is_data_file(path):
        found = _parts_of_file(path, config, reader)
        return Found(found or {"train": partial(reader.file, path, path.name, config)}, whole=not found)
    if is_tfds_name(spec):
        return find_tfds(spec, config, [BUNDLED, *local_names(Path())], reader)
    raise DataError(missing_file(path))


def _parts_of_file(path: Path, config: DataConfig, reader: RowReader[P, S]) -> dict[str, Callable[[], P]]:
    """Return the parts that one file holds: those of a JSON document, or those that a column of a table names."""
    if named := json_parts(path, config):
        tables = {split: partial(_read_json_part, f"{path}, {split}", part) for split, part in named.items()}
        return {split: partial(read, config, reader) for split, read in tables.items()}
    if divided := find_split_column(path, config):
        column, splits = divided
        return {split: partial(read_rows_of, path, column, (split, *splits), config, reader) for split in splits}
    return {}


def _has_configs(spec: str) -> bool:
    return is_hub_name(spec) or expanded(spec).is_dir()


def _read_json_part(name: str, part: Any, config: DataConfig, reader: RowReader[P, S]) -> P:
    return reader.table(table_of(name, part), config)


def _find_bundled(reader: RowReader[P, S]) -> Found[P]:
    with open_table(BUNDLED_FILE, DataConfig()) as table:
        rows = list(table.rows)
    by_split = {split: [row for row in rows if row.values["split"] == split] for split in SPLITS}
    tables = {split: Table(BUNDLED, table.columns, iter(part), {}) for split, part in by_split.items()}
    # The settings of the user are for files of their own. The bundled file has known columns.
    config = DataConfig(text=("text",))
    return Found({split: partial(reader.table, part, config) for split, part in tables.items()})


def _read_given(spec: str, config: DataConfig, reader: RowReader[P, S], split: str) -> P:
    """Read a source with one part whole. If the source has several parts, read the part `split`."""
    found = find_source(spec, config, reader)
    name = next(iter(found.parts)) if len(found.parts) == 1 else split
    if name in found.parts and len(found.parts) > 1:
        notice(f"{spec}: only its {name} part is read. --data reads all parts of a source.")
    part = found.parts[name]() if name in found.parts else None
    if part is None:
        place = f"The folder {path}" if (path := expanded(spec)).is_dir() else spec
        raise DataError(f"{place} has no {split} part, only {' and '.join(found.parts)}. Give a file.")
    return part


def dataset_name(config: DataConfig) -> str:
    """Return the short name of a data set for run folders: its TFDS name, or the name of its file without endings."""
    spec = listed_files(config.train or config.source)[0]
    if is_hub_name(spec):
        return hub_name(spec)
    path = expanded(spec)
    if not path.exists() or spec == BUNDLED:
        return spec.partition(":")[0]  # without the version of a TFDS name
    if path.is_dir() and is_saved(path):
        return saved_name(path)
    # The name of "." or ".." is known only then.
    path = path.resolve()
    stem = path.name if path.is_dir() else stem_of(path)
    # data/imdb/train.csv is the data set "imdb", not "train".
    return path.parent.name or stem if stem.lower() in SPLIT_NAMES else stem
