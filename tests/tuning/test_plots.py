"""The figures of a study: the numbers that are drawn, at the places where they belong."""

from typing import Any

import numpy as np
import optuna
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

from kerora.evaluation.plots import TRAIN, VALIDATION
from kerora.tuning.plots import history, importance_bars, importances, parallel, slices
from kerora.tuning.records import Record
from kerora.tuning.space import load_space
from tests.tuning.made_up import record

SPACE = load_space(
    {
        "lora.rank": [2, 4, 8],
        "lora.dropout": {"low": 0.0, "high": 0.2},
        "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "training.schedule": ["cosine", "constant"],
    }
)
SCORES = [0.5, 0.4, None, 0.7, 0.6, 0.7]


def made(number: int, score: float | None, state: str = "complete", **changes: Any) -> Record:
    values = {"lora.rank": (2, 4, 8)[number % 3], "lora.dropout": 0.05 * (number % 4), "training.schedule": "cosine"}
    values |= {"training.learning_rate": 10.0 ** -(2 + number % 3)}
    return record(number, score, state, settings={**values, **changes})


@pytest.fixture
def records() -> list[Record]:
    found = [made(n, score, "complete" if score else "failed") for n, score in enumerate(SCORES, 1)]
    return [*found, made(7, 0.3, "pruned"), made(8, 0.99, "running")]


def dots(axis: Any) -> list[tuple[list[list[float]], bool]]:
    """Places of each group of dots, and whether they are filled."""
    groups = [item for item in axis.collections if isinstance(item, PathCollection)]
    return [(np.asarray(item.get_offsets()).tolist(), len(item.get_facecolors()) > 0) for item in groups]


@pytest.mark.parametrize(("maximize", "best"), [(True, [0.5, 0.5, 0.7, 0.7, 0.7]), (False, [0.5, 0.4, 0.4, 0.4, 0.4])])
def test_the_history_shows_ended_trials_and_the_best_so_far(
    records: list[Record], maximize: bool, best: list[float]
) -> None:
    (axis,) = history(records, "macro_f1", maximize).axes
    line = next(line for line in axis.lines if line.get_label() == "best so far")
    assert line.get_xdata().tolist() == [1, 2, 4, 5, 6] and line.get_ydata().tolist() == best
    complete, pruned = dots(axis)
    assert complete == ([[1, 0.5], [2, 0.4], [4, 0.7], [5, 0.6], [6, 0.7]], True)
    assert pruned == ([[7, 0.3]], False)
    (default,) = [line for line in axis.lines if line.get_label() == "defaults"]
    assert (default.get_xdata().tolist(), default.get_ydata().tolist()) == ([1], [0.5])
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("trial", "macro_f1")


def test_a_history_without_a_complete_trial_has_no_best() -> None:
    (axis,) = history([made(1, None, "failed"), made(2, 0.3, "pruned")], "loss", False).axes
    assert not axis.lines and dots(axis) == [([[2, 0.3]], False)]


def test_each_setting_has_its_slice_and_no_empty_one_is_seen(records: list[Record]) -> None:
    shown = [axis for figure in slices(records, SPACE.parameters, "macro_f1") for axis in figure.axes]
    assert len(shown) == 4 and all(axis.get_ylabel() == "macro_f1" for axis in shown)
    by_name = {axis.get_xlabel(): axis for axis in shown}
    assert set(by_name) == {parameter.path for parameter in SPACE.parameters}
    assert by_name["training.learning_rate"].get_xscale() == "log" and by_name["lora.dropout"].get_xscale() == "linear"
    places = dots(by_name["training.learning_rate"])[0][0]
    wanted = [[r.settings["training.learning_rate"], r.score] for r in records if r.state == "complete"]
    np.testing.assert_allclose(places, wanted)
    ranks = by_name["lora.rank"]
    assert [label.get_text() for label in ranks.get_xticklabels()] == ["2", "4", "8"]
    assert [place for place, _ in dots(ranks)[0][0]] == [r.number % 3 for r in records if r.state == "complete"]


def test_a_trial_without_a_setting_is_left_out_of_its_slice() -> None:
    one, other = made(1, 0.5), made(2, 0.6)
    less = {path: value for path, value in other.settings.items() if path != "lora.dropout"}
    figures = slices([one, record(2, 0.6, settings=less)], SPACE.parameters, "macro_f1")
    axis = next(axis for figure in figures for axis in figure.axes if axis.get_xlabel() == "lora.dropout")
    assert dots(axis)[0][0] == [[0.05, 0.5]]


