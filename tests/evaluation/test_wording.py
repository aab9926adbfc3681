"""Labels, numbers as text, changes and notes."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kerora.evaluation import wording
from kerora.runs.results import read_results
from kerora.tasks.classification.results import most_confused, notes
from tests.evaluation.synthetic_runs import SIX, make_run


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0.0 s"),
        (41.46, "41.5 s"),
        (59.97, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3780, "1 h 3 min"),
        (None, "-"),
        (-1, "-"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert wording.duration(seconds) == text


def test_numbers_as_text() -> None:
    assert (wording.decimal(np.float64(0.12345)), wording.decimal(None), wording.decimal(math.nan)) == (
        "0.1235",
        "-",
        "-",
    )
    assert (wording.signed(0.5), wording.signed(-0.5, 1), wording.signed("x")) == ("+0.5000", "-0.5", "-")
    assert (wording.decimal(99.5), wording.decimal(6456.7062), wording.decimal(131.72, 3)) == (
        "99.5000",
        "6,456.7",
        "131.7",
    )
    assert (wording.signed(-3320.5961), wording.decimal(150.4, 0)) == ("-3,320.6", "150")
    assert (wording.whole(np.int64(12345)), wording.whole(None)) == ("12,345", "-")
    assert (wording.p_value(0.0004), wording.p_value(0.05)) == ("< 0.001", "0.050")


def test_lookup_survives_missing_and_foreign_levels() -> None:
    assert wording.lookup({"a": {"b": 3}}, "a", "b") == 3
    assert wording.lookup({"a": 5}, "a", "b") is None
    assert wording.lookup({}, "a", "b") is None


def test_changes_say_what_got_better(tmp_path: Path) -> None:
    results = read_results(make_run(tmp_path / "run", SIX))
    table = wording.changes(results)
    assert list(table) == ["test", "validation"]
    rows = {row.key: row for row in table["test"]}
    assert rows["accuracy"].after == results.split().metrics["accuracy"]
    assert rows["accuracy"].difference == pytest.approx(rows["accuracy"].after - rows["accuracy"].before)
    assert (rows["accuracy"].direction, rows["loss"].direction) == ("better", "better")
    assert rows["loss"].difference < 0
    assert wording.Change("loss", 1.0, 2.0).direction == "worse"
    assert wording.Change("roc_auc", None, 0.9).difference is None
    assert wording.changes(replace(results, before={})) == {}


def test_most_confused_are_the_largest_off_diagonal_cells(tmp_path: Path) -> None:
    split = read_results(make_run(tmp_path / "run", SIX)).split()
    found = most_confused(split, 4)
    counts = sorted((split.matrix[i, j] for i in range(6) for j in range(6) if i != j), reverse=True)
    assert [item.rows for item in found] == counts[:4]
    for item in found:
        assert split.matrix[item.true, item.predicted] == item.rows
        assert item.percent == pytest.approx(100 * item.rows / split.matrix[item.true].sum())


def test_notes_warn_only_where_there_is_reason(tmp_path: Path) -> None:
    results = read_results(make_run(tmp_path / "run", SIX))
    assert notes(results, results.split()) == []
    stopped = replace(results, manifest={**results.manifest, "state": "stopped"})
    assert "state of this run is 'stopped'" in notes(stopped, stopped.split())[0]
    alone = read_results(make_run(tmp_path / "alone", SIX, splits=("validation",)))
    assert "no test rows" in notes(alone, alone.split())[0]
    other = replace(results.split(), recorded={"accuracy": 0.9999})
    assert "metrics.json gives accuracy 0.9999" in notes(results, other)[0]
    few = read_results(make_run(tmp_path / "few", SIX, rows=2))
    weak, absent = notes(few, few.split())
    assert weak.startswith("The model is right less often") and "Macro averages count such a class as 0" in absent
