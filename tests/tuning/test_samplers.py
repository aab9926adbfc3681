"""Samplers without trainings: no warnings, repeatable proposals, grids, and the requirements of CMA-ES."""

import importlib.util
import warnings
from typing import Any

import optuna
import pytest

from kerora.errors import ConfigError
from kerora.settings.tune import SAMPLERS, TuneConfig
from kerora.tuning.samplers import grid_points, make_pruner, make_sampler
from kerora.tuning.space import load_space

SPACE = load_space(
    {
        "lora.rank": [2, 4, 8],
        "lora.dropout": {"low": 0.0, "high": 0.2, "step": 0.05},
        "training.weight_decay": {"low": 0.0, "high": 0.1, "step": 0.02},
        "training.schedule": ["cosine", "constant"],
        "training.warmup": {"low": 0.0, "high": 0.2, "step": 0.1, "when": {"training.schedule": "cosine"}},
    }
)
DEFAULTS = {"lora.rank": 8, "lora.dropout": 0.05}
INSTALLED = [name for name in SAMPLERS if name != "cmaes" or importlib.util.find_spec("cmaes")]


def proposals(sampler: str, trials: int, study: optuna.Study | None = None) -> tuple[optuna.Study, list[Any]]:
    """Ask and tell, with a score that falls with the dropout."""
    made = make_sampler(TuneConfig(sampler=sampler, trials=trials), SPACE, 42, DEFAULTS)
    study = study or optuna.create_study(direction="maximize")
    study.sampler = made
    while len(study.trials) < trials:
        trial = study.ask()
        values = SPACE.suggest(trial)
        study.tell(trial, 1.0 - float(values["lora.dropout"] or 0))
    return study, [trial.params for trial in study.trials]


@pytest.mark.parametrize("sampler", INSTALLED)
def test_proposals_warn_of_nothing_and_do_not_depend_on_the_process(sampler: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, whole = proposals(sampler, 14)
        half, _ = proposals(sampler, 7)
    # a new process makes a new sampler; the number of trials determines how many are random
    half.sampler = make_sampler(TuneConfig(sampler=sampler, trials=14), SPACE, 42, DEFAULTS)
    if sampler in ("random", "grid"):
        assert proposals(sampler, 14, half)[1] == whole
    assert half.trials[0].params == whole[0]
    again, first = proposals(sampler, 9)
    assert proposals(sampler, 9)[1] == first and len(again.trials) == 9


def test_the_seed_and_the_place_decide() -> None:
    _, one = proposals("random", 6)
    assert len({str(params) for params in one}) == 6


def test_a_grid_leaves_the_defaults_out_and_its_order_is_drawn() -> None:
    space = load_space({"lora.rank": [2, 4, 8], "lora.bias": ["lora_only", "none"]})
    points = grid_points(space, 1, {"lora.rank": 8, "lora.bias": "none"})
    assert len(points) == 5 and {"lora.rank": 8, "lora.bias": "none"} not in points
    assert grid_points(space, 1, {}) != grid_points(space, 2, {}) and len(grid_points(space, 2, {})) == 6


def test_cmaes_uses_its_own_state_after_the_random_start() -> None:
    pytest.importorskip("cmaes")
    study, _ = proposals("cmaes", 14)
    assert any(key.startswith("cma:") for trial in study.trials for key in trial.system_attrs)


def test_cmaes_needs_two_numbers_and_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="needs at least two settings with low and high"):
        make_sampler(TuneConfig(sampler="cmaes"), load_space({"lora.rank": [2, 4]}), 1, {})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the package cmaes, which is not installed. Install it with: pip"):
        make_sampler(TuneConfig(sampler="cmaes"), SPACE, 1, {})


def test_pruners() -> None:
    kinds = {"median": "MedianPruner", "hyperband": "HyperbandPruner", "none": "NopPruner"}
    for name, kind in kinds.items():
        assert type(make_pruner(TuneConfig(pruner=name), 3)).__name__ == kind
