"""Predictions in the rows' order, and prediction files that read back whatever the rows hold."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.data.rows import Rows
from kerora.tasks.classification.predict import (
    SHOWN_CHARACTERS,
    columns,
    predict,
    write_predictions,
)
from kerora.tasks.classification.results import read_predictions

NAMES = ("no", 'yes, "sure"', "=cmd")
# csv holds no lone surrogate, and Kerora reads no NUL
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
ODD = ["=cmd|'/C calc'!A0", "a\rb", "a\r\nb", "\u202e", "👩‍👩‍👧", '"', "", "x" * 800, "\ufeff", "\x1b[31m", "\u2028"]


def model(logits: np.ndarray, temperature: float = 1.0) -> Any:
    """Return what gives these logits."""

    def predict_logits(rows: Rows, batch_size: int) -> np.ndarray:
        return logits.astype(np.float32)

    return SimpleNamespace(classes=NAMES, predict_logits=predict_logits, temperature=temperature)


@pytest.mark.parametrize("temperature", [1.0, 0.3, 4.0])
def test_values_are_label_score_and_a_probability_for_each_class(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(0, 5, (40, 3))
    rows = Rows(["t"] * 40, ["1"] * 40)
    expected = scipy.special.softmax(logits.astype(np.float32).astype(np.float64) / temperature, axis=1)
    for values, row in zip(predict(model(logits, temperature), rows, 8, submission=False), expected, strict=True):
        assert values[0] == NAMES[row.argmax()]
        assert all(type(value) is float for value in values[1:])
        np.testing.assert_allclose(values[1:], [row.max(), *row], rtol=1e-12)
    labels = list(predict(model(logits), rows, 8, submission=True))
    assert labels == [[NAMES[place]] for place in expected.argmax(axis=1)]
    assert columns(model(logits), False) == ["label", "score", "p_no", 'p_yes, "sure"', "p_=cmd"]
    assert columns(model(logits), True) == ["label"]


def probabilities(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(len(NAMES)), rows)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, st.integers(0, 2)), min_size=1, max_size=5), st.integers(0, 99))
def test_predictions_read_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, str, int]], seed: int
) -> None:
    texts, ids, labels = (list(column) for column in zip(*drawn, strict=True))
    check_reading_back(tmp_path_factory.mktemp("p") / "predictions.csv", texts, ids, labels, seed)


def test_odd_texts_and_ids_read_back(tmp_path: Path) -> None:
    check_reading_back(tmp_path / "predictions.csv", ODD, ODD[::-1], [1] * len(ODD), 3)


def check_reading_back(path: Path, texts: list[str], ids: list[str], labels: list[int], seed: int) -> None:
    values = probabilities(len(texts), seed)
    write_predictions(path, NAMES, [("test", Rows(texts, ids, labels), values)])
    found = read_predictions(path)["test"]
    assert found.classes == NAMES
    assert found.texts == tuple(text[:SHOWN_CHARACTERS] for text in texts)
    assert found.ids == tuple(ids)
    assert found.labels.tolist() == labels
    assert found.predicted.tolist() == values.argmax(axis=1).tolist()
    np.testing.assert_allclose(found.probabilities, values, atol=5.1e-7)
    np.testing.assert_allclose(found.scores, values.max(axis=1), atol=5.1e-7)


def test_pairs_stand_in_one_column_and_splits_one_behind_the_other(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    paired = Rows(["a | b", "c"], ["1", "2"], [0, 1], pairs=["d", "=e"])
    write_predictions(path, NAMES, [("test", paired, probabilities(2, 0)), ("train", paired, probabilities(2, 1))])
    found = read_predictions(path)
    assert list(found) == ["test", "train"]
    assert found["test"].texts == ("a | b | d", "c | =e")
    unlabelled = Rows(["a"], ["1"])
    write_predictions(path, NAMES, [("test", unlabelled, probabilities(1, 0))])
    line = path.read_bytes().split(b"\r\n")[1]
    assert line.startswith(b"1,test,a,,"), "a row without a label has an empty one"


def test_a_broken_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions(path, NAMES, [("test", Rows(["a"], ["1"], [0]), probabilities(1, 0))])
    before = path.read_bytes()
    with pytest.raises(IndexError):
        write_predictions(path, NAMES, [("test", Rows(["a"], ["1"], [0]), probabilities(2, 0))])
    assert path.read_bytes() == before and [item.name for item in tmp_path.iterdir()] == ["predictions.csv"]
