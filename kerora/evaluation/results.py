"""What a finished run left in its folder, read back for the report.

Only `predictions.csv`, `metrics.json` and `run.json` are needed; the other files add to the report
where they are there. Nothing here loads a model.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kerora.errors import RunError
from kerora.evaluation.metrics import Calibration, calibration, classification_metrics, confusion_matrix
from kerora.evaluation.samples import Sample, read_samples
from kerora.evaluation.significance import accuracy, bootstrap_interval, macro_f1
from kerora.runfolder import RunFolder, read_json

PREDICTION_COLUMNS = ("id", "split", "text", "label", "predicted", "score")
SPLIT_ORDER = ("test", "validation")
LANGUAGE_TASK = "causal-lm"
_LARGEST_FIELD = 2**31 - 1


@dataclass(frozen=True)
class SplitResults:
    """The evaluated rows of one split.

    Attributes:
        name: the split, such as ``test``.
        classes: class names in the order of their numbers.
        ids: identifiers of the rows.
        texts: texts of the rows, as cut in predictions.csv.
        labels: true class numbers, shape (rows,).
        predicted: predicted class numbers, shape (rows,).
        scores: probability of the predicted class, shape (rows,).
        probabilities: shape (rows, classes).
        recorded: what metrics.json says of this split after training; empty where it says nothing.
    """

    name: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    recorded: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ids)

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether each row was predicted right, shape (rows,)."""
        return np.asarray(self.labels == self.predicted)

    @cached_property
    def matrix(self) -> np.ndarray:
        """The confusion matrix, shape (classes, classes)."""
        return confusion_matrix(self.labels, self.predicted, len(self.classes))

    @cached_property
    def calibration(self) -> Calibration:
        """Confidence against accuracy."""
        return calibration(self.labels, self.probabilities, self.predicted)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The metrics; metrics.json's unrounded numbers where it describes these rows."""
        computed = classification_metrics(self.labels, self.probabilities, self.classes, predicted=self.predicted)
        if not self.agrees:
            return computed
        recorded = {key: value for key, value in self.recorded.items() if isinstance(value, int | float)}
        return {key: recorded.get(key, value) for key, value in computed.items()}

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Bootstrap 95 % intervals of accuracy and macro F1."""
        count = len(self.classes)
        return {
            name: bootstrap_interval(self.labels, self.predicted, metric, count=count)
            for name, metric in (("accuracy", accuracy), ("macro_f1", macro_f1))
        }

    @property
    def agrees(self) -> bool:
        """Whether metrics.json's accuracy, where it gives one, is that of these rows."""
        value = self.recorded.get("accuracy")
        return not isinstance(value, int | float) or abs(value - float(self.correct.mean())) < 0.5 / len(self)

    def mistakes(self) -> list[int]:
        """Positions of the wrong rows, the most confident first."""
        wrong = np.flatnonzero(~self.correct)
        return [int(place) for place in wrong[np.argsort(-self.scores[wrong], kind="stable")]]


