"""Runs on texts longer than the model reads: what a step weighs, what a run keeps, and how it continues."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerora.config import resolve
from kerora.data.batches import WINDOWS
from kerora.errors import ConfigError, Interrupted
from kerora.exchange.merge import merged_model
from kerora.models.classifier import TextClassifier
from kerora.models.long_texts import LongTexts
from kerora.models.probabilities import softmax
from kerora.runs.evaluate import evaluate_run
from kerora.runs.open import load, read_config
from kerora.runs.predict import predict_file
from kerora.runs.results import read_results
from kerora.settings.resolve import to_dict
from kerora.tasks.classification.losses import CrossEntropy
from kerora.training.fit import fit, resume
from kerora.training.step import TrainStep
from kerora.tuning.workbench import Workbench
from tests.models.test_long_texts import texts
from tests.training.test_fit import adapter, run_fit, short_fit, stopping_after

WINDOWED = {"model__long": "windows", "model__stride": 2, "model__max_length": 8}


@pytest.fixture
def settings(tmp_path: Path, tiny_preset: Path) -> dict[str, Any]:
    return {**short_fit(tmp_path, tiny_preset), "training.epochs": 2}


def windowed(preset: Path, **changes: Any) -> TextClassifier:
    model = TextClassifier.from_preset(str(preset), 3, max_length=12, seed=0, head_dropout=0.0)
    model.long_texts = LongTexts("windows", 2, **changes)
    return model


def loss_of_documents(model: TextClassifier, given: list[str], labels: np.ndarray) -> float:
    """Return the mean over texts of the mean cross entropy of their windows, in float64."""
    losses = []
    for text, label in zip(given, labels, strict=True):
        inputs = {name: value for name, value in model.encode([text]).items() if name != WINDOWS}
        logits = np.asarray(model.predict_on_batch(inputs), np.float64)
        losses.append(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[:, label]))
    return float(np.mean(losses))


@pytest.mark.parametrize("own_step", [True, False])
def test_the_loss_of_a_text_counts_once(own_step: bool, tiny_preset: Path) -> None:
    given, labels = texts(10, 7), np.arange(10) % 3
    model = windowed(tiny_preset)
    expected = loss_of_documents(model, given, labels)
    if own_step:
        batches = model.batches(given, labels, batch_size=4, shuffle=True, cache=False)
        for index in range(len(batches)):
            inputs, targets, weights = batches[index]
            assert len(inputs["token_ids"]) == len(targets) == len(weights) and WINDOWS not in inputs
            assert weights.sum() == pytest.approx(4 if index < 2 else len(given) - 8, abs=4)
        assert sum(batches[index][2].sum() for index in range(len(batches))) == pytest.approx(10, rel=1e-5)
        model.compile(keras.optimizers.SGD(0.0), CrossEntropy(), step=TrainStep(len(batches), 2))
        found = model.fit(batches, epochs=1, verbose=0).history
    else:
        # one batch, as Keras takes the mean over batches of the mean over rows
        model.compile(keras.optimizers.SGD(0.0))
        found = model.fit(given, labels, batch_size=10, epochs=1, verbose=0).history
    assert found["loss"][0] == pytest.approx(expected, rel=1e-5)


def test_keras_own_methods_see_one_output_for_each_text(tiny_preset: Path) -> None:
    given, labels = texts(10, 8), np.arange(10) % 3
    model = windowed(tiny_preset)
    logits = model.predict_logits(given)
    model.compile(keras.optimizers.SGD(0.0))
    accuracy = (logits.argmax(axis=1) == labels).mean()
    found = model.evaluate(given, labels, batch_size=3, verbose=0, return_dict=True)
    assert found["accuracy"] == pytest.approx(accuracy)
    assert model.test_on_batch(given, labels, return_dict=True)["accuracy"] == pytest.approx(accuracy)
    np.testing.assert_allclose(model.predict_on_batch(given), logits, atol=1e-5)
    fitted = model.fit(
        given, labels, class_weight={0: 2.0, 2: 0.5}, validation_data=(given, labels), epochs=1, verbose=0
    )
    assert fitted.history["val_accuracy"][0] == pytest.approx(accuracy)
    model.fit(given, labels, sample_weight=np.ones(10), epochs=1, verbose=0)
    again = type(model).from_config(model.get_config())
    assert again.long_texts == model.long_texts


def test_a_run_keeps_its_windows(settings: dict[str, Any], tmp_path: Path) -> None:
    result = run_fit(settings, **WINDOWED)
    config = read_config(result.run)
    assert (config.model.long, config.model.stride, config.model.pool) == ("windows", 2, "mean")
    again = fit(resolve(to_dict(config), {"run": "again", "runs_dir": str(tmp_path)}))
    assert adapter(again) == adapter(result)
    rows = read_results(result.run).splits["test"]
    right = (rows.probabilities.argmax(axis=1) == rows.labels).mean()
    assert result.metrics["after"]["test"]["accuracy"] == pytest.approx(right)
    evaluated = evaluate_run(result.run.path, force=True).metrics["test"]
    assert evaluated["loss"] == pytest.approx(result.metrics["after"]["test"]["loss"], abs=1e-5)
    model = load(result.run.path)
    assert model.long_texts == LongTexts("windows", 2, "mean")
    long = [" ".join(texts(3, 9)), "great"]
    stream = io.StringIO()
    predict_file(result.run.path, io.BytesIO("\n".join(long).encode()), stream=stream)
    shown = [float(row["score"]) for row in csv.DictReader(io.StringIO(stream.getvalue()))]
    assert shown == pytest.approx(softmax(model.predict_logits(long), model.temperature).max(axis=1).tolist(), abs=2e-6)


def test_predictions_do_not_depend_on_how_texts_are_pooled(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_fit(settings, **WINDOWED, training__epochs=1).run.path
    source = "\n".join(["great movie " * count for count in (1, 30, 2, 200, 5)] * 3).encode()
    answers = []
    for most in (4_000_000, 100):
        monkeypatch.setattr("kerora.runs.inputs.POOL_CHARACTERS", most)
        stream = io.StringIO()
        assert predict_file(run, io.BytesIO(source), stream=stream) == 15
        answers.append([[float(value) for value in row[2:]] for row in list(csv.reader(stream.getvalue().split()))[1:]])
    np.testing.assert_allclose(*answers, atol=2e-6)


def test_a_resumed_run_ends_with_the_same_bytes(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    options = {
        **WINDOWED,
        "training__accumulate": 2,
        "training__mask_share": 0.2,
        "training__class_weights": "balanced",
    }
    whole = run_fit(settings, run="whole", **options)
    with monkeypatch.context() as patch:
        stopping_after(3, patch)
        with pytest.raises(Interrupted):
            run_fit(settings, **options)
    resumed = resume(str(Path(settings["runs_dir"]) / "run"))
    assert adapter(resumed) == adapter(whole)
    assert resumed.run.metrics.read_bytes() == whole.run.metrics.read_bytes()


def test_cached_states_and_keras_own_layers_give_the_same(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # without dropout, which the two sides draw in different ways
    options = {**WINDOWED, "lora__layers": "last:1", "lora__dropout": 0.0, "model__head_dropout": 0.0}
    whole = run_fit(settings, run="whole", **options)
    cached = run_fit(settings, run="cached", training__cache_frozen=True, **options)
    monkeypatch.setenv("KERORA_PLAIN", "1")
    plain = run_fit(settings, run="plain", **options)
    for other in (cached, plain):
        for one, two in zip(whole.history, other.history, strict=True):
            assert (one["loss"], one["val_loss"]) == pytest.approx((two["loss"], two["val_loss"]), abs=1e-4)
        assert whole.metrics["after"]["test"]["loss"] == pytest.approx(other.metrics["after"]["test"]["loss"], abs=1e-4)


def test_a_text_of_one_window_trains_as_without_windows(settings: dict[str, Any]) -> None:
    plain, windows, middle = (
        run_fit(settings, run=long, model__max_length=64, model__long=long, training__epochs=1)
        for long in ("cut-end", "windows", "cut-middle")
    )
    assert adapter(plain) == adapter(windows) == adapter(middle)
    assert plain.metrics == windows.metrics == middle.metrics


def test_each_window_has_the_adapter_of_its_text(settings: dict[str, Any]) -> None:
    runs = {
        name: run_fit(settings, run=name, training__seed=seed, training__epochs=1, **WINDOWED).run.path
        for seed, name in enumerate(("one", "two"))
    }
    alone = {name: load(run).predict_logits(texts(7, 3)) for name, run in runs.items()}
    model = load(runs["one"])
    model.load_adapter(runs["two"], "two")
    names = ["default", "two", "two", "default", "two", "default", "two"]
    mixed = model.predict_logits(texts(7, 3), adapter=names)
    wanted = [alone["two" if name == "two" else "one"][number] for number, name in enumerate(names)]
    np.testing.assert_allclose(mixed, wanted, atol=1e-5)


def test_a_search_reads_long_texts_as_a_fit(settings: dict[str, Any], tmp_path: Path) -> None:
    bench = Workbench(resolve(settings, {"model.max_length": 8, "model.truncate": "left"}))
    changes: list[dict[str, Any]] = [
        {"model.long": "windows", "model.stride": 2, "model.pool": "max"},
        {"model.truncate": "left"},
        {"model.long": "cut-middle"},
    ]
    for number, change in enumerate(changes):
        given = {"model.max_length": 8, "training.epochs": 1, "run": f"alone-{number}"}
        config = resolve(settings, given, change)
        found, alone = bench.train(config, "macro_f1"), fit(config)
        assert found.metrics["loss"] == pytest.approx(alone.metrics["after"]["validation"]["loss"], abs=1e-6)
        assert bench.settled(config).model == found.config.model


def test_runs_that_read_alike_are_merged(settings: dict[str, Any], tmp_path: Path) -> None:
    one, two, cut = (
        str(run_fit(settings, run=name, training__epochs=1, **options).run.path)
        for name, options in (("one", WINDOWED), ("two", {**WINDOWED, "training__seed": 7}), ("cut", {}))
    )
    assert merged_model([one, two]).long_texts == LongTexts("windows", 2)
    with pytest.raises(ConfigError, match="cut reads long texts with --long cut-end, but .*one with --long windows"):
        merged_model([one, cut])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"stride": 8}, "--stride 8 is the overlap of --long windows. Add --long windows"),
        ({"pool": "max"}, "--pool max joins the windows of --long windows. Add --long windows"),
        ({"long": "cut-middle", "pool": "max"}, "--pool max joins the windows"),
        ({"long": "windows", "truncate": "left"}, "Give --truncate right, or --long cut-end"),
        ({"long": "cut-middle", "truncate": "left"}, "keeps its start and its end. Give --truncate right"),
        ({"long": "windows", "stride": 22}, "--stride 22 must be below 22, the tokens of text in a window of --max-l"),
        ({"long": "windows", "stride": 300}, "beside 2 special tokens. Lower --stride or raise --max-length"),
        ({"long": "windows", "stride": -1}, "Setting 'stride' must be 0 or more"),
        ({"long": "window"}, "Setting 'long' must be one of cut-end, cut-middle, windows"),
        ({"pool": "sum", "long": "windows"}, "Setting 'pool' must be one of mean, max"),
    ],
)
def test_settings_that_contradict(changes: dict[str, Any], line: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=line) as found:
        run_fit(settings, **{f"model__{name}": value for name, value in changes.items()})
    assert "\n" not in str(found.value)
    assert not (Path(settings["runs_dir"]) / "run").exists()


def test_language_models_refuse_it(settings: dict[str, Any], folder: Callable[..., Path]) -> None:
    given = {"task": "causal-lm", "model__preset": str(folder("gpt2"))}
    with pytest.raises(ConfigError, match="--long windows is for tasks that read whole texts"):
        run_fit(settings, model__long="windows", **given)
    with pytest.raises(ConfigError, match="The step of a language model's evaluation is --window-step"):
        run_fit(settings, model__stride=8, **given)
    assert resolve({"language": {"stride": 9}}).language.window_step == 9
    with pytest.raises(ConfigError, match="given twice"):
        resolve({"language": {"stride": 9, "window_step": 8}})
