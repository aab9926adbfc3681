"""What makes a study the same one: what may change, what may not, and how a difference is told."""

from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.config import resolve
from kerora.errors import ConfigError, RunError
from kerora.evaluation.metrics import LANGUAGE_METRICS, SINGLE_METRICS
from kerora.settings.tune import TuneConfig
from kerora.tasks.registry import task_named
from kerora.tuning import identity as module
from kerora.tuning.identity import IDENTITY, changed, differences, identity, is_maximized, open_study
from kerora.tuning.space import load_space

SPACE = {"lora.rank": [2, 4], "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}
PLAIN = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2) | st.text("xy", max_size=2), max_size=4)
IDENTITIES = st.dictionaries(st.sampled_from(["space", "data", "metric"]), PLAIN | st.integers(0, 2), max_size=3)


def of(space: dict[str, Any] | None = None, data: str = "d" * 64, base: str = "b" * 64, **changes: Any) -> Any:
    bench: Any = SimpleNamespace(
        config=resolve({key.replace("__", "."): value for key, value in changes.items()}),
        data=SimpleNamespace(fingerprints=lambda: {"train": {"sha256": data, "rows": 3}}),
        preset=SimpleNamespace(fingerprint=base),
    )
    return identity(bench, load_space(space or SPACE), TuneConfig())


@settings(max_examples=80, deadline=None, derandomize=True)
@given(IDENTITIES, IDENTITIES)
def test_there_are_differences_only_where_they_differ(then: dict[str, Any], now: dict[str, Any]) -> None:
    found = list(differences(then, now))
    assert bool(found) == (then != now) and len(found) == len(set(found))
    back = list(differences(now, then))
    assert len(back) == len(found)
    assert all(" was " in line and (", is " in line) for line in found)


def test_an_identity_is_equal_to_itself_and_survives_the_storage() -> None:
    study = optuna.create_study()
    study.set_user_attr(IDENTITY, of())
    assert list(differences(study.user_attrs[IDENTITY], of())) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"run": "x"}, None),
        ({"runs_dir": "elsewhere"}, None),
        ({"training__save_steps": 3}, None),
        ({"training__evaluation_batch_size": 3}, None),
        ({"model__preset": "the/same/elsewhere"}, None),  # its fingerprint tells
        ({"data__source": "moved.csv"}, None),
        ({"base": "a" * 64}, "base model was bbbbbbbbbbbbbbbb, is aaaaaaaaaaaaaaaa"),
        ({"data": "e" * 64}, "data train was dddddddddddddddd, is eeeeeeeeeeeeeeee"),
        ({"lora__alpha": 3.0}, "settings lora.alpha was 16.0, is 3.0"),
        ({"training__epochs": 2}, "settings training.epochs was None, is 2"),
        ({"lora__rank": 4}, "defaults lora.rank was 8, is 4"),
        ({"space": {**SPACE, "lora.rank": [2, 8]}}, "space lora.rank was [2, 4], is [2, 8]"),
        (
            {"space": {**SPACE, "lora.use_dora": [True, False]}},
            "space lora.use_dora was not there, is [True, False]",
        ),
    ],
)
def test_what_may_change_and_what_may_not(changes: dict[str, Any], told: str | None) -> None:
    found = list(differences(of(), of(**changes)))
    assert found == [] if told is None else told in found


def test_a_setting_that_is_younger_than_the_study_had_its_default() -> None:
    then, now = of(), of()
    del then["settings"]["lora.alpha"], then["settings"]["training.label_smoothing"]
    assert list(changed(then, now)) == []
    assert list(changed(then, of(lora__alpha=3.0))) == ["settings lora.alpha was 16.0, is 3.0"]
    assert list(changed(of(lora__alpha=3.0), now)) == ["settings lora.alpha was 3.0, is 16.0"]


def test_long_values_are_cut() -> None:
    (line,) = differences({"settings": {"a": "x" * 200}}, {"settings": {"a": "y"}})
    assert line == f"settings a was {'x' * 79}…, is y"


def test_losses_are_minimised_and_all_else_is_maximised() -> None:
    task = task_named("classification")
    assert {name for name in SINGLE_METRICS if not is_maximized(task, name)} == {"loss", "ece"}
    assert not any(is_maximized(task_named("causal-lm"), name) for name in LANGUAGE_METRICS)
    with pytest.raises(ConfigError) as caught:
        is_maximized(task, "macro_f")
    message = str(caught.value)
    assert message.startswith("The task classification has no metric 'macro_f'. Did you mean 'macro_f1'")
    assert message.endswith(f"It has: {', '.join(SINGLE_METRICS)}.")


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> optuna.storages.BaseStorage:
    monkeypatch.setattr(module, "_WAIT_SECONDS", 0.0)
    return optuna.storages.InMemoryStorage()


@pytest.mark.parametrize("maximize", [True, False])
def test_a_new_study_begins_with_the_defaults(storage: optuna.storages.BaseStorage, maximize: bool) -> None:
    study = open_study(storage, "s", of(), {"lora.rank": 4}, maximize)
    assert study.direction.name == ("MAXIMIZE" if maximize else "MINIMIZE")
    trial = study.ask()
    assert trial.suggest_categorical("lora.rank", [2, 4]) == 4 and trial.user_attrs == {"defaults": True}
    assert study.ask().user_attrs == {}


def test_the_same_study_is_opened_again_without_a_second_first_trial(storage: optuna.storages.BaseStorage) -> None:
    open_study(storage, "s", of(), {"lora.rank": 4}, True)
    again = open_study(storage, "s", of(run="other"), {"lora.rank": 4}, True)
    assert len(again.trials) == 1


def test_another_study_of_that_name_is_refused_with_three_differences(storage: optuna.storages.BaseStorage) -> None:
    open_study(storage, "s", of(), {}, True)
    changes = {"lora__alpha": 3.0, "lora__dropout": 0.2, "lora__bias": "all", "training__seed": 1, "base": "a" * 64}
    with pytest.raises(RunError) as caught:
        open_study(storage, "s", of(**changes), {}, True)
    message = str(caught.value)
    assert message.startswith("The study 's' was started with other settings: base model was ")
    assert message.count(" was ") == 3 + 1
    assert message.endswith(" and 2 more. Choose another --study, or restore the settings.")


def test_a_study_of_somebody_else_is_refused(storage: optuna.storages.BaseStorage) -> None:
    theirs = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    theirs.ask()
    with pytest.raises(RunError) as caught:
        open_study(storage, "s", of(), {}, True)
    assert str(caught.value) == "The storage holds a study 's' that Kerora did not make. Choose another --study."


def test_a_study_whose_maker_died_at_once_is_made(storage: optuna.storages.BaseStorage) -> None:
    optuna.create_study(storage=storage, study_name="s", direction="maximize")
    study = open_study(storage, "s", of(), {"lora.rank": 2}, True)
    assert study.user_attrs[IDENTITY] == of() and len(study.trials) == 1


def test_a_study_that_another_process_is_making_is_waited_for(
    storage: optuna.storages.BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    monkeypatch.setattr(module, "_WAIT_SECONDS", 60.0)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: theirs.set_user_attr(IDENTITY, of()))
    assert open_study(storage, "s", of(), {"lora.rank": 2}, True).trials == []
