"""A run with a temperature: every command that gives probabilities uses it, and thresholds come from its rows."""

import csv
import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

import kerora
from kerora.config import resolve
from kerora.errors import ConfigError, Interrupted, RunError
from kerora.evaluation.metrics import calibration
from kerora.exchange.merge import merged_model
from kerora.models.probabilities import softmax
from kerora.runs.open import load
from kerora.runs.results import read_results
from kerora.scripting.result import FitResult
from kerora.training.fit import TrainedRun, fit, resume
from tests.training.test_fit import BAD, GOOD, stopping_after

TEXTS = ["great movie", "the worst plot", "it was the order", "my love"]


def write_noisy(path: Path, rows: int, seed: int = 0) -> Path:
    """Write good and bad sentences of which a fifth has the wrong label."""
    generator = np.random.default_rng(seed)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for number in range(rows):
            words = generator.choice((GOOD, BAD)[number % 2], 3)
            middle = generator.choice(["the", "was", "my", "order", "story", "plot", "it"], 4)
            label = (number + int(generator.random() < 0.2)) % 2
            writer.writerow([" ".join([*middle, *words]), ("good", "bad")[label]])
    return path


def settings(folder: Path, preset: Path, **more: Any) -> dict[str, Any]:
    return {
        "runs_dir": str(folder),
        "run": "run",
        "data.train": str(folder / "train.csv"),
        "data.validation": str(folder / "validation.csv"),
        "data.test": str(folder / "test.csv"),
        "model.preset": str(preset),
        "model.max_length": 16,
        "training.epochs": 2,
        "training.learning_rate": 0.01,
        "training.mask_share": 0.0,
        **more,
    }


