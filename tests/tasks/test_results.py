"""Reading run folders back: whole, partial and damaged ones."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kerora.errors import RunError
from kerora.evaluation.results import read_history
from kerora.runfolder import RunFolder
from kerora.runs.results import read_results
from kerora.tasks.classification.results import read_predictions
from tests.evaluation.synthetic_runs import SIX, TWO, make_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("runs") / "whole", SIX, rows=120)


@pytest.fixture
def run(whole: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(whole.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def replace_column(run: RunFolder, column: str, row: int, value: str) -> None:
    lines = list(csv.reader(run.predictions.open(encoding="utf-8", newline="")))
    lines[row][lines[0].index(column)] = value
    with run.predictions.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(lines)


def message(run: RunFolder) -> str:
    with pytest.raises(RunError) as caught:
        read_results(run)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_reads_every_file_of_a_run(whole: RunFolder) -> None:
    results = read_results(whole)
    assert (results.name, results.epochs, results.best_epoch) == ("whole", 3, 2)
    assert list(results.splits) == ["test", "validation"]
    split = results.split()
    assert (split.name, len(split), split.classes) == ("test", 120, SIX)
    assert split.probabilities.shape == (120, 6)
    assert results.settings["lora"]["rank"] == 8
    assert results.history["val_accuracy"].shape == (3,)


def test_metrics_are_those_of_metrics_json(whole: RunFolder) -> None:
    recorded = json.loads(whole.metrics.read_text())["after"]["test"]
    assert read_results(whole).split("test").metrics == recorded


def test_metrics_come_from_the_rows_where_metrics_json_describes_others(run: RunFolder) -> None:
    metrics = json.loads(run.metrics.read_text())
    metrics["after"]["test"] |= {"accuracy": 0.999, "loss": 0.001}
    run.metrics.write_text(json.dumps(metrics))
    split = read_results(run).split("test")
    assert not split.agrees
    assert split.metrics["accuracy"] == pytest.approx(split.correct.mean())
    assert split.metrics["loss"] > 0.1


def test_mistakes_are_sorted_by_confidence(whole: RunFolder) -> None:
    split = read_results(whole).split("test")
    places = split.mistakes()
    assert len(places) == (~split.correct).sum() > 5
    assert all(split.labels[place] != split.predicted[place] for place in places)
    assert np.all(np.diff(split.scores[places]) <= 0)


def test_intervals_hold_the_metrics(whole: RunFolder) -> None:
    split = read_results(whole).split("test")
    for key, (low, high) in split.intervals.items():
        assert low < split.metrics[key] < high


def test_missing_extras_are_survived(run: RunFolder) -> None:
    for path in (run.config, run.history, run.labels):
        path.unlink()
    results = read_results(run)
    assert (results.settings, results.epochs, results.split().classes) == ({}, 0, SIX)


@pytest.mark.parametrize("splits", [("validation",), ("test",), ("other", "validation")])
def test_any_set_of_splits_is_read(tmp_path: Path, splits: tuple[str, ...]) -> None:
    results = read_results(make_run(tmp_path / "run", TWO, rows=20, splits=splits))
    assert results.split().name == ("validation" if "validation" in splits else "test")
    with pytest.raises(RunError, match=r"holds no rows of split 'train'\. It holds: "):
        results.split("train")


def test_a_stopped_run_without_predictions_says_how_to_go_on(run: RunFolder) -> None:
    run.predictions.unlink()
    assert "Evaluate the run with `kerora evaluate" in message(run)
    run.update_manifest(state="stopped")
    assert "state of the run is 'stopped'. Continue it with `kerora fit --resume" in message(run)


def test_missing_or_damaged_files_are_named(run: RunFolder) -> None:
    run.labels.write_text('{"classes": "billing"}')
    assert "labels.json is damaged: 'classes' must be a list" in message(run)
    run.labels.unlink()
    run.metrics.write_text('{"after": {"test": 3}}')
    assert "metrics.json is damaged: 'after' must map" in message(run)
    run.metrics.write_text("{")
    assert "metrics.json is damaged" in message(run)
    run.metrics.unlink()
    assert "metrics.json does not exist" in message(run)
    run.manifest.write_text("[]")
    assert "run.json is damaged" in message(run)


def test_a_damaged_config_is_named(run: RunFolder) -> None:
    run.config.write_text("a: [")
    assert "config.yaml is damaged" in message(run)


@pytest.mark.parametrize(
    "column, value, expected",
    [
        ("p_billing", "much", "line 4, column p_billing: expected a number. Received: 'much'"),
        ("p_billing", "nan", "line 4, column p_billing: expected a number. Received: 'nan'"),
        ("score", "", "line 4, column score: expected a number. Received: ''"),
        ("label", "", "line 4: label '' is not a class of this run. Classes: billing, delivery"),
        ("predicted", "3", "line 4: predicted '3' is not a class"),
    ],
)
def test_unusable_values_are_named_with_their_line(run: RunFolder, column: str, value: str, expected: str) -> None:
    replace_column(run, column, 3, value)
    assert expected in message(run)


def test_missing_columns_and_rows_are_named(run: RunFolder) -> None:
    text = run.predictions.read_text()
    run.predictions.write_text(text.replace("p_returns", "p_refunds", 1))
    assert "lacks the column(s) p_returns." in message(run)
    run.predictions.write_text(text.replace("score", "points", 1))
    assert "lacks the column(s) score." in message(run)
    run.predictions.write_text(text.splitlines()[0] + "\n")
    assert "predictions.csv holds no rows" in message(run)
    run.predictions.write_text("")
    assert "lacks the column(s) id, split" in message(run)
    run.predictions.write_text(text + "one,two\n")
    assert "line 242: expected 12 values. Received: 2" in message(run)
    run.predictions.write_bytes(text.encode() + b"\xff\xfe")
    assert "predictions.csv is damaged" in message(run)


def test_multi_line_texts_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(
        '\ufeffid,split,text,label,predicted,score,p_a,p_b\n1,test,"two\nlines, ""quoted""",a,b,0.6,0.4,0.6\n'
    )
    split = read_predictions(path)["test"]
    assert (split.texts, split.classes) == (('two\nlines, "quoted"',), ("a", "b"))


def test_history_survives_empty_values_and_names_bad_ones(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    assert read_history(path) == {}
    path.write_text("epoch,loss,val_loss\n")
    assert read_history(path) == {}
    path.write_text("epoch,loss,val_loss\n1,0.5,\n")
    assert np.isnan(read_history(path)["val_loss"]).all()
    path.write_text("epoch,loss\n1,low\n")
    with pytest.raises(RunError, match=r"history\.csv, line 2, column loss: expected a number\. Received: 'low'"):
        read_history(path)
