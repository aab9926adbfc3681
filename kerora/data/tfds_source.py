"""Data sets of TensorFlow Datasets (TFDS), read without TensorFlow if the file format allows it."""

import itertools
import re
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.network import first_reachable
from kerora.data.row_reader import Found, P, RowReader
from kerora.data.rows import S
from kerora.data.table import RawRow, Table
from kerora.errors import DataError, nearest
from kerora.notices import quiet
from kerora.places import expanded
from kerora.settings.fit import DataConfig

NAME = re.compile(r"[A-Za-z]\w*(/[\w.-]+)?(:\d+\.\d+\.\d+)?")
# MNLI has two pairs of validation and test parts. "matched" is the one with the text types of the training part.
SPLIT_NAMES = {
    **{"train": "train", "test": "test", "test_matched": "test"},
    **{"validation": "validation", "valid": "validation", "dev": "validation", "validation_matched": "validation"},
}
UNLABELLED = -1
# Enough for a slow network. TFDS itself would retry for 204 seconds (4.9.10, without a network).
CONNECT_SECONDS = 5.0
BUCKET = "https://storage.googleapis.com/tfds-data"


def is_tfds_name(spec: str) -> bool:
    """Tell whether a text has the form of a TFDS name: ``name``, ``name/config``, ``name:1.0.0``."""
    return NAME.fullmatch(spec) is not None


def find_tfds(name: str, config: DataConfig, other_names: Iterable[str], reader: RowReader[P, S]) -> Found[P]:
    """Find the parts of a TFDS data set. It is downloaded and prepared if that was not done before.

    If the reader names a label column, examples with the label -1 are left out, as in the test parts of GLUE. A split
    with no other examples is left out too, except for a test part, which can be predicted. The names of ClassLabel
    features are kept.

    Args:
        name: ``name``, ``name/config`` or ``name:version``.
        config: columns, and `data_dir`, the folder of prepared data sets.
        other_names: other sources to propose if the name is unknown.
        reader: reads the table of a split.

    Raises:
        DataError: the name is unknown (the error gives similar names), or the data set is not prepared and there is no
            network. While the rows are read: a text or label feature is missing, or a file is damaged.
    """
    tfds = _import_tfds()
    # TFDS warns of absent folders, which the error message names too
    with quiet("absl"):
        builder = _builder(tfds, name, config, other_names)
        if not builder.is_prepared():
            # TFDS would write TFRecord files, and needs TensorFlow for them
            builder = _builder(tfds, name, config, other_names, file_format="array_record")
            _prepare(builder, name)
    splits = {SPLIT_NAMES[split]: split for split in builder.info.splits if split in SPLIT_NAMES}
    parts = {part: partial(_read_split, builder, split, name, config, reader, part) for part, split in splits.items()}
    # All rows of a test part may be without labels. If a test part is then cut from the training rows, the rows must
    # be read to find out.
    return Found(parts, unsure=("test",) if config.test_split else ())


def _import_tfds() -> Any:
    # The import is slow, so it is not at the top of the module. A None entry for tensorflow in sys.modules, which
    # hides it from other imports, would leave this package half imported without an error.
    hidden = [module for module in ("tensorflow", "tensorflow_text") if sys.modules.get(module, module) is None]
    for module in hidden:
        del sys.modules[module]
    import tensorflow_datasets

    # Another module may have imported it while tensorflow was hidden.
    if not hasattr(tensorflow_datasets, "builder"):
        raise DataError(
            "The package tensorflow_datasets was imported incompletely in this process. Start the process again, and "
            "load TFDS data first."
        )
    return tensorflow_datasets


def _builder(tfds: Any, name: str, config: DataConfig, other_names: Iterable[str], **options: str) -> Any:
    data_dir = str(expanded(config.data_dir)) if config.data_dir else None
    try:
        return tfds.builder(name, data_dir=data_dir, **options)
    except tfds.core.DatasetNotFoundError:
        known = [*other_names, *tfds.list_builders(with_community_datasets=False)]
        # The nearest name is looked for twice, because "gleu/sst2" is far from "glue".
        base = name.partition(":")[0].partition("/")[0]
        hint = nearest(name, known) or nearest(base, known) or " `--data` also takes a file or a folder."
        raise DataError(f"There is no file, folder or TFDS data set '{name}'.{hint}") from None
    except (ValueError, AssertionError) as error:
        raise DataError(f"TFDS data set '{name}': {_builder_problem(tfds, name, error)}") from None


def _builder_problem(tfds: Any, name: str, error: Exception) -> str:
    base, _, wanted = name.partition(":")[0].partition("/")
    configs = sorted(tfds.builder_cls(base).builder_configs)
    if not wanted or wanted in configs:
        # TFDS puts the name and the arguments before the reason.
        return " ".join(str(error).split()).rpartition('": ')[2]
    listed = ", ".join(configs[:20])
    return f"there is no config '{wanted}'.{nearest(wanted, configs)} Its configs: {listed}."


