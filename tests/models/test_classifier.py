"""TextClassifier is a plain Keras model: fit, predict and weights work, and its settings are checked."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow
import pytest
import torch

from kerora.backend import import_keras_hub, set_random_seed, without_tensorflow
from kerora.data import rows as data_rows
from kerora.errors import ConfigError, PresetError
from kerora.models.classifier import TextClassifier
from tests.tiny import tiny_keras_preset
from tests.tiny_huggingface import KINDS

keras_hub = import_keras_hub()
Folder = Callable[..., Path]
TEXTS = ["a wonderful film", "boring and awful story", "great actor", "the worst movie ever"] * 8
LABELS = np.array([1, 0, 1, 0] * 8)


class Rows(keras.utils.PyDataset):
    """Batches of four rows, each of its own width."""

    def __init__(self, model: TextClassifier) -> None:
        super().__init__()
        self.model = model

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        rows = slice(4 * index, 4 * index + 4)
        return self.model.encode([text + " film" * 3 * index for text in TEXTS[rows]]), LABELS[rows]


def compiled(model: TextClassifier, **options: Any) -> TextClassifier:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(5e-3), loss=loss, metrics=["accuracy"], **options)
    return model


@pytest.mark.parametrize("kind", ["distil_bert", "bert"])
def test_fit_evaluate_and_predict_are_those_of_keras(kind: str, tmp_path: Path) -> None:
    model = compiled(TextClassifier.from_preset(str(tiny_keras_preset(kind, tmp_path / kind)), ["neg", "pos"], seed=0))
    inputs = model.encode(TEXTS)
    history = model.fit(inputs, LABELS, batch_size=8, epochs=8, validation_split=0.25, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert model.evaluate(inputs, LABELS, verbose=0)[1] > 0.9
    logits = model.predict(inputs, verbose=0)
    assert logits.dtype == np.float32 and logits.shape == (32, 2)
    assert (logits.argmax(axis=1) == LABELS).mean() > 0.9


def test_batches_of_different_width(tiny_preset: Path) -> None:
    model = compiled(TextClassifier.from_preset(str(tiny_preset), ["neg", "pos"], seed=0))
    history = model.fit(Rows(model), epochs=3, validation_data=Rows(model), verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_padding_and_the_rest_of_the_batch_do_not_matter(tiny_preset: Path) -> None:
    model = TextClassifier.from_preset(str(tiny_preset), 3, seed=0)
    alone = model.predict(model.encode(["great film"]), verbose=0)
    together = model.predict(model.encode(["great film", "word " * 50]), verbose=0)[:1]
    np.testing.assert_allclose(alone, together, atol=1e-6)
    inputs = model.encode(["great film"])
    inputs["padding_mask"] = inputs["padding_mask"].astype(bool)
    assert np.array_equal(model.predict(inputs, verbose=0), alone)


class Step:
    """Counts the batches that it is given."""

    def __init__(self) -> None:
        self.batches = 0

    def train_step(self, model: keras.Model, data: Any) -> dict[str, float]:
        self.batches += 1
        return {"loss": float(self.batches)}


def test_a_step_replaces_keras_own(tiny_preset: Path) -> None:
    model = TextClassifier.from_preset(str(tiny_preset), 2, seed=0)
    step = Step()
    before = [np.array(weight) for weight in model.weights]
    compiled(model, step=step).fit(Rows(model), epochs=1, verbose=0)
    assert step.batches == 8
    assert all(np.array_equal(a, np.array(b)) for a, b in zip(before, model.weights, strict=True))
    assert compiled(model).fit(Rows(model), epochs=1, verbose=0).history["loss"][0] < 5
    assert step.batches == 8, "compiling again without a step gives Keras' own back"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_keeps_the_head_in_float32(kind: str, dtype: str, folder: Folder) -> None:
    exact = TextClassifier.from_preset(str(folder(kind)))
    model = TextClassifier.from_preset(str(folder(kind)), dtype=dtype)
    assert {weight.dtype for weight in model.backbone.weights if "seed" not in weight.path} == {dtype}
    assert {weight.dtype for layer in model.head_layers for weight in layer.weights} == {"float32"}
    inputs = model.encode(TEXTS[:4], TEXTS[4:8])
    logits = model.predict(inputs, verbose=0)
    assert logits.dtype == np.float32
    wanted = exact.predict(inputs, verbose=0)
    np.testing.assert_allclose(logits, wanted, atol=0.1 * np.abs(wanted).max())


def test_the_seed_decides_about_a_fresh_head(tiny_preset: Path) -> None:
    def head(seed: int | None) -> list[np.ndarray]:
        model = TextClassifier.from_preset(str(tiny_preset), 2, seed=seed)
        return [np.array(weight) for layer in model.head_layers for weight in layer.weights]

    def same(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
        return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))

    assert same(head(7), head(7))
    assert not same(head(7), head(8))
    set_random_seed(1)
    first = head(None)
    assert not same(first, head(None))
    set_random_seed(1)
    assert same(first, head(None))
    assert 0.015 < head(7)[0].std() < 0.025


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_from_scratch(kind: str, folder: Folder) -> None:
    model = TextClassifier.from_preset(str(folder(kind)), 5)
    names = [layer.name for layer in model.head_layers]
    assert names == (["logits"] if kind in ("bert", "albert", "gpt2") else ["pooled_dense", "logits"])
    assert model.head_layers[-1].kernel.shape == (32, 5)
    assert set(model.input) == set(model.encode(["a"])) == set(model.backbone.input)


def test_given_classes_always_get_a_fresh_head(folder: Folder) -> None:
    stored = TextClassifier.from_preset(str(folder("bert")))
    fresh = TextClassifier.from_preset(str(folder("bert")), stored.classes, seed=0)
    assert fresh.classes == stored.classes
    assert not np.array_equal(np.array(fresh.head_layers[0].kernel), np.array(stored.head_layers[0].kernel))


def test_a_saved_keras_classifier_is_restored(tmp_path: Path) -> None:
    directory = tiny_keras_preset("distil_bert", tmp_path / "task")
    with without_tensorflow():
        backbone = keras_hub.models.Backbone.from_preset(str(directory))
        task = keras_hub.models.DistilBertTextClassifier(backbone, num_classes=3)
        task.save_to_preset(str(directory))
    model = TextClassifier.from_preset(str(directory))
    assert model.classes == ("0", "1", "2")
    inputs = model.encode(TEXTS[:4])
    theirs = keras.Model(task.input, task.output).predict(inputs, verbose=0)
    np.testing.assert_allclose(model.predict(inputs, verbose=0), theirs, atol=1e-6)


def test_max_length_is_cut_down_to_the_backbone(tiny_preset: Path) -> None:
    model = TextClassifier.from_preset(str(tiny_preset), 2, max_length=1000)
    assert model.max_length == 64
    inputs = model.encode(["film " * 500])
    assert inputs["token_ids"].shape == (1, 64)
    assert model.predict(inputs, verbose=0).shape == (1, 2)
    assert TextClassifier.from_preset(str(tiny_preset), 2, max_length=20).encode(["film " * 500])[
        "token_ids"
    ].shape == (1, 20)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["only"], "at least two classes"),
        (1, "at least two classes"),
        ([], "at least two classes"),
        ("ab", "at least two classes"),
        (["a", "b", "a"], "Received twice: 'a'"),
    ],
)
def test_classes_are_checked(classes: Any, message: str, tiny_preset: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        TextClassifier.from_preset(str(tiny_preset), classes)


@pytest.mark.parametrize("options", [{"dtype": "int8"}, {"max_length": 7}])
def test_settings_are_checked(options: dict[str, Any], tiny_preset: Path) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        TextClassifier.from_preset(str(tiny_preset), 2, **options)


def test_a_preset_without_a_head_needs_classes(tiny_preset: Path) -> None:
    with pytest.raises(PresetError, match="Name the classes"):
        TextClassifier.from_preset(str(tiny_preset))
    assert TextClassifier.from_preset(str(tiny_preset), 4).classes == ("0", "1", "2", "3")


def test_a_tokenizer_of_another_model(tiny_preset: Path, tmp_path: Path) -> None:
    directory = tiny_keras_preset("distil_bert", tmp_path / "preset")
    vocabulary = directory / "assets" / "tokenizer" / "vocabulary.txt"
    vocabulary.write_text(vocabulary.read_text() + "extra\nwords\n")
    with pytest.raises(
        PresetError,
        match=r"has 351 tokens, but the model has embeddings for 349. Without one are '.*', '.*'. Save backbone",
    ):
        TextClassifier.from_preset(str(directory), 2)


def test_weights_and_summary(tiny_preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = TextClassifier.from_preset(str(tiny_preset), 2, seed=0)
    other = TextClassifier.from_preset(str(tiny_preset), 2, seed=1)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    inputs = model.encode(TEXTS[:2])
    assert np.array_equal(model.predict(inputs, verbose=0), other.predict(inputs, verbose=0))
    model.summary()
    assert "logits" in capsys.readouterr().out
    assert isinstance(model, keras.Model)


def test_frozen_layers_get_no_gradient(tiny_preset: Path) -> None:
    model = compiled(TextClassifier.from_preset(str(tiny_preset), 2, seed=0))
    model.backbone.trainable = False
    before = [np.array(weight) for weight in model.backbone.weights]
    model.fit(model.encode(TEXTS), LABELS, verbose=0)
    assert all(np.array_equal(a, np.array(b)) for a, b in zip(before, model.backbone.weights, strict=True))
    assert len(model.trainable_weights) == 4


def test_no_tensorflow_and_little_noise(tiny_preset: Path) -> None:
    """Training and prediction in a fresh process never import TensorFlow and print nothing."""
    code = f"""