def test_defaults_outside_of_the_space_have_a_place_of_their_own() -> None:
    figures = slices([made(1, 0.5, **{"lora.rank": 16}), made(2, 0.6)], SPACE.parameters, "macro_f1")
    axis = next(axis for figure in figures for axis in figure.axes if axis.get_xlabel() == "lora.rank")
    assert [label.get_text() for label in axis.get_xticklabels()] == ["2", "4", "8", "16"]
    assert dots(axis)[0][0][0] == [3.0, 0.5]


def test_lines_cross_each_axis_at_the_value_and_the_best_stands_out(records: list[Record]) -> None:
    best = records[3]
    (axis,) = parallel(records, SPACE.parameters, "macro_f1", best).axes
    lines = [line for line in axis.lines if len(line.get_xdata()) == len(SPACE.parameters) + 1]
    assert len(lines) == 5  # pruned and running ones have none
    bold = [line for line in lines if to_hex(line.get_color()) == to_hex(VALIDATION)]
    assert len(bold) == 1 and all(to_hex(line.get_color()) == to_hex(TRAIN) for line in lines if line is not bold[0])
    values = best.settings
    wanted = [
        (2, 4, 8).index(values["lora.rank"]) / 2,
        values["lora.dropout"] / 0.2,
        (np.log10(values["training.learning_rate"]) + 4) / 2,
        0.0,
        1.0,
    ]
    np.testing.assert_allclose(bold[0].get_ydata(), wanted, atol=1e-12)
    assert all(0 <= height <= 1 for line in lines for height in line.get_ydata())
    assert [label.get_text() for label in axis.get_xticklabels()] == [p.path for p in SPACE.parameters] + ["macro_f1"]


def test_equal_scores_lie_in_the_middle_and_a_missing_setting_is_a_gap() -> None:
    less = {path: value for path, value in made(2, 0.5).settings.items() if path != "lora.dropout"}
    records = [made(1, 0.5), record(2, 0.5, settings=less)]
    (axis,) = parallel(records, SPACE.parameters, "macro_f1", records[0]).axes
    heights = np.array([line.get_ydata() for line in axis.lines if len(line.get_xdata()) == 5])
    assert (heights[:, -1] == 0.5).all() and np.isnan(heights[:, 1]).sum() == 1
    assert np.isfinite(np.delete(heights, 1, axis=1)).all()


def test_an_axis_reaches_to_defaults_outside_of_its_range() -> None:
    records = [made(1, 0.5, **{"lora.dropout": 0.4}), made(2, 0.6, **{"lora.dropout": 0.2})]
    (axis,) = parallel(records, SPACE.parameters, "macro_f1", records[0]).axes
    heights = [line.get_ydata()[1] for line in axis.lines if len(line.get_xdata()) == 5]
    assert heights == pytest.approx([1.0, 0.5]) and "0.4" in {text.get_text() for text in axis.texts}


def test_bars_are_as_long_as_the_shares() -> None:
    (axis,) = importance_bars({"a": 0.75, "b": 0.2, "c": 0.0}).axes
    assert [bar.get_width() for bar in axis.patches] == [0.0, 0.2, 0.75]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["c", "b", "a"]
    assert [text.get_text().strip() for text in axis.texts] == ["0 %", "20 %", "75 %"]


def study_of(values: list[float], score: Any) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    places = {"x": optuna.distributions.FloatDistribution(0, 1), "y": optuna.distributions.FloatDistribution(0, 1)}
    generator = np.random.default_rng(0)
    for value in values:
        params = {"x": value, "y": float(generator.random())}
        study.add_trial(optuna.create_trial(params=params, distributions=places, value=score(params)))
    return study


def test_importances_say_which_setting_the_score_goes_by() -> None:
    values = np.random.default_rng(1).random(40).tolist()
    found = importances(study_of(values, lambda params: -((params["x"] - 0.3) ** 2)))
    assert list(found) == ["x", "y"] and found["x"] > 0.8
    assert sum(found.values()) == pytest.approx(1.0) and min(found.values()) >= 0


@pytest.mark.parametrize(("count", "constant"), [(0, False), (3, False), (9, True)])
def test_too_few_or_equal_scores_say_nothing(count: int, constant: bool) -> None:
    values = np.linspace(0, 1, count).tolist()
    assert importances(study_of(values, lambda params: 0.5 if constant else params["x"])) == {}