@pytest.fixture(scope="module")
def trained(tiny_preset: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    folder = tmp_path_factory.mktemp("calibrated")
    for seed, (part, rows) in enumerate((("train", 240), ("validation", 120), ("test", 90))):
        write_noisy(folder / f"{part}.csv", rows, seed)
    return fit(resolve(settings(folder, tiny_preset)))


@pytest.fixture
def run(trained: TrainedRun, tmp_path: Path) -> Iterator[Path]:
    """A copy of the run that a test may change."""
    yield Path(shutil.copytree(trained.run.path, tmp_path / "run"))


def predictions(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (rows,) and probabilities (rows, 2) of predictions.csv."""
    with (path / "predictions.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == split]
    labels = np.array([["bad", "good"].index(row["label"]) for row in rows])
    return labels, np.array([[float(row["p_bad"]), float(row["p_good"])] for row in rows])


def test_predictions_and_metrics_hold_the_probabilities_with_the_temperature(trained: TrainedRun) -> None:
    path = trained.run.path
    temperature = json.loads(trained.run.labels.read_text())["temperature"]
    model = load(path)
    assert model.temperature == temperature != 1
    data = kerora.load_dataset(str(path.parent / "test.csv"), validation_split=0.0)["train"]
    logits = model.predict_logits(data)
    labels, found = predictions(path, "test")
    np.testing.assert_allclose(found, softmax(logits, temperature), atol=6e-7)
    np.testing.assert_allclose(model.predict_probabilities(data), softmax(logits, temperature), rtol=1e-12)
    recorded = trained.metrics["after"]["test"]
    assert recorded["loss"] == pytest.approx(sklearn_metrics.log_loss(labels, found), abs=1e-5)
    assert recorded["ece"] == pytest.approx(calibration(labels, found, found.argmax(axis=1)).error, abs=1e-5)
    plain = softmax(logits)
    assert recorded["loss_uncalibrated"] == pytest.approx(sklearn_metrics.log_loss(labels, plain), abs=1e-6)
    assert recorded["ece_uncalibrated"] == pytest.approx(calibration(labels, plain, plain.argmax(axis=1)).error)
    assert "ece_uncalibrated" not in trained.metrics["before"]["test"]
    validation = trained.metrics["after"]["validation"]
    assert validation["loss"] <= validation["loss_uncalibrated"], "fitted on these rows"


def test_reports_recover_the_error_without_temperature(trained: TrainedRun, quick_figures: None) -> None:
    split = read_results(trained.run).split("test")  # type: ignore[attr-defined]
    exact = trained.metrics["after"]["test"]["ece_uncalibrated"]
    assert split.uncalibrated.error == pytest.approx(exact, abs=1e-3)
    assert split.metrics["ece_uncalibrated"] == exact
    kerora.report(trained.run.path)
    page = (trained.run.report / "report.html").read_text()
    assert "temperature" in page and (trained.run.report / "coverage.png").is_file()


def test_an_evaluation_gives_the_same_metrics_again(run: Path, trained: TrainedRun) -> None:
    before = (run / "predictions.csv").read_bytes()
    found = kerora.evaluate(run)
    assert (run / "predictions.csv").read_bytes() == before
    for split, values in trained.metrics["after"].items():
        for key, value in values.items():
            assert found.metrics[split][key] == (pytest.approx(value) if isinstance(value, float) else value), key


def test_a_result_gives_the_probabilities_with_the_temperature(trained: TrainedRun) -> None:
    result = FitResult.of(trained)
    expected = softmax(result.model.predict_logits(TEXTS), result.model.temperature)
    np.testing.assert_allclose(result.predict_proba(TEXTS), expected, rtol=1e-12)


def test_a_continued_run_has_the_temperature_of_one_without_a_stop(
    trained: TrainedRun, tiny_preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained.run.path.parent
    changes = {"training.sampling": "balanced", "training.loss": "focal"}
    whole = fit(resolve(settings(folder, tiny_preset, run="whole", **changes)))
    with monkeypatch.context() as patch:
        stopping_after(11, patch)
        with pytest.raises(Interrupted):
            fit(resolve(settings(folder, tiny_preset, run="stopped", **changes)))
    continued = resume(folder / "stopped")
    assert continued.run.labels.read_bytes() == whole.run.labels.read_bytes()
    assert continued.metrics == whole.metrics
    assert [row["loss"] for row in continued.history] == [row["loss"] for row in whole.history]


def test_a_repeated_run_has_the_same_temperature_and_off_is_off(trained: TrainedRun, tiny_preset: Path) -> None:
    folder = trained.run.path.parent
    again = fit(resolve(settings(folder, tiny_preset, run="again")))
    assert again.run.labels.read_bytes() == trained.run.labels.read_bytes()
    off = fit(resolve(settings(folder, tiny_preset, run="off", **{"training.calibrate": False})))
    assert "temperature" not in json.loads(off.run.labels.read_text())
    assert off.metrics["after"]["test"]["ece"] == trained.metrics["after"]["test"]["ece_uncalibrated"]
    assert off.metrics["after"]["test"]["accuracy"] == trained.metrics["after"]["test"]["accuracy"]


def test_few_validation_rows_leave_it_out_or_are_refused(tmp_path: Path, tiny_preset: Path) -> None:
    for part, rows in (("train", 60), ("validation", 99), ("test", 10)):
        write_noisy(tmp_path / f"{part}.csv", rows)
    with pytest.raises(
        ConfigError, match="--calibrate needs at least 100 validation rows, but there are 99. Give more"
    ):
        fit(resolve(settings(tmp_path, tiny_preset, **{"training.calibrate": True})))
    assert not (tmp_path / "run").exists()
    found = fit(resolve(settings(tmp_path, tiny_preset, **{"training.epochs": 1})))
    assert "temperature" not in json.loads(found.run.labels.read_text())
    with pytest.raises(RunError, match="at least 100 validation rows, but .* was trained with 99. Give a threshold"):
        kerora.predict(found.run.path, TEXTS, target_accuracy=0.5)


def test_adapters_in_one_batch_have_their_own_temperature(trained: TrainedRun, run: Path) -> None:
    labels = json.loads((run / "adapter/labels.json").read_text())
    (run / "adapter/labels.json").write_text(json.dumps({**labels, "temperature": 5.0}))
    model = load(trained.run.path)
    own = model.temperature
    model.load_adapter(run, "other")
    assert model.temperature == own, "a load does not switch"
    names = ["default", "other", None, "other"]
    logits = model.predict_logits(TEXTS, adapter=names)
    found = model.predict_probabilities(TEXTS, adapter=names)
    for row, temperature in enumerate((own, 5.0, 1.0, 5.0)):
        np.testing.assert_allclose(found[row], softmax(logits[row], temperature), rtol=1e-12)
    model.set_adapter("other")
    assert model.temperature == 5.0
    np.testing.assert_allclose(model.predict_probabilities(TEXTS), softmax(model.predict_logits(TEXTS), 5.0))
    model.set_adapter("default")
    assert model.temperature == own


@pytest.mark.parametrize("wrong", [0, -1.0, "1.5", True, None, [2.0]])
def test_a_damaged_temperature_is_refused(run: Path, wrong: Any) -> None:
    labels = json.loads((run / "adapter/labels.json").read_text())
    (run / "adapter/labels.json").write_text(json.dumps({**labels, "temperature": wrong}))
    with pytest.raises(RunError, match="'temperature' must be a number greater than 0"):
        load(run)


def test_a_merge_of_several_runs_and_further_training_have_none(trained: TrainedRun, run: Path) -> None:
    one = merged_model([run])
    assert one.temperature == load(run).temperature  # type: ignore[attr-defined]
    assert merged_model([run, trained.run.path]).temperature == 1  # type: ignore[attr-defined]
    model = load(run)
    model.compile()
    model.fit(TEXTS, ["good", "bad", "bad", "good"], verbose=0)
    assert model.temperature == 1


def test_saved_models_and_runs_keep_it(trained: TrainedRun, tmp_path: Path) -> None:
    import keras

    model = load(trained.run.path)
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").temperature == model.temperature
    kerora.save_run(model, tmp_path / "saved")
    assert load(tmp_path / "saved").temperature == model.temperature


def test_exports_say_it(run: Path, tmp_path: Path) -> None:
    value = load(run).temperature
    for form, says in (
        ("keras", "labels.json holds it"),
        ("kerora", "and Kerora uses it"),
        ("peft", "labels.json holds it"),
    ):
        kerora.export(run, form, tmp_path / form)
        card = (tmp_path / form / "README.md").read_text()
        assert f"{value:.6g}" in card and says in card
    assert load(tmp_path / "kerora", load(run).preset).temperature == value
    assert kerora.TextClassifier.from_preset(str(tmp_path / "keras")).temperature == value


def test_answers_below_a_threshold_are_withheld(trained: TrainedRun) -> None:
    path = trained.run.path
    plain = kerora.predict(path, TEXTS)
    threshold = sorted(row["score"] for row in plain)[2]
    with pytest.warns(kerora.notices.Notice, match="2 of 4 rows have no label"):  # type: ignore[attr-defined]
        found = kerora.predict(path, TEXTS, abstain_below=threshold)
    for before, after in zip(plain, found, strict=True):
        assert after["label"] == (before["label"] if before["score"] >= threshold else None)
        assert {**after, "label": 0} == {**before, "label": 0}
    labels = FitResult.of(trained).predict(TEXTS, abstain_below=threshold)
    assert labels == [row["label"] for row in found]


def test_a_target_accuracy_is_reached_on_the_validation_rows(trained: TrainedRun) -> None:
    path = trained.run.path
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = kerora.evaluate(path, target_accuracy=0.6, output=path.parent / "with", force=True)
    assert any("--target-accuracy 0.6: on the validation rows, threshold" in str(one.message) for one in caught)
    coverage = found.metrics["validation"]["coverage"]
    assert coverage["bound"] >= 0.6
    labels, probabilities = predictions(path, "validation")
    scores, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    answered = scores >= coverage["threshold"]
    assert coverage["answered"] == answered.sum() and coverage["accuracy"] == pytest.approx(right[answered].mean())
    assert found.metrics["test"]["coverage"]["threshold"] == coverage["threshold"]
    with pytest.raises(
        RunError, match="No threshold reaches --target-accuracy 0.9999 .* The best is 0.[0-9]{4}, which"
    ):
        kerora.predict(path, TEXTS, target_accuracy=0.9999)


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), "0.5", True])
def test_thresholds_outside_of_0_to_1_are_refused(trained: TrainedRun, value: Any) -> None:
    for name, option in (("abstain_below", "--abstain-below"), ("target_accuracy", "--target-accuracy")):
        with pytest.raises(ConfigError, match=f"{option} must be a number from 0 to 1. Received:"):
            kerora.predict(trained.run.path, TEXTS, **{name: value})
    with pytest.raises(ConfigError, match="both give the threshold"):
        FitResult.of(trained).predict(TEXTS, abstain_below=0.5, target_accuracy=0.5)


def test_predictions_of_other_rows_give_no_threshold(run: Path) -> None:
    again = "Write it again with `kerora evaluate"
    kept = (run / "predictions.csv").read_text()
    # without its first row, which is one of the validation rows
    head, _, *rest = kept.splitlines(keepends=True)
    (run / "predictions.csv").write_text("".join([head, *rest]))
    with pytest.raises(RunError, match=f"does not hold the 120 validation rows of the run. {again}"):
        kerora.predict(run, TEXTS, target_accuracy=0.5)
    (run / "predictions.csv").unlink()
    with pytest.raises(RunError, match=f"is missing. {again}"):
        kerora.predict(run, TEXTS, target_accuracy=0.5)
    kerora.evaluate(run, target_accuracy=0.5)
    assert (run / "predictions.csv").read_text() == kept