@dataclass(frozen=True)
class RunResults:
    """One run, as the report needs it.

    Attributes:
        folder: the run folder.
        manifest: run.json.
        settings: config.yaml as nested mappings; empty where it is missing.
        history: columns of history.csv by name, shape (epochs,), NaN where empty; empty where it is missing.
        before: metrics of the untouched model by split.
        after: metrics of the trained model by split.
        splits: evaluated rows by split, the one to report first; none for a language model.
        steps: columns of steps.csv by name, shape (updates recorded,); empty where it is missing.
        samples: prompts and their continuations by a language model.
    """

    folder: RunFolder
    manifest: Mapping[str, Any]
    settings: Mapping[str, Any]
    history: Mapping[str, np.ndarray]
    before: Mapping[str, Mapping[str, Any]]
    after: Mapping[str, Mapping[str, Any]]
    splits: Mapping[str, SplitResults]
    steps: Mapping[str, np.ndarray] = field(default_factory=dict)
    samples: Sequence[Sample] = ()

    @property
    def is_language_model(self) -> bool:
        """Whether the run continues texts; else it classifies them."""
        return self.manifest.get("task") == LANGUAGE_TASK

    @property
    def name(self) -> str:
        """The run folder's own name."""
        return self.folder.path.resolve().name

    @property
    def epochs(self) -> int:
        """Epochs in history.csv."""
        return len(next(iter(self.history.values()))) if self.history else 0

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were kept, if run.json says."""
        value = self.manifest.get("best_epoch")
        return value if isinstance(value, int) else None

    def split(self, name: str | None = None) -> SplitResults:
        """Return the rows of a split; by default test, else validation, else the first.

        Raises:
            RunError: the run has no predictions for that split.
        """
        if name is None:
            return next(iter(self.splits.values()))
        if name not in self.splits:
            known = ", ".join(self.splits)
            raise RunError(f"{self.folder.predictions} holds no rows of split '{name}'. It holds: {known}.")
        return self.splits[name]


def read_results(run: RunFolder) -> RunResults:
    """Read what a run left.

    Raises:
        RunError: a needed file is missing, or a file is damaged (names the file, line and column).
    """
    manifest = run.read_manifest()
    is_language_model = manifest.get("task") == LANGUAGE_TASK
    needed = (run.metrics,) if is_language_model else (run.predictions, run.metrics)
    missing = next((path for path in needed if not path.is_file()), None)
    if missing is not None or (is_language_model and "after" not in read_json(run.metrics)):
        raise _not_evaluated(run, missing, manifest.get("state"))
    metrics = read_json(run.metrics)
    before, after = (_by_split(metrics, part, run.metrics) for part in ("before", "after"))
    splits = {} if is_language_model else read_predictions(run.predictions, _read_classes(run.labels), after)
    files = read_history(run.history), before, after, splits, read_history(run.steps), read_samples(run.samples)
    return RunResults(run, manifest, _read_settings(run.config), *files)


def _not_evaluated(run: RunFolder, missing: Path | None, state: Any) -> RunError:
    what = f"{run.metrics} holds no metrics of the trained model" if missing is None else f"{missing} does not exist"
    first = ""
    if state in ("running", "stopped", "failed"):
        first = f"The run is marked '{state}': continue it with `kerora fit --resume {run.path}`, or "
    remedy = f"evaluate the run with `kerora evaluate {run.path}`."
    return RunError(f"{what}. {first}{remedy if first else 'E' + remedy[1:]}")


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Read history.csv into columns; a missing or headers-only file gives no columns.

    Raises:
        RunError: a value is not a number, or a line has too few or too many values.
    """
    if not path.is_file():
        return {}
    header, lines = _read_csv(path)
    rows = [
        [_number(path, number, name, value, empty=math.nan) for name, value in zip(header, line, strict=True)]
        for number, line in lines
    ]
    if not rows:
        return {}
    return dict(zip(header, np.array(rows, dtype=np.float64).T, strict=True))


def read_predictions(
    path: Path, classes: Sequence[str] | None = None, recorded: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, SplitResults]:
    """Read predictions.csv, split by split.

    Args:
        path: the file.
        classes: class names in order; None takes the order of the ``p_`` columns.
        recorded: metrics.json's metrics by split, kept with the rows.

    Returns:
        Splits in the order test, validation, others.

    Raises:
        RunError: a column is missing, a value cannot be used, or there are no rows.
    """
    header, lines = _read_csv(path)
    names = tuple(classes or (column.removeprefix("p_") for column in header if column.startswith("p_")))
    wanted = [*PREDICTION_COLUMNS, *(f"p_{name}" for name in names)]
    missing = [column for column in wanted if column not in header]
    if missing or not names:
        lacking = ", ".join(missing) or "p_<class>"
        raise RunError(f"{path} lacks the column(s) {lacking}. Write it again with `kerora evaluate`.")
    places = [header.index(column) for column in wanted]
    groups: dict[str, list[list[Any]]] = {}
    for number, line in lines:
        row = _prediction(path, number, wanted, [line[place] for place in places], names)
        groups.setdefault(row[1], []).append(row)
    if not groups:
        raise RunError(f"{path} holds no rows. Evaluate the run on labelled rows with `kerora evaluate`.")
    order = sorted(groups, key=lambda split: SPLIT_ORDER.index(split) if split in SPLIT_ORDER else len(SPLIT_ORDER))
    return {split: _gather(split, names, groups[split], (recorded or {}).get(split, {})) for split in order}


