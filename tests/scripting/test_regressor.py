"""`KeroraRegressor` keeps scikit-learn's contract, for one number and several."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_regressor
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

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


class OfNumbers(KeroraRegressor):
    """Writes rows of numbers as words, so that scikit-learn's checks, which give numbers, apply to the rest."""

    def fit(self, X: Any, y: Any = None, **others: Any) -> "OfNumbers":
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        super().fit(self._words(X, reset=True), y, **others)
        return self

    def _words(self, X: Any, reset: bool = False) -> list[str]:
        rows = validate_data(self, X, reset=reset)
        return [" ".join("great" if x > 0 else "bad" if x <= -1 else "movie" for x in row) for row in rows]

    def _outputs(self, X: Any) -> Any:
        check_is_fitted(self, "run_")
        return super()._outputs(self._words(X))

    def _set_features(self, found: Any) -> None: ...

    def _check_features(self, found: Any) -> None: ...

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string, tags.input_tags.one_d_array = True, False, False
        return tags


NOT_FOR_TEXTS = {
    "check_fit2d_1sample": "a regression needs numbers that differ",
    "check_sample_weights_pandas_series": "there is no sample_weight",
    "check_regressors_train": "asks for a score of 0.5 on numbers, after one update of a tiny random model",
}


@parametrize_with_checks([OfNumbers(**SMALL)], expected_failed_checks=lambda estimator: NOT_FOR_TEXTS)  # type: ignore[untyped-decorator]
def test_scikit_learns_own_checks(estimator: Any, check: Any, tiny_preset: Path) -> None:
    check(estimator.set_params(preset=str(tiny_preset)))