import sys
import kerora
import numpy as np
model = kerora.TextClassifier.from_preset({str(tiny_preset)!r}, ["neg", "pos"], seed=0)
model.compile(optimizer="adam", loss="mse", metrics=["accuracy"])
inputs = model.encode(["a film", "a story"])
model.fit(inputs, np.eye(2), epochs=1, verbose=0)
model.predict(inputs, verbose=0)
model.save_weights({str(tiny_preset.parent / "saved.weights.h5")!r})
assert model.preset.fingerprint
print("tensorflow" in sys.modules, "tensorflow_text" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_gradients_reach_the_backbone_through_the_head(tiny_preset: Path) -> None:
    model = TextClassifier.from_preset(str(tiny_preset), 2, seed=0)
    model(model.encode(TEXTS[:2]), training=True).sum().backward()
    missing = [v.path for v in model.trainable_variables if v.value.grad is None or not torch.any(v.value.grad)]
    # The bias of a key adds the same number to all scores of a query, so softmax does not change. Unused positions have
    # no gradient.
    assert not [path for path in missing if not path.endswith("key/bias")]


def test_batches_and_predictions_keep_the_rows_order(tiny_preset: Path) -> None:
    model = TextClassifier.from_preset(str(tiny_preset), ["a", "b", "c"], max_length=16, seed=0)
    texts = ["good " * count for count in (3, 9, 1, 14, 6)]
    rows = data_rows.Rows(texts, list("12345"), targets=[0, 1, 2, 0, 1])
    logits = model.predict_logits(rows, batch_size=2)
    one_by_one = [model.predict(model.encode([text]), verbose=0)[0] for text in texts]
    np.testing.assert_allclose(logits, one_by_one, atol=1e-5)
    np.testing.assert_allclose(model.predict_logits(texts), logits, atol=1e-5)
    assert model.predict_labels(texts) == [model.classes[number] for number in logits.argmax(1)]
    batches = model.batches(rows, batch_size=2, shuffle=True, seed=3)
    assert [batches[index][1].tolist() for index in range(3)] == [
        [rows.targets[row] for row in part] for part in batches._plan
    ]


def test_a_string_is_one_text(tiny_preset: Path) -> None:
    model = TextClassifier.from_preset(str(tiny_preset), ["a", "b"], seed=1)
    text = "the film was great"
    assert model.predict_labels(text) == model.predict_labels([text]) and len(model.predict_labels(text)) == 1
    assert model.predict_logits(text).shape == (1, 2)
    assert model.predict_labels(text, "a second text") == model.predict_labels([text], ["a second text"])
    assert np.array_equal(model.encode(text)["token_ids"], model.encode([text])["token_ids"])
    assert model.predict_labels(np.array([text, "bad"])) == model.predict_labels((text, "bad"))
    assert model.predict_labels(np.array([text.encode(), b"bad"])) == model.predict_labels([text, "bad"])
    table = pyarrow.table({"text": [text, "bad"]})
    assert model.predict_labels(table["text"]) == model.predict_labels([text, "bad"])


@pytest.mark.parametrize("value", [{"text": ["a"]}, pyarrow.table({"text": ["a"]}), 3, None, ["a", None], [["a"]]])
def test_other_values_are_no_texts(tiny_preset: Path, value: Any) -> None:
    model = TextClassifier.from_preset(str(tiny_preset), 2)
    for method in (model.encode, model.predict_labels, model.predict_logits):
        with pytest.raises(ConfigError, match="texts must be texts. Received: ") as caught:
            method(value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="texts and pairs must be equally many. Received: 2 and 1"):
        model.predict_labels(["a", "b"], ["c"])


@pytest.mark.parametrize("shuffle", [False, True])
def test_predict_of_batches_is_in_the_order_of_the_rows(tiny_preset: Path, shuffle: bool) -> None:
    model = TextClassifier.from_preset(str(tiny_preset), 2, max_length=32, seed=1)
    texts = ["good " * number for number in (3, 1, 20, 2, 9, 4, 30)]
    rows = data_rows.Rows(texts, [0] * len(texts))
    outputs = model.predict(model.batches(rows, batch_size=2, shuffle=shuffle, cache=False), verbose=0)
    assert np.allclose(outputs, model.predict_logits(texts), atol=1e-5)