def _prediction(path: Path, line: int, columns: Sequence[str], values: list[str], classes: Sequence[str]) -> list[Any]:
    row: list[Any] = values[:3]
    for column, value in zip(columns[3:5], values[3:5], strict=True):
        if value not in classes:
            known = ", ".join(classes)
            raise RunError(f"{path}, line {line}: {column} {value!r} is not a class of this run. Classes: {known}.")
        row.append(classes.index(value))
    row += [_number(path, line, column, value) for column, value in zip(columns[5:], values[5:], strict=True)]
    return row


def _gather(split: str, classes: tuple[str, ...], rows: list[list[Any]], recorded: Mapping[str, Any]) -> SplitResults:
    numbers = np.array([row[5:] for row in rows], dtype=np.float64)
    labels, predicted = np.array([row[3:5] for row in rows], dtype=np.int64).T
    ids, texts = tuple(row[0] for row in rows), tuple(row[2] for row in rows)
    return SplitResults(split, classes, ids, texts, labels, predicted, numbers[:, 0], numbers[:, 1:], recorded)


def _read_csv(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the header and, with their line numbers, the rows."""
    rows = _csv_rows(path)
    _, header = next(rows, (0, []))

    def checked() -> Iterator[tuple[int, list[str]]]:
        for number, row in rows:
            if len(row) != len(header):
                raise RunError(f"{path}, line {number}: expected {len(header)} values. Received: {len(row)}")
            yield number, row

    return header, checked()


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    limit = csv.field_size_limit(_LARGEST_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            yield from ((reader.line_num, row) for row in reader if row)
    except OSError as error:
        raise RunError(f"Cannot read {path}: {error.strerror}. Is the run complete?") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise RunError(
            f"{path} is damaged: {error}. Restore the file or write it again with `kerora evaluate`."
        ) from error
    finally:
        csv.field_size_limit(limit)


def _number(path: Path, line: int, column: str, text: str, empty: float | None = None) -> float:
    """Read a number; where `empty` is given, an empty or non-finite value is allowed."""
    try:
        value = empty if empty is not None and not text.strip() else float(text)
    except ValueError:
        value = None
    if value is None or (empty is None and not math.isfinite(value)):
        raise RunError(f"{path}, line {line}, column {column}: expected a number. Received: {text!r}")
    return value


def _by_split(metrics: Mapping[str, Any], part: str, path: Path) -> dict[str, dict[str, Any]]:
    found = metrics.get(part) or {}
    if not isinstance(found, Mapping) or not all(isinstance(value, Mapping) for value in found.values()):
        raise RunError(
            f"{path} is damaged: '{part}' must map splits to metrics. Evaluate again with `kerora evaluate`."
        )
    return {split: dict(values) for split, values in found.items()}


def _read_classes(path: Path) -> tuple[str, ...] | None:
    if not path.is_file():
        return None
    classes = read_json(path).get("classes")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise RunError(f"{path} is damaged: 'classes' must be a list of names. Received: {json.dumps(classes)}")
    return tuple(classes)


def _read_settings(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{path} is damaged: {reason}. Restore the file or train again.") from error
    return content if isinstance(content, Mapping) else {}
