"""Search spaces: what can be written, what is refused and how, grids, and what Optuna gets."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from kerora.config import FitConfig, resolve
from kerora.errors import ConfigError
from kerora.tuning.space import Space, load_space, value_of

MIXED = {
    "lora": {"rank": [4, 8], "targets": [["query", "value"], "all-linear"]},
    "training.warmup": {"low": 0.0, "high": 0.2, "when": {"training.schedule": ["cosine", "linear"]}},
    "training.schedule": ["cosine", "constant", "linear"],
    "training.learning_rate": {"low": "1e-4", "high": "5e-3", "log": True},
    "training.epochs": {"low": 2, "high": 6, "step": 2},
    "training.max_steps": [None, 100],
    "lora.bias": ["lora_only", "none"],
    "lora.dropout": {"low": 0.0, "high": 0.2, "when": {"lora.rank": {"low": 5, "high": 64}}},
}


def test_every_kind_of_range_reaches_optuna() -> None:
    kinds = {parameter.path: parameter.distribution for parameter in load_space(MIXED).parameters}
    assert kinds["lora.rank"] == optuna.distributions.CategoricalDistribution((4, 8))
    assert kinds["lora.targets"] == optuna.distributions.CategoricalDistribution(("query,value", "all-linear"))
    assert kinds["training.learning_rate"] == optuna.distributions.FloatDistribution(1e-4, 5e-3, log=True)
    assert kinds["training.epochs"] == optuna.distributions.IntDistribution(2, 6, step=2)
    assert kinds["training.max_steps"] == optuna.distributions.CategoricalDistribution((None, 100))
    assert kinds["lora.dropout"] == optuna.distributions.FloatDistribution(0.0, 0.2)


def test_a_file_in_yaml_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "lora:\n  rank: [4, 8]\ntraining.learning_rate: {low: 1e-4, high: 5e-3, log: true}\n"
        "training:\n  schedule: [cosine, constant]\n  warmup: {low: 0, high: 0.2, when: {training.schedule: cosine}}\n"
    )
    space = load_space(path)
    assert space.name == "mine"
    assert space.as_dict() == {
        "lora.rank": {"choices": [4, 8]},
        "training.learning_rate": {"low": 1e-4, "high": 5e-3, "log": True},
        "training.schedule": {"choices": ["cosine", "constant"]},
        "training.warmup": {"low": 0.0, "high": 0.2, "when": {"training.schedule": ["cosine"]}},
    }


def test_conditions_hold_in_every_trial_and_all_values_make_a_config() -> None:
    space = load_space(MIXED)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen: list[dict[str, Any]] = []
    for _ in range(60):
        values = space.suggest(study.ask())
        config = resolve(values)
        assert {path: value_of(config, path) for path in values} == values
        assert ("training.warmup" in values) == (values["training.schedule"] != "constant")
        assert ("lora.dropout" in values) == (values["lora.rank"] == 8)
        seen.append(values)
    assert {values["lora.targets"] for values in seen} == {"query,value", "all-linear"}
    assert {values["training.epochs"] for values in seen} == {2, 4, 6}


def test_a_grid_names_every_combination_once() -> None:
    space = load_space(
        {
            "lora.rank": [4, 8],
            "training.schedule": ["cosine", "constant"],
            "training.warmup": {"low": 0.0, "high": 0.2, "step": 0.1, "when": {"training.schedule": "cosine"}},
        }
    )
    points = space.grid()
    assert len(points) == 2 * (3 + 1) and len({str(sorted(point.items())) for point in points}) == len(points)
    assert {point.get("training.warmup") for point in points} == {0.0, 0.1, 0.2, None}
    with pytest.raises(ConfigError, match=r"step or a list of values for 'lora.dropout'"):
        load_space({"lora.dropout": {"low": 0.0, "high": 0.2}}).grid()


def test_defaults_are_those_of_the_config() -> None:
    space = load_space({"lora.rank": [4, 8], "lora.targets": ["all-linear"]})
    assert space.defaults(FitConfig()) == {"lora.rank": 8, "lora.targets": "query,value"}
    rank, targets = space.parameters
    assert rank.holds(8) and not rank.holds(16) and not targets.holds("query,value")


def test_a_default_of_none_is_outside_a_range_with_steps() -> None:
    space = load_space({"training.max_steps": {"low": 100, "high": 500, "step": 100}})
    (steps,) = space.parameters
    assert space.defaults(FitConfig()) == {"training.max_steps": None}
    assert not steps.holds(None) and steps.holds(300) and not steps.holds(350)


def test_a_space_passes_through() -> None:
    space = Space(())
    assert load_space(space) is space


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"lora.rnak": [4]}, r"Unknown setting 'lora.rnak' in the search space. Did you mean 'lora.rank'"),
        ({"rnak": [4]}, r"Unknown setting 'rnak' in the search space. Did you mean 'rank'"),
        ({"rank": [4], "lora.rank": [8]}, r"The search space names 'lora.rank' twice"),
        ({"lora": {"rank": []}}, r"'lora.rank' has an empty list of choices"),
        ({"lora.rank": {"low": 8, "high": 4}}, r"'lora.rank' has an empty range: low 8 is not below high 4"),
        ({"lora.rank": {"low": 8, "high": 8}}, r"empty range"),
        ({"lora.dropout": {"low": 0, "high": 1}}, r"'dropout' must be at least 0 and less than 1"),
        ({"lora.rank": [4, 4.5]}, r"'rank' must be a whole number"),
        ({"lora.rank": [4, 4]}, r"the choice 4 twice"),
        ({"lora.rank": {"low": 1}}, r"needs high, or a list of choices"),
        ({"lora.rank": {"low": 1, "high": 8, "step": 20}}, r"needs a step between 0 and the width of the range, 7"),
        ({"lora.rank": {"low": 1, "high": 8, "step": 1.5}}, r"needs a step"),
        ({"lora.rank": {"low": 1, "high": 8, "lgo": True}}, r"unknown key 'lgo'. Did you mean 'low' or 'log'"),
        ({"lora.rank": {"low": 1, "high": 8, "step": 1, "log": True}}, r"both log and step"),
        ({"lora.dropout": {"low": 0.0, "high": 0.2, "log": True}}, r"Its low must be greater than 0"),
        ({"lora.rank": {"low": 1, "choices": [8]}}, r"has choices and also low"),
        ({"lora.rank": 8}, r"needs a list of values, or low and high"),
        ({"training.schedule": ["cosin"]}, r"must be one of cosine, linear, constant"),
        ({"training.schedule": {"low": "cosine", "high": "linear"}}, r"is not a number. Give a list of choices"),
        ({"training.seed": [1, 2]}, r"use --repeats for several seeds"),
        ({"data.subset": [100]}, r"it changes the scored rows"),
        ({"run": ["a"]}, r"names an output"),
        ({"lora.alpha": {"low": 1, "high": 2, "when": {"lora.rank": 8}}}, r"which the space does not search"),
        (
            {"lora.rank": [4], "lora.alpha": {"low": 1, "high": 2, "when": {"lora.rank": 8}}},
            r"depends on 'lora.rank' being 8, but it is never 8",
        ),
        (
            {"lora.rank": [4], "lora.alpha": {"low": 1, "high": 2, "when": {"lora.rank": {"low": 5, "high": 9}}}},
            r"'lora.rank' never lies between 5 and 9",
        ),
        (
            {
                "lora.rank": {"low": 1, "high": 8, "when": {"lora.alpha": {"low": 1, "high": 2}}},
                "lora.alpha": {"low": 1, "high": 2, "when": {"lora.rank": {"low": 1, "high": 2}}},
            },
            r"form a circle: lora.rank, lora.alpha",
        ),
        ({}, r"needs settings with ranges"),
        ("lroa", r"no search space 'lroa'. Did you mean 'lora'"),
        ("missing.yaml", r"no search space 'missing.yaml'"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(content: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_space(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("lora.rank: [4", "not valid YAML"), ("- 4\n", "needs settings"), ("lora.rank: []", "empty list")],
)
def test_errors_of_a_file_name_it(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"broken.yaml: .*{message}"):
        load_space(path)
