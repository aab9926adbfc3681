"""Regression runs: exports give the numbers of the run in other tools, and predictions.csv gives every metric."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

import kerora
from kerora.cli.main import run as command
from kerora.data.numbers import Scale
from kerora.errors import ConfigError, RunError
from kerora.exchange.importing import import_peft
from kerora.exchange.merge import merged_model
from kerora.models.regression_loss import losses_of_rows
from kerora.models.regressor import TextRegressor
from kerora.runfolder import read_json
from kerora.runs.open import load
from kerora.runs.results import read_results
from kerora.settings.resolve import resolve
from kerora.tasks.regression.labels import read_targets
from kerora.tasks.regression.results import compare
from tests.tiny import WORDS
from tests.tiny_huggingface import tiny_huggingface

TEXTS = [" ".join(WORDS[n : n + 1 + n % 7]) for n in range(60)]
LONG = np.array([float(len(text)) for text in TEXTS])
ROWS = {"text": TEXTS, "size": (LONG * 100 + 5000).tolist(), "part": (LONG / 50 - 1).tolist()}
SMALL: dict[str, Any] = {
    **{"task": "regression", "label": ["size", "part"], "epochs": 2, "rank": 2, "batch_size": 8, "max_length": 32},
    **{"precision": "float32", "test_split": 0.3, "force": True},
}


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("presets")
    tiny_huggingface("bert", folder / "bert", num_hidden_layers=1)
    tiny_huggingface("gpt2", folder / "gpt2", n_layer=1)
    return folder


@pytest.fixture(scope="module")
def two(presets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two targets."""
    folder = tmp_path_factory.mktemp("runs")
    kerora.fit(train=ROWS, preset=str(presets / "bert"), run=str(folder / "two"), **SMALL)
    return folder / "two"


def predictions(run: Path, split: str = "test") -> tuple[np.ndarray, np.ndarray]:
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == split]
    names = [name for name in rows[0] if name.startswith("label")]
    return tuple(
        np.array([[float(row[name.replace("label", stem)]) for name in names] for row in rows])
        for stem in ("label", "predicted")
    )


def test_predictions_give_every_metric(two: Path) -> None:
    true, found = predictions(two)
    metrics = read_json(two / "metrics.json")["after"]["test"]
    assert metrics["mae"] == pytest.approx(sk.mean_absolute_error(true, found), rel=1e-6)
    assert metrics["rmse"] == pytest.approx(sk.root_mean_squared_error(true, found), rel=1e-6)
    assert metrics["r2"] == pytest.approx(sk.r2_score(true, found), rel=1e-5)
    for place, name in enumerate(("size", "part")):
        one = metrics["per_target"][name]
        assert one["pearson"] == pytest.approx(stats.pearsonr(true[:, place], found[:, place]).statistic, abs=1e-6)
        assert one["spearman"] == pytest.approx(stats.spearmanr(true[:, place], found[:, place]).statistic, abs=1e-6)
    scale = read_targets(two / "adapter" / "labels.json").scale
    assert metrics["loss"] == pytest.approx(losses_of_rows(true, found, scale.deviation, "mse").mean(), rel=1e-6)


