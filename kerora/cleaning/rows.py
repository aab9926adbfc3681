"""All labelled rows of a data set as one list, and a new file of them without the wrong ones."""

import csv
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.labels import label_of
from kerora.data.rows import Dataset, Rows
from kerora.errors import ConfigError, DataError, nearest
from kerora.notices import notice
from kerora.places import check_output, expanded, listed_files
from kerora.runfolder import atomic_file
from kerora.runs.submission import PlainLineEnds
from kerora.settings.fit import SPLITS, DataConfig, FitConfig
from kerora.tasks.registry import Task

ENDINGS = (".csv", ".jsonl")
NEW_LABEL = "new_label"
"""The column of the table for corrections. Users fill it in."""


@dataclass(frozen=True)
class AllRows:
    """The rows of all parts, one part after another.

    Attributes:
        dataset: all rows as the part ``train``, with the classes.
        parts: name of the part of each row.
    """

    dataset: Dataset[Rows[int]]
    parts: Sequence[str]

    @property
    def rows(self) -> Rows[int]:
        """The rows."""
        return self.dataset["train"]

    @property
    def labels(self) -> np.ndarray:
        """The class numbers, (rows,)."""
        return np.asarray(self.rows.targets)


def load_all(config: FitConfig, task: Task) -> AllRows:
    """Load the rows of all parts that the settings name. No part is cut.

    Raises:
        DataError: the rows cannot be used.
    """
    data = dataclasses.replace(config.data, validation_split=0.0, test_split=0.0)
    dataset = task.rows.load(dataclasses.replace(config, data=data))
    if dataset.unlabelled is not None:
        notice(f"{len(dataset.unlabelled):,} rows without labels are left out.")
    parts = [split for split, rows in dataset for _ in range(len(rows))]
    first, *others = (rows for _, rows in dataset)
    rows = first.take(range(len(first)))  # a copy, because the rows of the other parts are added
    for other in others:
        rows.extend(other)
    return AllRows(dataclasses.replace(dataset, splits={"train": rows}), parts)


def check_new_file(path: Path, data: DataConfig, force: bool) -> None:
    """Check that rows can be written to a file.

    Raises:
        ConfigError: it has another ending, or the data are read from it.
        RunError: it exists and `force` is False.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"The new file must end in {' or '.join(ENDINGS)}. Received: {path}")
    specs = [spec for spec in (data.source, *(getattr(data, split) for split in SPLITS)) if spec]
    sources = [expanded(part) for spec in specs for part in listed_files(spec)]
    inside = [source for source in sources if source.exists() and path.exists() and _is_in(path, source)]
    if inside:
        raise ConfigError(f"{path} belongs to the data, which are never changed. Choose another --output.")
    check_output(path, force)


def _is_in(path: Path, source: Path) -> bool:
    if source.is_dir():
        return source.resolve() in path.resolve().parents
    return path.samefile(source)


def write_new(every: AllRows, path: Path, dropped: frozenset[int], changed: Mapping[int, int]) -> int:
    """Write all rows but some, and return their number.

    The file has the columns ``id``, ``text``, for pairs ``pair``, and ``label`` as in the source. If the data has
    several parts, a column ``split`` names them, and `kerora fit` divides the rows by it.

    Args:
        every: the rows.
        path: a .csv or .jsonl file.
        dropped: places of the rows to leave out, from 0.
        changed: new class numbers by the place of the row.
    """
    rows, dataset = every.rows, every.dataset
    targets = [changed.get(place, target) for place, target in enumerate(rows.targets or ())]
    relabelled = dataclasses.replace(rows, targets=targets)
    # The values of the source and not renamed classes: --class-names then works on the new file too.
    objects = relabelled.objects(dataset.values)
    several = len(set(every.parts)) > 1
    kept = (
        {**row, **({"split": part} if several else {})}
        for place, (row, part) in enumerate(zip(objects, every.parts, strict=True))
        if place not in dropped
    )
    with atomic_file(path) as stream:
        return _write_csv(stream, kept) if path.suffix.lower() == ".csv" else _write_lines(stream, kept)


def _write_csv(stream: Any, rows: Iterator[dict[str, Any]]) -> int:
    writer = csv.writer(PlainLineEnds(stream))
    count = 0
    for count, row in enumerate(rows, 1):
        if count == 1:
            writer.writerow(row)
        writer.writerow(row.values())
    return count


def _write_lines(stream: Any, rows: Iterator[dict[str, Any]]) -> int:
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    return count


def read_corrections(path: Path, every: AllRows) -> dict[int, int]:
    """Read the new labels of a table: new class numbers by the place of the row, from 0.

    The table has the columns ``row`` (from 1, in the order of the data), ``id`` and ``new_label``. A row without a new
    label keeps its label.

    Raises:
        DataError: the file is no such table, a row is not one of the data, or a label is no class.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in ("row", "id", NEW_LABEL) if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path} has no column '{missing[0]}'. Give the table of `kerora clean` with a filled column "
                    f"'{NEW_LABEL}', as CSV with commas."
                )
            lines = list(reader)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}. Give the table of `kerora clean`.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV file in UTF-8: {error}. Save it as CSV (UTF-8).") from error
    found = [_correction(path, number, line, every) for number, line in enumerate(lines, 1)]
    return dict(pair for pair in found if pair is not None)


def _correction(path: Path, number: int, line: Mapping[str, Any], every: AllRows) -> tuple[int, int] | None:
    label = label_of(line[NEW_LABEL] or "")
    if not label:
        return None
    place, rows = str(line["row"] or "").strip(), every.rows
    index = int(place) - 1 if place.isdecimal() else -1
    if not 0 <= index < len(rows) or rows.ids[index] != line["id"]:
        raise DataError(
            f"{path}, row {number}: row {place:.20} with the id '{line['id']!s:.40}' is not in the data. The table "
            "belongs to other data. Make it again with `kerora clean`."
        )
    names = {value: class_number for class_number, value in enumerate(every.dataset.values)}
    names |= {name: class_number for class_number, name in enumerate(every.dataset.classes)}
    if label not in names:
        raise DataError(
            f"{path}, row {number}: the new label '{label:.40}' is no class of the data.{nearest(label, names)}"
            " Correct it, or leave the cell empty."
        )
    return index, names[label]
