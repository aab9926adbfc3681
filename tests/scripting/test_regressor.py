"""`KeroraRegressor` keeps scikit-learn's contract, for one number and several."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_regressor
from sklearn.model_selection import cross_val_score

import kerora
from kerora import KeroraRegressor
from kerora.errors import ConfigError
from kerora.runs.open import load
from tests.scripting.test_classifier import SMALL
from tests.scripting.test_fit import TEXTS

NUMBERS = np.array([float(len(text)) * 10 for text in TEXTS])


@pytest.fixture
def small(tiny_preset: Path) -> dict[str, Any]:
    return {**SMALL, "preset": str(tiny_preset)}


def test_it_predicts_what_the_run_predicts(small: dict[str, Any]) -> None:
    model = KeroraRegressor(**small).fit(TEXTS, NUMBERS)
    found = model.predict(TEXTS)
    assert is_regressor(model) and found.shape == (len(TEXTS),) and found.dtype == np.float64
    assert np.allclose(found, load(model.run_).predict_numbers(TEXTS)[:, 0])
    assert model.score(TEXTS, NUMBERS) <= 1
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(TEXTS), found)
    assert clone(model).get_params() == model.get_params()
    several = KeroraRegressor(**small).fit(
        TEXTS, np.stack([NUMBERS, -NUMBERS], 1), eval_set=(TEXTS, [[1, 2]] * len(TEXTS))
    )
    assert several.predict(TEXTS).shape == (len(TEXTS), 2)


def test_cross_validation(small: dict[str, Any]) -> None:
    scores = cross_val_score(KeroraRegressor(**small), TEXTS, NUMBERS, cv=2, scoring="neg_mean_absolute_error")
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([float("nan"), *NUMBERS[1:]], "Input y contains NaN"),
        ([True] * len(TEXTS), "true and false"),
        (["a"] * len(TEXTS), "could not convert"),
        (NUMBERS[:-1], "inconsistent numbers of samples"),
        (None, "requires y"),
        ([1.0] * len(TEXTS), "A regression needs numbers that differ"),
    ],
)
def test_wrong_numbers(labels: Any, message: str, small: dict[str, Any]) -> None:
    with pytest.raises((ValueError, kerora.errors.DataError), match=message):
        KeroraRegressor(**small).fit(TEXTS, labels)


def test_parameters_of_a_classifier_are_refused(small: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="class_weight is for classifiers"):
        KeroraRegressor(**small, class_weight="balanced").fit(TEXTS, NUMBERS)
    with pytest.raises(TypeError, match="KeroraRegressor has no sample_weight. Repeat rows"):
        KeroraRegressor(**small).fit(TEXTS, NUMBERS, sample_weight=NUMBERS)