def test_the_scale_is_that_of_the_training_rows(two: Path) -> None:
    with (two / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        ids = {row["id"] for row in csv.DictReader(stream)}
    train = [place for place in range(60) if str(place + 1) not in ids]
    targets = read_targets(two / "adapter" / "labels.json")
    assert targets.names == ("size", "part")
    for name, mean, deviation in zip(targets.names, targets.scale.mean, targets.scale.deviation, strict=True):
        values = np.array(ROWS[name])[train]
        assert mean == pytest.approx(values.mean(), rel=1e-12) and deviation == pytest.approx(values.std(), rel=1e-12)
    own = read_json(two / "adapter" / "kerora_adapter.json")
    assert own["mean"] == list(targets.scale.mean) and own["problem_type"] == "regression"


def test_damaged_targets_are_refused(two: Path) -> None:
    path = two / "adapter" / "labels.json"
    good = path.read_text(encoding="utf-8")
    try:
        for change in ({"mean": [1.0]}, {"deviation": [0.0, 1.0]}, {"targets": []}, {"mean": [float("nan"), 1.0]}):
            path.write_text(json.dumps({**json.loads(good), **change}), encoding="utf-8")
            with pytest.raises(RunError, match="is damaged"):
                read_targets(path)
        path.write_text(json.dumps({**json.loads(good), "mean": [1.0, 2.0]}), encoding="utf-8")
        with pytest.raises(RunError, match="does not hold the targets that the adapter was trained on"):
            load(two)
    finally:
        path.write_text(good, encoding="utf-8")


@pytest.mark.parametrize("form", ["peft", "transformers", "keras", "onnx", "kerora"])
def test_exports_give_the_numbers_of_the_run(form: str, two: Path, tmp_path: Path) -> None:
    found = kerora.export(str(two), form, tmp_path / form)
    assert found.tool and found.agreement == 1.0 and found.text_agreement in (None, 1.0)
    card = (tmp_path / form / "README.md").read_text(encoding="utf-8")
    assert "A text regressor" in card and "Targets: size, part" in card and "same number 100%" in card
    if form == "transformers":
        config = read_json(tmp_path / form / "config.json")
        assert config["problem_type"] == "regression" and config["id2label"] == {"0": "size", "1": "part"}


def test_a_pipeline_of_transformers_gives_the_numbers(two: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    kerora.export(str(two), "transformers", tmp_path / "out")
    pipe = transformers.pipeline("text-classification", model=str(tmp_path / "out"), top_k=None)
    model = load(two)
    scores = [{item["label"]: item["score"] for item in row} for row in pipe(TEXTS)]
    theirs = np.array([[row["size"], row["part"]] for row in scores])
    assert np.allclose(theirs, model.predict_numbers(TEXTS), rtol=1e-4, atol=1e-4)
    again = TextRegressor.from_preset(str(tmp_path / "out"), max_length=32)
    assert again.classes == ("size", "part") and again.scale.is_plain
    assert np.allclose(again.predict_numbers(TEXTS), model.predict_numbers(TEXTS), rtol=1e-4, atol=1e-4)


def test_a_decoder_is_exported_without_a_bias(presets: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "label": "size", "preset": str(presets / "gpt2")}
    run = kerora.fit(train=ROWS, run=str(tmp_path / "run"), **settings).run
    assert read_targets(run.labels).scale.mean == (0.0,)
    for form in ("peft", "transformers"):
        assert kerora.export(str(run.path), form, tmp_path / form).agreement == 1.0


def test_merged_runs_with_different_scales_give_the_mean(presets: Path, two: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "preset": str(presets / "bert"), "method": "head", "label": "size"}
    other = {**ROWS, "size": (LONG * 3 - 900).tolist()}
    runs = [kerora.fit(train=rows, run=str(tmp_path / str(n)), **settings).run for n, rows in enumerate((ROWS, other))]
    merged = merged_model([str(run.path) for run in runs])
    # only the heads differ: the first layers of both heads are mixed too, so the biases tell the mean
    models = [load(run.path) for run in runs]
    for model in models:
        model.fold_scale()
    biases = [np.asarray(model.head.logits.bias) for model in models]
    assert np.allclose(np.asarray(merged.head.logits.bias), np.mean(biases, axis=0), rtol=1e-5)
    assert merged.scale.is_plain
    with pytest.raises(ConfigError, match="the targets"):
        merged_model([str(runs[0].path), str(two)])


def test_an_adapter_trained_on_plain_numbers_is_imported(presets: Path, tmp_path: Path) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(str(presets / "bert"), num_labels=1)
    theirs = peft.get_peft_model(base, peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"]))
    theirs.save_pretrained(str(tmp_path / "peft"))
    # without --task: one output is a number
    settings = {"model.preset": str(presets / "bert"), "model.precision": "float32"}
    with pytest.warns(UserWarning, match="the task is regression"):
        run = import_peft(tmp_path / "peft", str(tmp_path / "run"), resolve(settings))
    model = load(run.path)
    assert isinstance(model, TextRegressor) and model.classes == ("label",) and model.scale == Scale.plain(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(presets / "bert"))
    with torch.no_grad():
        wanted = theirs.eval()(**tokenizer(TEXTS[:8], padding=True, return_tensors="pt")).logits.numpy()
    assert np.allclose(model.predict_numbers(TEXTS[:8]), wanted, atol=1e-4)
    # what Kerora exports, it imports with the same numbers
    kerora.export(str(run.path), "peft", tmp_path / "again")
    back = import_peft(tmp_path / "again", str(tmp_path / "back"), resolve(settings, {"task": "regression"}))
    assert np.allclose(load(back.path).predict_numbers(TEXTS[:8]), wanted, atol=1e-4)


def test_commands(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("new.csv").write_text("text\n" + "\n".join(TEXTS[:3]) + "\n \n", encoding="utf-8")

    def call(*arguments: object, code: int = 0) -> str:
        assert command([str(argument) for argument in arguments]) == code, capfd.readouterr()
        told = capfd.readouterr()
        return told.out + told.err

    call("predict", two, "new.csv", "--skip-bad-rows", "--output", "p.csv")
    rows = list(csv.DictReader(Path("p.csv").read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["id", "predicted_size", "predicted_part"]
    wanted = load(two).predict_numbers(TEXTS[:3])
    assert np.allclose(
        [[float(row["predicted_size"]), float(row["predicted_part"])] for row in rows], wanted, rtol=1e-5
    )
    call("predict", two, "new.csv", "--submission", "--fill", "1.5", "--output", "s.csv")
    lines = Path("s.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "id,size,part" and lines[-1] == "4,1.5,1.5"
    assert "is no number" in call(
        "predict", two, "new.csv", "--submission", "--fill", "good", "--output", "t.csv", code=2
    )
    told = call("report", two)
    assert "predicting the mean" in told and "largest errors" in told
    page = (two / "report" / "report.html").read_text(encoding="utf-8")
    assert "Predicted and true" in page and "Always the mean of these rows" in page
    assert {"errors.csv", "predicted.png", "residuals.png", "curves.png"} <= {
        p.name for p in (two / "report").iterdir()
    }
    Path("rows.csv").write_text("text,size\nsome words,3\n", encoding="utf-8")
    assert "Name these columns with --label size,part" in call(
        "evaluate", two, "--test", "rows.csv", "--label", "size", code=2
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "focal"}, "--task regression has no --loss 'focal'. Known: mse, mae, huber"),
        ({"label_smoothing": 0.1}, "--label-smoothing is for classification"),
        ({"class_weights": "balanced"}, "--class-weights is for classification"),
        ({"monitor": "val_accuracy"}, "Unknown --monitor 'val_accuracy'"),
        (
            {"task": "classification", "label": "size", "loss": "mse"},
            "--task classification has no --loss 'mse'. Known: cross-entropy, focal",
        ),
    ],
)
def test_settings_of_other_tasks_are_refused(
    settings: dict[str, Any], message: str, presets: Path, tmp_path: Path
) -> None:
    rows = {**ROWS, "size": [float(n % 2) for n in range(60)]}
    with pytest.raises(ConfigError, match=message):
        kerora.fit(train=rows, preset=str(presets / "bert"), run=str(tmp_path / "r"), **{**SMALL, **settings})


@pytest.mark.parametrize("loss", ["mae", "huber"])
def test_other_losses_train(loss: str, presets: Path, tmp_path: Path) -> None:
    found = kerora.fit(train=ROWS, preset=str(presets / "bert"), run=str(tmp_path / "r"), loss=loss, **SMALL)
    true, predicted = predictions(tmp_path / "r")
    scale = read_targets(tmp_path / "r" / "adapter" / "labels.json").scale
    value = losses_of_rows(true, predicted, scale.deviation, loss).mean()
    assert found.metrics["after"]["test"]["loss"] == pytest.approx(value, rel=1e-6)


def test_runs_are_compared_on_the_same_rows(presets: Path, two: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "preset": str(presets / "bert"), "learning_rate": 0.02, "epochs": 4}
    other = kerora.fit(train=ROWS, run=str(tmp_path / "other"), **settings).run
    comparison = compare([read_results(kerora.runfolder.RunFolder.open(two)), read_results(other)])
    pair = comparison.pairs[0]
    assert pair.shared == 18 and pair.different == 0 and pair.test is not None and pair.verdict
    assert json.dumps(comparison.as_dict())
