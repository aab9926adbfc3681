"""A run with several labels per text: thresholds, metrics that predictions.csv gives again, pages of many labels."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sklearn import metrics

import kerora
from kerora.cli.main import run as kerora_command
from kerora.data.rows import indicators
from kerora.errors import ConfigError, RunError
from kerora.evaluation.thresholds import best_thresholds
from kerora.runfolder import RunFolder, write_json
from kerora.runs.results import read_results
from kerora.scripting.result import FitResult
from kerora.tasks.multi_label import page, results, screen
from kerora.tasks.multi_label.labels import TagLabels, read_tag_labels, write_tag_labels
from kerora.tasks.multi_label.predictions import LabelSplit, most_of, read_predictions
from tests.tiny import WORDS, tiny_keras_preset

NAMES = ["late, or not", 'the "other"', "rare"]
TEXTS = [f"{WORDS[n]} {'late parcel' if n % 2 else 'broken'} {WORDS[-n - 1]}" for n in range(90)]
LABELS = [[NAMES[0]] * (n % 2) + [NAMES[1]] * (n % 3 == 0) + [NAMES[2]] * (n % 15 == 0) for n in range(90)]


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_keras_preset("distil_bert", tmp_path_factory.mktemp("preset")))


@pytest.fixture(scope="module")
def settings(preset: str) -> dict[str, Any]:
    return {"preset": preset, "precision": "float32", "max_length": 24, "batch_size": 16, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def result(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    folder = tmp_path_factory.mktemp("runs")
    return kerora.fit(
        train=(TEXTS, LABELS), test_split=0.2, validation_split=0.2, epochs=4, run=str(folder / "one"), **settings
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_scikit_learn_gives_every_metric_again_from_the_predictions(result: FitResult) -> None:
    names = list(result.model.classes)
    thresholds = read_tag_labels(result.run.labels).thresholds
    for split, found in result.metrics["after"].items():
        rows = [row for row in rows_of(result.run.predictions) if row["split"] == split]
        truth, answers = (
            np.array([[name in json.loads(row[column]) for name in names] for row in rows]).astype(int)
            for column in ("label", "predicted")
        )
        scores = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
        for average in ("micro", "macro", "weighted"):
            assert found[f"{average}_f1"] == metrics.f1_score(truth, answers, average=average, zero_division=0)
        assert found["samples_f1"] == metrics.f1_score(truth, answers, average="samples", zero_division=1.0)
        assert found["macro_f1_at_half"] == metrics.f1_score(truth, scores >= 0.5, average="macro", zero_division=0)
        assert found["hamming_loss"] == metrics.hamming_loss(truth, answers)
        assert found["subset_accuracy"] == metrics.accuracy_score(truth, answers)
        assert found["ranking_loss"] == pytest.approx(metrics.label_ranking_loss(truth, scores), abs=1e-4)
        assert found["map"] == pytest.approx(metrics.average_precision_score(truth, scores, average="macro"), abs=1e-4)
        assert found["loss"] == pytest.approx(metrics.log_loss(truth.ravel(), scores.ravel()), abs=1e-5)
        assert (answers == (scores >= thresholds)).mean() > 0.99  # six decimals


def test_the_thresholds_are_the_best_of_the_validation_rows(result: FitResult) -> None:
    dataset = kerora.load_dataset(result.run.data, validation_split=0.2, test_split=0.2)
    rows = dataset["validation"]
    assert rows.targets is not None and (0, 2) in rows.targets
    wanted = best_thresholds(indicators(rows.targets, 3), result.model.predict_probabilities(rows))
    assert np.array_equal(result.model.thresholds, wanted)
    assert result.predict(TEXTS[:5]) == result.model.predict_labels(TEXTS[:5])
    after = result.metrics["after"]["validation"]
    assert after["macro_f1"] >= after["macro_f1_at_half"]
    assert [after["per_class"][name]["threshold"] for name in result.model.classes] == wanted.tolist()
    assert result.history[-1]["val_macro_f1"] == pytest.approx(after["macro_f1"], abs=0.2)


def test_a_fixed_threshold(settings: dict[str, Any], tmp_path: Path, result: FitResult) -> None:
    found = kerora.fit(
        train=(TEXTS, LABELS), epochs=1, threshold=0.3, class_weights="balanced", label_smoothing=0.1,
        run=str(tmp_path / "run"), **settings,
    )  # fmt: skip
    assert found.model.thresholds.tolist() == [0.3] * 3 == list(read_tag_labels(found.run.labels).thresholds)
    for threshold in (0, 1, 1.5, -0.1):
        with pytest.raises(ConfigError, match="'threshold' must be greater than 0 and less than 1"):
            kerora.fit(train=(TEXTS, LABELS), threshold=threshold)
    with pytest.raises(ConfigError, match="--threshold decides which labels a text gets with --task multi-label"):
        kerora.fit(train=(TEXTS, ["a", "b", "c"] * 30), threshold=0.3, preset=settings["preset"])


def test_predictions_have_lists(result: FitResult, tmp_path: Path) -> None:
    run = str(result.run.path)
    (tmp_path / "new.csv").write_text("text\n" + "\n".join(TEXTS[:3]) + "\n", encoding="utf-8")
    for name, options in {"out.csv": [], "sub.csv": ["--submission"], "out.jsonl": []}.items():
        given = ["predict", run, str(tmp_path / "new.csv"), "--output", str(tmp_path / name), *options]
        assert kerora_command(given) == 0
    wanted = result.predict(TEXTS[:3])
    assert [json.loads(row["label"]) for row in rows_of(tmp_path / "out.csv")] == wanted
    assert [list(row) for row in rows_of(tmp_path / "sub.csv")] == [["id", "label"]] * 3
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["label"] for line in lines] == wanted and set(lines[0]) == {"id", "label", *(f"p_{n}" for n in NAMES)}


def test_evaluation_report_and_comparison(
    result: FitResult, settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = kerora.fit(
        train=(TEXTS, LABELS), test_split=0.2, validation_split=0.2, epochs=1, run=str(tmp_path / "two"), **settings
    )
    assert kerora_command(["evaluate", str(result.run.path)]) == 0
    told = capsys.readouterr().out
    assert "Macro F1" in told and "threshold" in told
    summary = kerora.report(result.run.path)
    written = {name: path.read_bytes() for name, path in summary.runs[0].files.items()}
    assert {"report.html", "labels.csv", "confused_labels.csv", "missed_together.csv", "errors.csv"} <= set(written)
    html = written["report.html"].decode()
    assert "Missed together" in html and "the &#34;other&#34;" in html and "Rightly not given" in html
    both = kerora.report(result.run.path, other.run.path)
    pair = both.comparison.pairs[0]
    assert pair.shared == 18 and not pair.different and set(pair.tests) == set(results.COMPARED)
    assert pair.tests["macro_f1"].value == pytest.approx(
        result.metrics["after"]["test"]["macro_f1"] - other.metrics["after"]["test"]["macro_f1"]
    )
    assert "paired bootstrap" in both.page.read_text(encoding="utf-8")
    assert kerora_command(["report", str(result.run.path), str(other.run.path)]) == 0
    assert "macro f1, p" in capsys.readouterr().out
    assert "Macro F1" in repr(result) and "Each label" not in result._repr_html_()


def many(count: int) -> LabelSplit:
    generator = np.random.default_rng(0)
    labels = generator.random((50, count)) < 0.05
    probabilities = np.clip(0.4 * labels + 0.6 * generator.random(labels.shape), 0, 1)
    ids = tuple(map(str, range(50)))
    return LabelSplit(
        "test", tuple(f"a label with a long name, number {n}" for n in range(count)), ids, ids, labels,
        probabilities >= 0.5, probabilities, np.full(count, 0.5),
    )  # fmt: skip


@pytest.mark.parametrize("count", [77, 130])
def test_many_labels_stay_readable(count: int, result: FitResult) -> None:
    split = many(count)
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for part in screen.report(read_results(result.run), split):  # type: ignore[arg-type]
        if part is not None:
            console.print(part)
    lines = console.export_text().splitlines()
    assert len(lines) < 90 and all(len(line) <= 100 for line in lines)
    assert any(f"labels.csv of the report has {count - 40} more" in line for line in lines)
    html = page.render(read_results(result.run), split, "1")  # type: ignore[arg-type]
    assert html.count("<tr>") < count + 100 and len(html) < 2_000_000
    files = page.files(read_results(result.run), split)  # type: ignore[arg-type]
    assert len(str(files["labels.csv"]).splitlines()) == count + 1 and "confused_labels.png" not in files


def test_confused_and_missed_labels() -> None:
    truth = np.array([[1, 0, 0], [1, 0, 1], [1, 1, 0], [0, 0, 0]], bool)
    given = np.array([[0, 1, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], bool)
    split = LabelSplit(
        "test", ("a", "b", "c"), tuple("1234"), tuple("wxyz"), truth, given, given * 0.9, np.full(3, 0.5)
    )
    assert split.confused.tolist() == [[0, 2, 0], [0, 0, 0], [0, 1, 0]]
    assert split.missed_together.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert split.counts.tolist() == [[1, 0, 2, 1], [1, 2, 0, 1], [0, 0, 1, 3]]
    assert [(p.first, p.second, p.rows) for p in most_of(split.confused, truth.sum(axis=0))] == [(0, 1, 2), (2, 1, 1)]
    assert split.mistakes() == [0, 1] and split.correct.tolist() == [False, False, True, True]


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    write_tag_labels(path, TagLabels(("a", "b"), ("0", "1"), thresholds=(0.25, 0.5)))
    assert read_tag_labels(path) == TagLabels(("a", "b"), ("0", "1"), thresholds=(0.25, 0.5))
    write_json(path, {"classes": ["a", "b"]})
    assert read_tag_labels(path).thresholds == (0.5, 0.5)
    for bad in ([0.5], [0.5, True], [0.5, 2], "0.5", [0.5, None]):
        write_json(path, {"classes": ["a", "b"], "thresholds": bad})
        with pytest.raises(RunError, match="'thresholds' must be a list of 2 numbers from 0 to 1"):
            read_tag_labels(path)
    predictions = tmp_path / "predictions.csv"
    head = "id,split,text,label,predicted,p_a,p_b\n"
    for line, message in (
        ("1,test,x,a,[],0.1,0.2", "line 2: label must be a JSON list of labels of this run"),
        ('1,test,x,[],"[""z""]",0.1,0.2', "line 2: predicted must be a JSON list"),
        ("1,test,x,[],[],nan,0.2", "expected a number"),
    ):
        predictions.write_text(head + line + "\n", encoding="utf-8")
        with pytest.raises(RunError, match=message):
            read_predictions(predictions)


def test_a_run_without_validation_rows_keeps_half(settings: dict[str, Any], tmp_path: Path) -> None:
    found = kerora.fit(train=(TEXTS, LABELS), epochs=1, validation_split=0, run=str(tmp_path / "run"), **settings)
    assert found.model.thresholds.tolist() == [0.5] * 3 and found.metrics["after"] == {}
    assert RunFolder.open(found.run.path).read_manifest()["task"] == "multi-label"
