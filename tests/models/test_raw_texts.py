"""Texts and labels in the forms in which people hold them."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from kerora.data.rows import Rows
from kerora.errors import ConfigError, DataError
from kerora.models.classifier import TextClassifier
from kerora.models.raw_texts import class_numbers, is_raw, plain_labels, raw_rows, text_columns
from kerora.notices import Notice

TEXTS = ["a great film", "a boring story that goes on and on and on", "bad", "love it", "hate the plot", "fine"]
LABELS = [1, 0, 0, 1, 0, 1]


def model(preset: Path, lora: bool = True) -> TextClassifier:
    made = TextClassifier.from_preset(str(preset), ["bad", "good"], head_dropout=0.0, seed=0)
    if lora:
        made.enable_lora(4, dropout=0.0)
    made.compile()
    return made


@pytest.mark.parametrize(
    "x",
    [
        TEXTS,
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        np.array([text.encode() for text in TEXTS]),
        pyarrow.array(TEXTS),
        pyarrow.table({"text": TEXTS}),
        {"text": TEXTS},
    ],
    ids=lambda value: type(value).__name__,
)
def test_columns_of_texts(x: Any) -> None:
    assert is_raw(x) and text_columns(x) == (TEXTS, None)


@pytest.mark.parametrize(
    "x",
    [
        (TEXTS, TEXTS[::-1]),
        {"first": TEXTS, "second": TEXTS[::-1]},
        list(zip(TEXTS, TEXTS[::-1], strict=True)),
        np.array([TEXTS, TEXTS[::-1]]).T,
        pyarrow.table({"a": TEXTS, "b": TEXTS[::-1]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_pairs_of_texts(x: Any) -> None:
    assert is_raw(x) and text_columns(x) == (TEXTS, TEXTS[::-1])


@pytest.mark.parametrize(
    "x", [np.zeros((2, 3)), torch.zeros(2), {"token_ids": TEXTS}, None, iter(TEXTS), [np.zeros(2), np.zeros(2)]]
)
def test_what_is_no_text(x: Any) -> None:
    assert not is_raw(x)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([["a", "b"], ["c", "d"]], "two columns or two rows"),
        ([["a", "b", "c"]], "pairs of texts"),
        (["a", None], "at position 1"),
        ([b"\xff"], "is not UTF-8"),
        ({"a": ["x"], "b": ["y"], "c": ["z"]}, "3 columns"),
        ({"text": ["x"], "label": [1]}, "'label' holds no texts"),
        (pyarrow.table({"text": ["x"], "label": [1]}), "'label' holds no texts"),
        ([], "no texts"),
        ([1, 2], r"Received: 1 \(int\) at position 0"),
        ({"a", "b"}, "A set of texts has no order"),
    ],
)
def test_texts_that_cannot_be_read(x: Any, message: str) -> None:
    assert is_raw(x)
    with pytest.raises(ConfigError, match=message):
        raw_rows(x)


@pytest.mark.parametrize(
    "labels",
    [
        [1, 0],
        ["good", "bad"],
        np.array(["good", "bad"]),
        torch.tensor([1, 0]),
        [[1], [0]],
        [1.0, 0.0],
        np.array([1, 0], object),
    ],
)
def test_labels(labels: Any) -> None:
    assert class_numbers(plain_labels(labels), ["bad", "good"]).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 2], "Label 2 at position 1 is no class number: there are 2 classes"),
        ([-1, 0], "Label -1 at position 0"),
        ([0.5, 0], "Label 0.5 at position 0"),
        (["god", "bad"], "'god' at position 0 is no class.*Did you mean 'good'"),
        ([None, "bad"], "None at position 0 is missing"),
        ([0, None], "None at position 1 is missing"),
    ],
)
def test_labels_that_are_no_classes(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        class_numbers(plain_labels(labels), ["bad", "good"])


def test_rows_of_a_data_set_hold_their_labels(tiny_preset: Path) -> None:
    with pytest.raises(ConfigError, match="hold their labels"):
        model(tiny_preset).batches(Rows.numbered(TEXTS, LABELS), LABELS)


def test_numbers_that_are_also_names_are_class_numbers_and_a_notice_says_so() -> None:
    with pytest.warns(Notice, match="0 is the class '1'"):
        assert class_numbers(plain_labels([1, 1]), ["1", "2"]).tolist() == [1, 1]
    assert class_numbers(plain_labels(["1", "2"]), ["1", "2"]).tolist() == [0, 1]
    assert class_numbers(plain_labels([True, False]), ["true", "false"]).tolist() == [0, 1]
    assert class_numbers(plain_labels(["4", "1"]), ["bad", "good"], ["1", "4"]).tolist() == [1, 0]


def test_a_fit_on_texts_is_the_fit_on_batches(tiny_preset: Path) -> None:
    raw, encoded = model(tiny_preset), model(tiny_preset)
    keras.utils.set_random_seed(7)
    seed = int(torch.randint(2**31 - 1, ()))
    batches = encoded.batches(TEXTS, LABELS, batch_size=2, shuffle=True, seed=seed, cache=False)
    expected = encoded.fit(batches, epochs=2, shuffle=False, verbose=0).history
    keras.utils.set_random_seed(7)
    assert raw.fit(TEXTS, LABELS, batch_size=2, epochs=2, verbose=0).history == expected
    for one, other in zip(raw.trainable_weights, encoded.trainable_weights, strict=True):
        assert np.array_equal(one.numpy(), other.numpy())


def test_a_fit_in_given_order_is_that_of_encoded_arrays(tiny_preset: Path) -> None:
    raw, encoded = model(tiny_preset), model(tiny_preset)
    options = {"batch_size": 2, "epochs": 2, "shuffle": False, "validation_split": 0.34, "verbose": 0}
    weights = np.array([1, 2, 1, 0.5, 1, 1], "float32")
    first = encoded.fit(encoded.encode(TEXTS), np.array(LABELS), sample_weight=weights, **options).history
    second = raw.fit(TEXTS, LABELS, sample_weight=weights, **options).history
    for name, values in first.items():
        # the encoded arrays have more padding, so that sums are rounded in another way
        np.testing.assert_allclose(second[name], values, atol=1e-5)


def test_streams_of_texts(tiny_preset: Path) -> None:
    made = model(tiny_preset)
    expected = made.evaluate(TEXTS, LABELS, verbose=0)

    class Texts(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            part = slice(2 * index, 2 * index + 2)
            return np.array(TEXTS[part]), np.array(LABELS[part])

    rows: Any = list(zip(TEXTS, LABELS, strict=True))
    for data in (Texts(), torch.utils.data.DataLoader(rows, batch_size=4), ((t, y) for t, y in [(TEXTS, LABELS)])):
        np.testing.assert_allclose(made.evaluate(data, verbose=0), expected, atol=1e-5)
    loader: Any = torch.utils.data.DataLoader(TEXTS, batch_size=4)  # type: ignore[arg-type]
    np.testing.assert_allclose(made.predict(loader, verbose=0), made.predict(TEXTS, verbose=0), atol=1e-5)


def test_encoded_loaders_draw_the_same_random_numbers(tiny_preset: Path) -> None:
    made = model(tiny_preset)
    inputs = made.encode(TEXTS)
    rows: Any = [({name: value[row] for name, value in inputs.items()}, LABELS[row]) for row in range(len(TEXTS))]
    loader = torch.utils.data.DataLoader(rows, batch_size=2, shuffle=True)
    torch.manual_seed(3)
    keras.Model.predict(made, loader, verbose=0)
    state = torch.get_rng_state()
    torch.manual_seed(3)
    made.predict(loader, verbose=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_predictions_keep_the_order_of_the_texts(tiny_preset: Path) -> None:
    made = model(tiny_preset)
    one_by_one = np.concatenate([made.predict(text, verbose=0) for text in TEXTS])
    np.testing.assert_allclose(made.predict(TEXTS, verbose=0), one_by_one, atol=1e-5)
    np.testing.assert_allclose(made.predict(TEXTS, batch_size=2, steps=1, verbose=0), one_by_one[:2], atol=1e-5)
    np.testing.assert_allclose(made(TEXTS).detach().numpy(), one_by_one, atol=1e-5)
    np.testing.assert_allclose(made.predict_on_batch(TEXTS), one_by_one, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (TEXTS, None, {}, "The texts have no labels"),
        (TEXTS, LABELS[:2], {}, "6 texts and 2 labels"),
        (TEXTS, LABELS, {"sample_weight": [1.0]}, "6 texts and 1 sample weights"),
        (TEXTS, LABELS, {"validation_split": 0.01, "epochs": 1}, None),
        (TEXTS[:1], LABELS[:1], {"validation_split": 0.5}, "leaves one part empty"),
        (TEXTS, np.eye(2)[[0, 1] * 3], {}, r"shape \(6, 2\), but the loss reads class numbers, shape \(6,\)"),
        (TEXTS, LABELS, {"class_weight": "balance"}, "class_weight is a dict of classes and weights, or 'balanced'"),
    ],
)
def test_fits_that_cannot_be(tiny_preset: Path, x: Any, y: Any, options: Any, message: str | None) -> None:
    made = model(tiny_preset, lora=False)
    if message is None:
        assert "val_loss" in made.fit(x, y, verbose=0, **options).history
        return
    with pytest.raises((ConfigError, DataError), match=message):
        made.fit(x, y, verbose=0, **options)


def test_balanced_weights_are_those_of_scikit_learn(tiny_preset: Path) -> None:
    made = [model(tiny_preset, lora=False) for _ in range(2)]
    labels = ["bad", "good", "bad", "bad", "bad", "good"]
    weights = compute_class_weight("balanced", classes=np.array(["bad", "good"]), y=labels)
    named = {"bad": weights[0], "good": weights[1]}
    histories = []
    for one, given in zip(made, ("balanced", named), strict=True):
        keras.utils.set_random_seed(1)
        histories.append(one.fit(TEXTS, labels, class_weight=given, verbose=0).history)
    assert histories[0] == histories[1]
