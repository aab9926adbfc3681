"""Comparing runs: which rows are shared, what differs."""

import csv
from pathlib import Path

import numpy as np
import pytest

from kerora.errors import RunError
from kerora.evaluation.comparison import costs
from kerora.evaluation.results import RunResults
from kerora.runfolder import RunFolder
from kerora.runs.report import write_report
from kerora.runs.results import read_results
from kerora.tasks.classification.results import compare
from kerora.tasks.language.results import compare as compare_language_models
from tests.evaluation.synthetic_runs import SIX, TWO, make_language_run, make_run

pytestmark = pytest.mark.usefixtures("unrendered_figures")


def made(path: Path, **options) -> RunResults:
    return read_results(make_run(path, **{"rows": 80, **options}))


def edit(run: RunFolder, change) -> RunResults:
    with run.predictions.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows = [row for row in (change(row) for row in rows) if row]
    with run.predictions.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return read_results(run)


def test_all_rows_are_shared_by_runs_on_the_same_data(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a"), made(tmp_path / "b", seed=4, lora={"rank": 16})
    found = compare([a, b])
    assert (found.names, [split.name for split in found.splits]) == (("a", "b"), ["test", "test"])
    (pair,) = found.pairs
    correct_a, correct_b = a.split("test").correct, b.split("test").correct
    assert (pair.shared, pair.different) == (80, 0)
    assert pair.test is not None
    assert (pair.test.b, pair.test.c) == (np.sum(correct_a & ~correct_b), np.sum(correct_b & ~correct_a))
    assert found.different_settings() == {"lora.rank": [8, 16]}


def test_rows_are_joined_by_id_whatever_their_order(tmp_path: Path) -> None:
    run = make_run(tmp_path / "b", rows=80, seed=4)
    lines = run.predictions.read_text(encoding="utf-8").splitlines()
    expected = compare([made(tmp_path / "a"), read_results(run)]).pairs[0]
    run.predictions.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n", encoding="utf-8")
    found = compare([read_results(RunFolder(tmp_path / "a")), read_results(run)]).pairs[0]
    assert found == expected


def test_rows_with_another_text_or_label_are_left_out(tmp_path: Path) -> None:
    def change(row):
        text = "another text" if row["id"] == "3" else row["text"]
        label = {"negative": "positive", "positive": "negative"}[row["label"]] if row["id"] == "5" else row["label"]
        return None if row["id"] == "7" else {**row, "text": text, "label": label}

    b = edit(make_run(tmp_path / "b", rows=80, seed=4), change)
    pair = compare([made(tmp_path / "a"), b]).pairs[0]
    assert (pair.shared, pair.different) == (77, 2)


def test_repeated_ids_are_matched_in_turn(tmp_path: Path) -> None:
    runs = [edit(make_run(tmp_path / name, rows=30), lambda row: {**row, "id": "same"}) for name in "ab"]
    assert compare(runs).pairs[0].shared == 30


def test_no_shared_rows_is_said(tmp_path: Path) -> None:
    b = edit(make_run(tmp_path / "b", rows=30), lambda row: {**row, "id": f"x{row['id']}"})
    pair = compare([made(tmp_path / "a"), b]).pairs[0]
    assert (pair.shared, pair.test, pair.winner) == (0, None, None)
    assert pair.verdict == "The runs have no rows in common, so there is no test."


def test_the_better_run_is_named(tmp_path: Path) -> None:
    good, bad = made(tmp_path / "good", strength=5.0), made(tmp_path / "bad", strength=0.2)
    pair = compare([bad, good]).pairs[0]
    assert (pair.winner, pair.verdict) == ("good", "good is significantly better.")
    assert compare([bad, made(tmp_path / "twin", strength=0.2)]).pairs[0].verdict == "No significant difference."


def test_the_split_is_one_that_all_runs_hold(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a"), made(tmp_path / "b", splits=("validation",))
    assert {split.name for split in compare([a, b]).splits} == {"validation"}
    c = made(tmp_path / "c", splits=("test",))
    assert [split.name for split in compare([b, c]).splits] == ["validation", "test"]
    assert compare([b, c]).pairs[0].shared == 0
    with pytest.raises(RunError, match="no rows of split 'test'"):
        compare([a, b], "test")


def test_three_runs_make_three_pairs_even_with_other_classes(tmp_path: Path) -> None:
    runs = [made(tmp_path / "a"), made(tmp_path / "b", classes=SIX), made(tmp_path / "c", classes=TWO, seed=9)]
    assert [(pair.first, pair.second) for pair in compare(runs).pairs] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_equal_folder_names_are_told_apart_and_the_same_run_is_refused(tmp_path: Path) -> None:
    a, b = made(tmp_path / "x" / "run"), made(tmp_path / "y" / "run")
    assert compare([a, b]).names == (str(tmp_path / "x" / "run"), str(tmp_path / "y" / "run"))
    again = read_results(RunFolder(tmp_path / "x" / ".." / "x" / "run"))
    with pytest.raises(RunError, match="given more than once"):
        compare([a, again])


def test_language_models_side_by_side(tmp_path: Path) -> None:
    runs = [
        make_language_run(tmp_path / "a", 2.0),
        make_language_run(tmp_path / "b", 1.5, lora={"rank": 16}),
        make_language_run(tmp_path / "<c>", 2.5, preset="llama", data="cd"),
    ]
    same = compare_language_models([read_results(run) for run in runs[:2]])
    assert same.notes() == [] and same.splits == ("validation",)
    assert same.different_settings() == {"lora.rank": [8, 16]}
    summary = write_report(runs)
    assert summary.page == runs[0].report / "comparison.html"
    page = summary.page.read_text(encoding="utf-8")
    for part in (
        "3 language models side by side",
        "7.3891",
        "4.4817",
        "(20.0855)",
        "&lt;c&gt;",
        "upon 1.5",
        "lora.rank",
    ):
        assert part in page, part
    assert page.count("<svg") == 3 and "Then compare only bits per byte" in page
    assert "the runs were evaluated on different texts" in page and 'id="confusion"' not in page
    assert all((run.report / name).is_file() for run in runs for name in ("report.html", "curves.png"))
    found = summary.as_dict()["comparison"]
    assert found["names"] == ["a", "b", "<c>"] and found["metrics"]["validation"][1]["loss"] == 1.5
    other = write_report(runs[:2], tmp_path / "both.html")
    assert other.page == tmp_path / "both.html" and "Note" not in other.page.read_text(encoding="utf-8")


def test_runs_of_two_tasks_are_not_compared(tmp_path: Path) -> None:
    language, classifier = make_language_run(tmp_path / "a"), make_run(tmp_path / "b", rows=20)
    with pytest.raises(
        RunError, match="b is a text classifier, but .*a is a language model. Compare runs of one task."
    ):
        write_report([language, classifier])
    with pytest.raises(RunError, match="given more than once"):
        write_report([language, language])
    with pytest.raises(RunError, match="holds no split 'test'. It holds: validation."):
        write_report([language, make_language_run(tmp_path / "c")], split="test")
    assert not list(tmp_path.rglob("report.html"))


def test_costs_are_one_row_per_run(tmp_path: Path) -> None:
    full = make_run(tmp_path / "full", TWO, lora={"method": "full"}, training={"learning_rate": 0.0003})
    adapted = make_run(tmp_path / "adapted", TWO, lora={"rank": 4}, training={"learning_rate": 0.003})
    found = compare([read_results(full), read_results(adapted)])
    first, second = costs(found.names, found.runs)
    assert (first.method, second.method) == ("full fine-tuning", "LoRA rank 4")
    assert (first.seconds, first.memory, first.epochs) == (124.5, 1820.0, 3)
    assert found.as_dict()["costs"][1]["trainable"] == 739_586
    assert found.notes() == []


def test_equal_rates_of_different_methods_are_told(tmp_path: Path) -> None:
    for name, method in (("full", "full"), ("adapted", "lora")):
        make_run(tmp_path / name, TWO, lora={"method": method}, training={"learning_rate": 0.003})
    found = compare([read_results(RunFolder(tmp_path / name)) for name in ("full", "adapted")])
    assert "have the same learning rate, 0.003" in found.notes()[0]
