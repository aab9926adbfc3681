"""The columns that a run was trained on. Other files are read by the same columns."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerora.data.column_names import LABEL_NAMES, plain_name, same_column
from kerora.errors import DataError, quoted
from kerora.notices import notice
from kerora.settings.fit import DataConfig


@dataclass(frozen=True)
class TrainedColumns:
    """The columns of the training rows.

    Attributes:
        texts: text columns in order; of a language model also the columns of prompts, completions or turns.
        labels: label columns in order.
        id: identifier column, or None.
        paired: whether the two text columns are a sentence pair.
        form: what the columns hold: ``text``, ``completion`` (of a prompt) or ``turns``.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()
    id: str | None = None
    paired: bool = False
    form: str = "text"  # the default for runs that do not record it

    def as_dict(self) -> dict[str, Any]:
        """Return the columns as plain values for run.json."""
        return {**dataclasses.asdict(self), "texts": list(self.texts), "labels": list(self.labels)}


@dataclass(frozen=True)
class RunDataConfig(DataConfig):
    """The settings of rows for a trained run, with the columns of its training rows."""

    trained: TrainedColumns | None = None


def for_run(config: DataConfig, recorded: object) -> DataConfig:
    """Return settings that read files by the columns of a run.

    Args:
        config: the settings. Columns that they name are taken as they are.
        recorded: what `TrainedColumns.as_dict` gave. Any other value, as in runs of older versions, changes nothing.
    """
    values = {spec.name: getattr(config, spec.name) for spec in dataclasses.fields(config)}
    if not isinstance(recorded, Mapping) or not isinstance(recorded.get("texts"), list):
        return config
    names = [spec.name for spec in dataclasses.fields(TrainedColumns)]
    # Entries of a newer version are left out, so that its runs can still be read.
    known = {name: recorded[name] for name in names if name in recorded}
    known |= {"texts": tuple(map(str, recorded["texts"])), "labels": _labels_of(recorded)}
    return RunDataConfig(**values, trained=TrainedColumns(**known))


def _labels_of(recorded: Mapping[str, Any]) -> tuple[str, ...]:
    # Runs of version 0.1 hold one name or none.
    old = recorded.get("label")
    return tuple(map(str, recorded.get("labels") or ([] if old is None else [old])))


def settled_for(columns: Sequence[str], config: DataConfig, place: str, labelled: bool) -> DataConfig:
    """Return settings that name the columns of a run, for a file with these columns.

    Another text column is taken only if it is the only choice, and a notice says so.

    Args:
        columns: the columns of the file.
        config: the settings. Only a `RunDataConfig` is changed.
        place: the file, for messages.
        labelled: whether a label column is needed.

    Raises:
        DataError: the file lacks columns of the run, and there is more than one other choice.
    """
    trained = config.trained if isinstance(config, RunDataConfig) else None
    # `TextColumns` takes the columns of prompts and conversations itself.
    if trained is None or trained.form != "text":
        return config
    labels = config.label or (_labels(columns, trained, place) if labelled else ())
    texts = config.text or _texts(columns, trained, place, {*labels, *trained.labels, trained.id})
    # "auto" would go by the names of the columns. The run goes by what it was trained on.
    join = config.text_join
    if join == "auto" and len(texts) > 1:
        join = "pair" if trained.paired and len(texts) == 2 else "space"
    identifier = config.id or same_column(trained.id, columns)
    # A plain `DataConfig`: its columns are settled, and a second call must not change them.
    plain = {spec.name: getattr(config, spec.name) for spec in dataclasses.fields(DataConfig)}
    return DataConfig(**{**plain, "text": texts, "text_join": join, "label": labels, "id": identifier})


def _texts(
    columns: Sequence[str],
    trained: TrainedColumns,
    place: str,
    others: Collection[str | None],
) -> tuple[str, ...]:
    found = [same_column(name, columns) for name in trained.texts]
    if all(found):
        return tuple(name for name in found if name)
    wanted = quoted(trained.texts)
    choices = [name for name in columns if name not in others and plain_name(name) not in (*LABEL_NAMES, "id")]
    # One column cannot stand for the two sentences of a pair.
    if len(choices) == 1 and not trained.paired:
        notice(
            f"{place}: the run was trained on the text of {wanted}. The file lacks such a column, so its only other "
            f"column {quoted(choices)} is read as the text."
        )
        return tuple(choices)
    missing = [name for name, own in zip(trained.texts, found, strict=True) if own is None]
    raise DataError(
        f"{place}: the run was trained on the text of {wanted}, but the file lacks {quoted(missing)}. "
        f"Its columns: {quoted(columns, 30)}. Name the text column with --text."
    )


def _labels(columns: Sequence[str], trained: TrainedColumns, place: str) -> tuple[str, ...]:
    found = tuple(name for wanted in trained.labels if (name := same_column(wanted, columns)) is not None)
    if len(found) == len(trained.labels):
        return found
    # One column cannot stand for several.
    if len(trained.labels) > 1:
        missing = [name for name in trained.labels if same_column(name, columns) is None]
        raise DataError(
            f"{place}: the run was trained on the labels of {quoted(trained.labels)}, but the file lacks "
            f"{quoted(missing)}. Its columns: {quoted(columns, 30)}. Name the label columns with --label."
        )
    choices = [name for name in columns if plain_name(name) in LABEL_NAMES]
    if len(choices) > 1:
        raise DataError(
            f"{place}: the run was trained on the labels of {quoted(trained.labels)}, but the file lacks this "
            f"column. Its columns: {quoted(columns, 30)}. Name the label column with --label."
        )
    if choices:
        notice(
            f"{place}: the run was trained on the labels of {quoted(trained.labels)}. The file has no such column, "
            f"so its only label column {quoted(choices)} is read."
        )
    return tuple(choices)
