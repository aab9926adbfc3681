"""The tasks by name: which is found, and what is said where none is."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from kerora.errors import AdapterError, ConfigError, RunError
from kerora.runfolder import RunFolder
from kerora.settings.fit import TASKS
from kerora.tasks import registry
from kerora.tasks.registry import (
    Task,
    check_command,
    register,
    task_named,
    task_of_manifest,
    task_of_model,
    task_of_peft_type,
    tasks,
    unregister,
)


def test_a_registered_task_is_known_everywhere_until_it_is_taken_away() -> None:
    before = list(TASKS)
    task = Task("ranking", "SEQ_CLS", "ranker", "kerora.tasks.classification")
    register(task)
    try:
        assert [*before, "ranking"] == TASKS
        assert task_named("ranking") is task and list(tasks())[-1] is task
        assert task_of_model(SimpleNamespace(task_name="ranking")) is task
        assert task_of_peft_type("SEQ_CLS", "ranking", "x") is task, "the setting decides between two of one type"
        assert task_of_peft_type("SEQ_CLS", "causal-lm", "x").name == "classification", "else the first"
        assert task_of_peft_type("SEQ_CLS", "ranking", "x", "regression") is task, "it has no such name"
        with pytest.warns(UserWarning, match="its head is one for regression, so the task is regression"):
            assert task_of_peft_type("SEQ_CLS", "classification", "x", "regression").name == "regression"
        with pytest.raises(ConfigError, match=r"The task ranking is registered already\. Choose another name\."):
            register(task)
    finally:
        unregister("ranking")
    assert before == TASKS and "ranking" not in {one.name for one in tasks()}


@pytest.mark.parametrize("name", ["", "Classification", "causal_lm", "classification "])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        task_named(name)
    assert str(caught.value) == f"Unknown task {name!r}. Tasks are classification, multi-label, regression, causal-lm."


@pytest.mark.parametrize("peft_type", ["TOKEN_CLS", None, "", ["SEQ_CLS"], 3])
def test_a_foreign_type_of_peft_says_what_can_be_imported(peft_type: object) -> None:
    with pytest.raises(AdapterError) as caught:
        task_of_peft_type(peft_type, "classification", "/folder")
    assert str(caught.value) == (
        f"/folder has task_type {peft_type!r}. Kerora can import SEQ_CLS (a text classifier or a tagger of texts or a "
        "text regressor) and CAUSAL_LM (a language model)."
    )


def test_a_run_without_a_task_is_a_classifier_and_a_later_task_asks_for_an_update(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert task_of_manifest(run, {}).name == registry.FIRST == "classification"
    assert task_of_manifest(run, {"task": "causal-lm"}).name == "causal-lm"
    for name in ("ranking", None, 3):
        with pytest.raises(RunError) as caught:
            task_of_manifest(run, {"task": name})
        assert str(caught.value) == (
            f"{run.manifest} names the task {name!r}. This version of Kerora has classification, multi-label, "
            "regression, causal-lm. Update Kerora."
        )


@pytest.mark.parametrize(
    ("name", "command", "message"),
    [
        ("classification", "generate", "Use another command: `kerora predict` labels texts with it."),
        ("causal-lm", "predict", "`kerora generate` continues texts with it, `kerora evaluate` measures it."),
    ],
)
def test_a_command_for_other_runs_says_which_commands_are_for_this_one(
    name: str, command: str, message: str, tmp_path: Path
) -> None:
    task = task_named(name)
    with pytest.raises(RunError) as caught:
        check_command(RunFolder(tmp_path), task, command)
    assert str(caught.value).startswith(f"{tmp_path} was trained for {name}. `kerora {command}` does not work")
    assert message in str(caught.value)
    for own in task.commands:
        check_command(RunFolder(tmp_path), task, own)


def test_first_use_is_a_command_line_with_the_run_in_it() -> None:
    lines = {task.name: task.first_use.format(run="runs/mine") for task in tasks()}
    labels = dict.fromkeys(("classification", "multi-label", "regression"), "predict runs/mine FILE")
    assert lines == {**labels, "causal-lm": 'generate runs/mine --prompt "..."'}
