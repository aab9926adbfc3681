"""Reads the results in a run folder that the runs of every task have.

`run.json`, `metrics.json` and the files that the task needs must be there. The other files are optional and add to the
report. Nothing here loads a model.
"""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kerora.errors import RunError
from kerora.runfolder import RunFolder, read_json

# the order of the report: test rows had no part in training
SPLIT_ORDER = ("test", "validation")
# the largest value that csv accepts where a C long has 32 bits, as on Windows
_LARGEST_FIELD = 2**31 - 1


@dataclass(frozen=True)
class RunResults:
    """The results of one run. Each task adds fields of its own.

    Attributes:
        folder: the run folder.
        manifest: run.json.
        settings: config.yaml as nested mappings. Empty if the file is missing.
        history: columns of history.csv by name, shape (epochs,). An empty value is NaN. Empty if the file is missing.
        before: metrics of the model before training, by split.
        after: metrics of the trained model, by split.
        steps: columns of steps.csv by name, shape (recorded updates,). Empty if the file is missing.
        baseline: the simple model that the trained one is compared with, by split. Empty if there is none.
    """

    folder: RunFolder
    manifest: Mapping[str, Any]
    settings: Mapping[str, Any]
    history: Mapping[str, np.ndarray]
    before: Mapping[str, Mapping[str, Any]]
    after: Mapping[str, Mapping[str, Any]]
    steps: Mapping[str, np.ndarray] = field(default_factory=dict)
    baseline: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the run folder."""
        return self.folder.path.resolve().name

    @property
    def epochs(self) -> int:
        """The number of epochs in history.csv."""
        return len(next(iter(self.history.values()))) if self.history else 0

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were kept. None if run.json does not say."""
        value = self.manifest.get("best_epoch")
        return value if isinstance(value, int) else None

    @property
    def evaluated(self) -> list[str]:
        """The evaluated splits, in the order of the report."""
        return list(self.after)


def read_common(run: RunFolder, manifest: Mapping[str, Any], needed: Sequence[Path]) -> dict[str, Any]:
    """Read the fields of `RunResults`.

    Args:
        run: the run folder.
        manifest: its run.json.
        needed: the files that must exist.

    Raises:
        RunError: a needed file is missing, or a file is damaged (names the file, line and column).
    """
    missing = next((path for path in needed if not path.is_file()), None)
    if missing is not None:
        raise not_evaluated(run, f"{missing} does not exist", manifest)
    metrics = read_json(run.metrics)
    before, after, baseline = (_by_split(metrics, part, run.metrics) for part in ("before", "after", "baseline"))
    return {
        "folder": run,
        "manifest": manifest,
        "settings": _read_settings(run.config),
        "history": read_history(run.history),
        "before": before,
        "after": after,
        "steps": read_history(run.steps),
        "baseline": baseline,
    }


def not_evaluated(run: RunFolder, what: str, manifest: Mapping[str, Any]) -> RunError:
    """Return the error for a run that was not evaluated yet. `what` is the reason in one clause."""
    first, state = "", manifest.get("state")
    if state in ("running", "stopped", "failed"):
        first = f"The state of the run is '{state}'. Continue it with `kerora fit --resume {run.path}`, or "
    remedy = f"evaluate the run with `kerora evaluate {run.path}`."
    return RunError(f"{what}. {first}{remedy if first else 'E' + remedy[1:]}")


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Read history.csv into columns. A file that is missing or holds only a header gives no columns.

    Raises:
        RunError: a value is not a number, or a line has too few or too many values.
    """
    if not path.is_file():
        return {}
    header, lines = read_csv(path)
    rows = [
        [cell_number(path, number, name, value, empty=math.nan) for name, value in zip(header, line, strict=True)]
        for number, line in lines
    ]
    if not rows:
        return {}
    return dict(zip(header, np.array(rows, dtype=np.float64).T, strict=True))


def read_csv(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the header, and an iterator over the line numbers and rows.

    Raises:
        RunError: the file cannot be read. The iterator raises it too if a line has too few or too many values.
    """
    rows = _csv_rows(path)
    _, header = next(rows, (0, []))

    def checked() -> Iterator[tuple[int, list[str]]]:
        for number, row in rows:
            if len(row) != len(header):
                raise RunError(f"{path}, line {number}: expected {len(header)} values. Received: {len(row)}")
            yield number, row

    return header, checked()


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    # Python's default limit of 131,072 characters is less than a long text. The limit is global, so it is set back.
    limit = csv.field_size_limit(_LARGEST_FIELD)
    try:
        # utf-8-sig, because spreadsheets add a byte order mark when they save CSV
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            # line_num and not a count of rows, because a quoted text may have several lines
            yield from ((reader.line_num, row) for row in reader if row)
    except OSError as error:
        raise RunError(f"Cannot read {path}: {error.strerror}. Check that the run is complete.") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise RunError(
            f"{path} is damaged: {error}. Restore the file or write it again with `kerora evaluate`."
        ) from error
    finally:
        csv.field_size_limit(limit)


def cell_number(path: Path, line: int, column: str, text: str, empty: float | None = None) -> float:
    """Read a number. If `empty` is given, it stands for an empty value, and non-finite values are allowed."""
    try:
        value = empty if empty is not None and not text.strip() else float(text)
    except ValueError:
        value = None
    # float accepts 'nan' and 'inf', which no probability is
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


def _read_settings(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{path} is damaged: {reason}. Restore the file or train again.") from error
    # an empty file is None in YAML
    return content if isinstance(content, Mapping) else {}