def _prepare(builder: Any, name: str) -> None:
    """Download and prepare. Fail within seconds if no server can be reached: TFDS itself would retry for minutes."""
    # A data set without recorded downloads needs the bucket of TFDS at least.
    urls = sorted(builder.url_infos or [BUCKET])
    servers = first_reachable(urls, CONNECT_SECONDS)
    place = f"'{name}' is not prepared in {builder.data_dir}"
    if servers.reached is None:
        raise DataError(
            f"TFDS data set {place}, and it cannot be downloaded: no connection to {' or '.join(servers.tried)}. "
            "Connect to the network, give --data-dir of a prepared copy, or use what works offline: "
            "--data tickets, a CSV, TSV, JSONL, JSON or Parquet file, or a folder."
        )
    try:
        builder.download_and_prepare()
    except Exception as error:  # The script of each data set raises its own exceptions.
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        # The script of a data set can use TensorFlow itself, whatever the file format is.
        if "No module named 'tensorflow'" in str(error):
            reason = f"{reason}. The script of this data set needs TensorFlow: pip install tensorflow"
        raise DataError(f"TFDS data set {place} and could not be prepared: {reason}") from error


def _read_split(
    builder: Any, split: str, name: str, config: DataConfig, reader: RowReader[P, S], part: str
) -> P | None:
    features = builder.info.features
    place = f"{name}, split {split}"
    # The features of a data set can also be a single tensor.
    if not hasattr(features, "keys"):
        raise DataError(f"TFDS data set '{name}' has no named features. Choose another data set.")
    columns = tuple(features)
    label = reader.label_column(columns, config, f"TFDS data set '{name}'")
    names = {column: _names_of(features[column]) for column in columns}
    class_names = {column: tuple(found) for column, found in names.items() if found is not None}
    rows = _rows(_whole_examples(builder, split, place), label)
    with quiet("absl"):
        first = next(rows, None)
        if first is None and part == "test":
            # a test part without any label can be predicted
            rows = _rows(_whole_examples(builder, split, place), None)
            first = next(rows, None)
        if first is None:
            return None
        return reader.table(Table(place, columns, itertools.chain([first], rows), class_names), config)


def _rows(examples: Iterable[Mapping[str, Any]], label: str | None) -> Iterator[RawRow]:
    for number, example in enumerate(examples, 1):
        values = {key: _plain(value) for key, value in example.items()}
        # a sequence of labels is an array, which has no single truth value
        if label is None or np.ndim(values[label]) or values[label] != UNLABELLED:
            yield RawRow(number, None, values)


def _names_of(feature: Any) -> Any:
    """Return the names of a ClassLabel, or of a sequence of them; else None."""
    inner = getattr(feature, "feature", None)
    return getattr(feature, "names", None) if inner is None else getattr(inner, "names", None)


def _plain(value: Any) -> Any:
    """Convert numpy scalars and bytes to Python values."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if hasattr(value, "item") and getattr(value, "size", 0) == 1 else value


def _whole_examples(builder: Any, split: str, place: str) -> Iterator[Mapping[str, Any]]:
    # Counted, because a file that ends between two records gives no error.
    count = 0
    try:
        for example in _examples(builder, split):
            count += 1
            yield example
    except DataError:
        raise
    except NotImplementedError as error:
        raise DataError(
            f"{place} is stored as {builder.info.file_format.value}, which Kerora cannot read without TensorFlow. "
            "Prepare it with file_format tfrecord or array_record."
        ) from error
    except Exception as error:  # Each file format and each decoder raises its own exceptions.
        reason = f"{type(error).__name__} at example {count + 1}: {' '.join(str(error).split())[:200]}"
        raise DataError(f"{place} is damaged ({reason}). Delete {builder.data_dir} and prepare it again.") from error
    expected = builder.info.splits[split].num_examples
    if count != expected:
        raise DataError(
            f"{place} is damaged: {count} of {expected} examples. Delete {builder.data_dir} and prepare it again."
        )


def _examples(builder: Any, split: str) -> Iterator[Mapping[str, Any]]:
    """Read the examples of a split in the order of the files.

    `tfds.data_source` reads array_record files without TensorFlow, but not TFRecord files, the default format of a
    download. Their records are read here, and the features of TFDS decode them.
    """
    if builder.info.file_format.value != "tfrecord":
        yield from builder.as_data_source(split=split)
        return
    # TFDS sorts these paths by shard, so the rows have the same order on every machine.
    for path in builder.info.splits[split].filepaths:
        for record in read_tfrecord(Path(str(path))):
            yield builder.info.features.deserialize_example_np(record)


def read_tfrecord(path: Path) -> Iterator[bytes]:
    """Yield the records of a TFRecord file.

    A record is the length of its data (8 bytes, little-endian), a checksum of the length (4 bytes), the data, and a
    checksum of the data (4 bytes). Source: "TFRecords format details" in the documentation of TensorFlow. The checksums
    are not verified, because damaged data fails when it is decoded.

    Raises:
        DataError: the file ends inside a record.
    """
    with open(path, "rb") as stream:
        while header := stream.read(12):
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else 0
            size = path.stat().st_size
            # A damaged length could be huge. It is compared with the file before that much is read.
            if len(header) < 12 or stream.tell() + length + 4 > size:
                raise DataError(f"{path} is damaged at byte {stream.tell()}. Delete its folder and prepare it again.")
            yield stream.read(length)
            stream.read(4)
