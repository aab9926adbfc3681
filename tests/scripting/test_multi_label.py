"""`KeroraMultiLabelClassifier` keeps scikit-learn's contract for a matrix of labels."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import MultiLabelBinarizer
from sklearn.utils import get_tags

from kerora import KeroraMultiLabelClassifier
from tests.tiny import WORDS

TEXTS = [f"{WORDS[n]} {'late parcel' if n % 2 else 'broken'}" for n in range(40)]
LISTS = [["late"] * (n % 2) + ["third"] * (n % 3 == 0) for n in range(40)]
MATRIX = MultiLabelBinarizer().fit_transform(LISTS)


@pytest.fixture
def small(tiny_preset: Path) -> dict[str, Any]:
    return {
        **{"preset": str(tiny_preset), "max_steps": 2, "rank": 2, "batch_size": 16, "max_length": 16},
        **{"precision": "float32", "mask_share": 0.0, "validation_fraction": 0.2},
    }


def test_a_matrix_comes_back(small: dict[str, Any]) -> None:
    model = KeroraMultiLabelClassifier(**small).fit(TEXTS, MATRIX)
    found, probabilities = model.predict(TEXTS), model.predict_proba(TEXTS)
    assert found.dtype == np.int64 and found.shape == MATRIX.shape and model.classes_.tolist() == [0, 1]
    assert np.array_equal(found, probabilities >= model.thresholds_)
    assert np.allclose(probabilities, 1 / (1 + np.exp(-model.decision_function(TEXTS).astype(float))))
    assert model.score(TEXTS, MATRIX) == (found == MATRIX).all(axis=1).mean()
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(TEXTS), probabilities)
    assert get_tags(model).classifier_tags.multi_label and get_tags(model).target_tags.two_d_labels


def test_other_matrices_give_the_same(small: dict[str, Any]) -> None:
    frame = pd.DataFrame(MATRIX, columns=["late", "third"])
    found = []
    for y in (MATRIX, MATRIX.astype(bool), scipy.sparse.csr_matrix(MATRIX), frame, MATRIX.tolist()):
        model = KeroraMultiLabelClassifier(**small).fit(TEXTS, y)
        found.append(model.decision_function(TEXTS))
        wanted = ["late", "third"] if y is frame else [0, 1]
        assert model.classes_.tolist() == wanted
    assert all(np.array_equal(found[0], other) for other in found)


def test_model_selection(small: dict[str, Any]) -> None:
    model = KeroraMultiLabelClassifier(**small, threshold=0.4)
    assert clone(model).get_params() == model.get_params()
    scores = cross_val_score(model, TEXTS, MATRIX, cv=2, scoring="f1_macro")
    assert scores.shape == (2,) and np.isfinite(scores).all()
    fitted = model.fit(TEXTS[:30], MATRIX[:30], eval_set=(TEXTS[30:], MATRIX[30:]))
    assert fitted.thresholds_.tolist() == [0.4, 0.4]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (LISTS, "MultiLabelBinarizer"),
        (MATRIX[:, 0], "must be a matrix of 0 and 1"),
        (MATRIX[:, :1], "must be a matrix of 0 and 1"),
        (MATRIX * 2, "must be a matrix of 0 and 1"),
        (MATRIX[:5], "inconsistent numbers of samples"),
        (None, "requires y"),
    ],
)
def test_what_is_no_matrix(y: Any, message: str, small: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=message):
        KeroraMultiLabelClassifier(**small).fit(TEXTS, y)
