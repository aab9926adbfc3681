"""Runs keep the labels of their training data: other files are matched by value, and runs with other names compare."""

import json
from pathlib import Path

import pytest

from kerora.errors import DataError, RunError
from kerora.notices import Notice
from kerora.runfolder import RunFolder
from kerora.runs.evaluate import evaluate_run
from kerora.runs.predict import predict_file
from kerora.runs.report import write_report
from kerora.settings.resolve import resolve
from kerora.training.fit import fit

WORDS = {0: "bad late", 2: "order plot", 4: "great good"}
SETTINGS = {"training.epochs": 1, "model.max_length": 8, "model.precision": "float32", "training.learning_rate": 0.02}


def write(path: Path, labels: list, rows: int = 24) -> Path:
    lines = (
        {"text": f"{WORDS[labels[number % len(labels)]]} {number}", "label": labels[number % len(labels)]}
        for number in range(rows)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def runs(tiny_preset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("values")
    write(folder / "train.jsonl", [0, 2, 4])
    write(folder / "test.jsonl", [4, 0])
    paths = {}
    for name, names in (("named", "negative,neutral,positive"), ("plain", "")):
        data = {"data.train": str(folder / "train.jsonl"), "data.test": str(folder / "test.jsonl")}
        given = {"model.preset": str(tiny_preset), "run": str(folder / name), "data.class_names": names}
        paths[name] = fit(resolve(SETTINGS, data, given)).run.path
    return paths


def test_files_are_matched_by_value(runs: dict[str, Path], tmp_path: Path) -> None:
    run = RunFolder(runs["named"])
    assert json.loads(run.labels.read_text()) == {
        "classes": ["negative", "neutral", "positive"],
        "values": ["0", "2", "4"],
    }
    numbers = {}
    for name, labels in (("two", [0, 2]), ("words", ["negative", "neutral"])):
        path = tmp_path / f"{name}.csv"
        path.write_text("text,label\n" + f"late,{labels[0]}\nplot,{labels[1]}\n" * 3, encoding="utf-8")
        found = evaluate_run(run.path, {"data.test": str(path)}, output=tmp_path / name).metrics["test"]
        numbers[name] = found["accuracy"], found["loss"]
        assert {key: value["support"] for key, value in found["per_class"].items()} == {
            "negative": 3,
            "neutral": 3,
            "positive": 0,
        }
    assert numbers["two"] == numbers["words"]


def test_unknown_values_are_refused_by_name(runs: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("text,label\nlate,0\nplot,1\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"label '1' does not occur in the run, which has negative \(0\), neutral \(2\)"
    ):
        evaluate_run(runs["named"], {"data.test": str(path)}, output=tmp_path / "out")


def test_changed_labels_with_the_same_names_are_refused(runs: dict[str, Path]) -> None:
    train = runs["named"].parent / "train.jsonl"
    before = train.read_text(encoding="utf-8")
    train.write_text(before.replace('"label": 2', '"label": 3'), encoding="utf-8")
    try:
        with pytest.raises(DataError, match="have other classes than"):
            evaluate_run(runs["named"])
    finally:
        train.write_text(before, encoding="utf-8")


def test_runs_with_other_names_compare_the_same_rows(runs: dict[str, Path], tmp_path: Path) -> None:
    found = write_report([RunFolder(path) for path in runs.values()], tmp_path / "page.html")
    (pair,) = found.comparison.pairs
    assert (pair.shared, pair.different) == (24, 0)


def test_a_test_part_without_labels_is_predicted(tiny_preset: Path, tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [0, 4])
    lines = [{"id": f"u,{number}", "text": f"great {number}", "label": -1} for number in range(7)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    data = {"data.train": str(train), "data.test": str(tmp_path / "test.jsonl"), "run": str(tmp_path / "run")}
    with pytest.warns(Notice, match="test.jsonl has no labels, so its 7 rows are not evaluated"):
        run = fit(resolve(SETTINGS, data, {"model.preset": str(tiny_preset)})).run
        predict_file(run.path, tmp_path / "test.jsonl", tmp_path / "same.csv", submission=True)
        evaluate_run(run.path)
    assert run.submission.read_bytes() == (tmp_path / "same.csv").read_bytes()
    assert run.submission.read_text().splitlines()[:2] in (["id,label", '"u,0",0'], ["id,label", '"u,0",4'])
    assert set(json.loads(run.metrics.read_text())["after"]) == {"validation"}
    assert run.read_manifest()["data"]["unlabelled"] == 7


def test_a_run_without_evaluated_rows_leads_to_a_report(tiny_preset: Path, tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [0, 4])
    data = {"data.train": str(train), "data.validation_split": 0.0, "run": str(tmp_path / "run")}
    run = fit(resolve(SETTINGS, data, {"model.preset": str(tiny_preset)})).run
    with pytest.raises(RunError, match=r"run has no evaluated rows\. .* `kerora evaluate .*run --test FILE`, and then"):
        write_report([run])
    with pytest.raises(DataError, match="Name rows with --data or --test"):
        evaluate_run(run.path)
    evaluate_run(run.path, {"data.test": str(train)})
    with pytest.warns(Notice, match=r"Its results are those of the evaluation .*evaluations/train\.jsonl"):
        found = write_report([run]).runs[0]
    assert (found.split.name, len(found.split)) == ("test", 24)
