"""What `compile` fills in, mends and refuses."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerora.errors import ConfigError, DataError
from kerora.models.classifier import TextClassifier
from kerora.models.learning_rate import default_learning_rate
from kerora.notices import Notice

TEXTS, LABELS = ["a great film", "a boring story"] * 3, [1, 0] * 3


@pytest.fixture(scope="module")
def model(tiny_preset: Path) -> TextClassifier:
    made = TextClassifier.from_preset(str(tiny_preset), num_classes=2, seed=0)
    made.enable_lora(4)
    return made


def test_compile_alone(model: TextClassifier, tiny_preset: Path) -> None:
    model.compile()
    assert float(model.optimizer.learning_rate) == pytest.approx(default_learning_rate(32, "lora"))
    loss, accuracy = model.evaluate(TEXTS, LABELS, verbose=0)
    logits = model.predict(TEXTS, verbose=0).astype(float)
    chosen = logits[np.arange(6), LABELS] - np.log(np.exp(logits).sum(axis=1))
    assert loss == pytest.approx(-chosen.mean(), rel=1e-4)
    assert accuracy == pytest.approx((logits.argmax(axis=1) == LABELS).mean())
    full = TextClassifier.from_preset(str(tiny_preset), 2)
    full.compile()
    assert float(full.optimizer.learning_rate) == pytest.approx(default_learning_rate(32, "full"))
    full.backbone.trainable = False
    full.compile()
    assert float(full.optimizer.learning_rate) == pytest.approx(default_learning_rate(32, "head"))


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        "SparseCategoricalCrossentropy",
        "crossentropy",
        keras.losses.SparseCategoricalCrossentropy(),
        keras.losses.sparse_categorical_crossentropy,
    ],
    ids=["by name", "by class name", "by kind", "an object", "a function"],
)
def test_losses_that_read_probabilities_are_mended(model: TextClassifier, loss: Any) -> None:
    model.compile()
    expected = model.evaluate(TEXTS, LABELS, verbose=0)
    with pytest.warns(Notice, match="from_logits=True"):
        model.compile("adam", loss, metrics=["accuracy"])
    np.testing.assert_allclose(model.evaluate(TEXTS, LABELS, verbose=0), expected, rtol=1e-6)


def test_one_hot_targets_and_metrics(model: TextClassifier) -> None:
    model.compile()
    expected = model.evaluate(TEXTS, LABELS, verbose=0)[0]
    with pytest.warns(Notice, match="categorical_crossentropy"):
        model.compile("adam", "categorical_crossentropy")
    assert model.evaluate(TEXTS, np.eye(2)[LABELS], verbose=0) == pytest.approx(expected, rel=1e-6)
    with pytest.warns(Notice, match="the metric sparse_categorical_crossentropy"):
        model.compile(metrics=["sparse_categorical_accuracy", "sparse_categorical_crossentropy"])
    assert model.evaluate(TEXTS, LABELS, verbose=0)[2] == pytest.approx(expected, rel=1e-6)
    with pytest.raises(DataError, match="the loss reads one-hot labels"):
        model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
        model.fit(TEXTS, LABELS, verbose=0)
    with pytest.warns(Notice, match="ClassificationReport"):
        model.compile("adam", "categorical_crossentropy", metrics=["AUC"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "binary_crossentropy"}, "single output"),
        ({"loss": keras.losses.BinaryCrossentropy(from_logits=True)}, "single output"),
        ({"jit_compile": True}, "jit_compile=True is not supported"),
        ({"metrics": ["AUC"]}, "The metric AUC needs one-hot labels, but the loss reads class numbers"),
        ({"metrics": [keras.metrics.F1Score(average="macro")]}, "The metric F1Score needs one-hot labels"),
        ({"loss": "sparse_categorical_crossentropy", "metrics": ["precision"]}, "The metric Precision needs one-hot"),
    ],
)
def test_what_is_refused(model: TextClassifier, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model.compile(**options)


def test_right_losses_stay(model: TextClassifier, recwarn: pytest.WarningsRecorder) -> None:
    right = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", right, metrics=["accuracy"])
    assert model.loss is right and not [one for one in recwarn if one.category is Notice]


def test_callbacks_that_cannot_work(model: TextClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, 10)
    model.compile(keras.optimizers.AdamW(schedule))
    with pytest.raises(ConfigError, match="ReduceLROnPlateau sets the learning rate, but the optimizer has a schedule"):
        model.fit(TEXTS, LABELS, callbacks=[keras.callbacks.ReduceLROnPlateau("loss")], verbose=0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="TensorBoard writes through TensorFlow"):
        model.fit(TEXTS, LABELS, callbacks=[keras.callbacks.TensorBoard("logs")], verbose=0)


def test_classes_and_their_number(tiny_preset: Path) -> None:
    assert TextClassifier.from_preset(str(tiny_preset), ["a", "b"], num_classes=2).classes == ("a", "b")
    with pytest.raises(ConfigError, match="num_classes=3, but there are 2 classes"):
        TextClassifier.from_preset(str(tiny_preset), ["a", "b"], num_classes=3)
