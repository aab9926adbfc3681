"""Settings: types, ranges, choices, unknown keys, layers, and the round trip through YAML."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import yaml
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

import kerora
from kerora.config import (
    DataConfig,
    FitConfig,
    LoraConfig,
    TrainingConfig,
    dump_yaml,
    load_yaml,
    parse_assignment,
    resolve,
    settings,
)
from kerora.errors import ConfigError, DataError
from kerora.settings.resolve import as_settings
from kerora.settings.tune import TuneConfig


def test_defaults_are_valid_and_every_setting_has_help_and_an_option_of_its_own() -> None:
    assert resolve() == FitConfig()
    items = list(settings())
    options = [item.option for item in items]
    assert len(set(options)) == len(options) > 40
    assert "--data" in options and "--learning-rate" in options and "--runs-dir" in options
    for item in items:
        assert item.help.endswith(".") and len(item.help) > 15, item.path


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("training.learning_rate", "1e-3", 0.001),  # YAML 1.1 reads 1e-3 as text
        ("training.learning_rate", 1, 1.0),
        ("training.warmup", "500", 500.0),
        ("lora.targets", "query, value,", ("query", "value")),
        ("lora.targets", ["query"], ("query",)),
        ("data.class_names", [0, "one"], ("0", "one")),
        ("data.label", 3, ("3",)),
        ("data.label", None, ()),
        ("training.max_steps", None, None),
        ("training.early_stopping", False, False),
    ],
)
def test_values_are_brought_to_their_type(key: str, value: Any, expected: Any) -> None:
    group, name = key.split(".")
    found = getattr(getattr(resolve({key: value}), group), name)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("lora.rank", 0, "'rank' must be 1 or more. Received: 0"),
        ("lora.rank", -3, "must be 1 or more"),
        ("lora.rank", "8", "a whole number"),
        ("lora.rank", 8.0, "a whole number"),
        ("lora.rank", True, "a whole number"),
        ("lora.rank", None, r"a whole number. Received: None \(nothing\)"),
        ("lora.alpha", 0, "greater than 0"),
        ("lora.alpha", True, "a finite number"),
        ("lora.dropout", 1, "at least 0 and less than 1"),
        ("training.learning_rate", float("nan"), "a finite number"),
        ("training.learning_rate", float("inf"), "a finite number"),
        ("training.warmup", "inf", "a finite number"),
        ("training.warmup", 10**400, "a finite number"),
        ("training.learning_rate", "fast", "a finite number. Received: 'fast'"),
        ("training.schedule", "cosin", "one of cosine, linear, constant"),
        ("training.early_stopping", "yes", "true or false"),
        ("training.early_stopping", 1, "true or false"),
        ("data.source", True, "quotes around yes, no"),
        ("data.source", ["a"], "must be text"),
        ("data.class_names", [True, False], "quotes around yes, no"),
        ("data.class_names", [["a"]], "a list of names"),
        ("lora.targets", 3.5, "a list of names"),
        ("lora.targets", {"query": 1}, "a list of names"),
    ],
)
def test_values_that_do_not_fit_are_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        resolve({key: value})
    assert "\n" not in str(caught.value)


def test_objects_check_themselves() -> None:
    with pytest.raises(ConfigError, match="rank"):
        LoraConfig(rank=0)
    assert TrainingConfig(learning_rate="2e-4").learning_rate == 2e-4


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ({"lora.rnk": 3}, "'lora.rnk'. Did you mean 'lora.rank'"),
        ({"lora": {"rnk": 3}}, "Did you mean 'lora.rank'"),
        ({"learning_rate": 3}, "Did you mean 'training.learning_rate' or 'learning_rate'|Did you mean"),
        ({"lorra": {"rank": 3}}, "Unknown setting 'lorra'"),
        ({"lora": 3}, "'lora' is a group and needs keys inside it. Received: 3"),
        ({"": 3}, "Unknown setting ''"),
        ({5: 3}, "Unknown setting '5'"),
    ],
)
def test_unknown_keys_name_the_nearest(content: dict[Any, Any], hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        resolve(content)


def test_later_layers_win_key_by_key() -> None:
    config = resolve({"lora": {"rank": 2, "alpha": 4}}, {"lora.rank": 3}, {"training": {"seed": 1}, "lora": None})
    assert (config.lora.rank, config.lora.alpha, config.training.seed) == (3, 4.0, 1)


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_yaml_nested_dotted_empty_and_commented_groups(tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", "run: first\nlora.rank: 4\ntraining:\n  # seed: 3\ndata:\n  text: [a, b]\n")
    assert load_yaml(path) == {"run": "first", "lora.rank": 4, "data.text": ["a", "b"]}
    assert load_yaml(write(path, "# nothing\n")) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("lora: [", "not valid YAML: while parsing"),
        (b"\xff\xfe", "not valid YAML"),
        ("run: 2024-99-99", "not valid YAML: month"),
        ("- a\n- b", "must hold keys and values. Received: a list"),
        ("run: 2024-01-05", "c.yaml: Setting 'run' must be text"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML: could not determine a constructor"),
        ("lora:\n  rank: 0", "c.yaml: Setting 'rank' must be 1 or more"),
        ("lora:\n  rnk: 1", "c.yaml: Unknown setting 'lora.rnk'"),
        ("[" * 20_000, "not valid YAML"),
    ],
)
def test_faults_in_a_file_are_told_with_its_name(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_yaml(write(tmp_path / "c.yaml", content))
    assert "c.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere.yaml: No such file or directory. Check --config"):
        load_yaml(tmp_path / "nowhere.yaml")


def test_assignments() -> None:
    assert parse_assignment("training.seed=7") == {"training.seed": 7}
    assert parse_assignment(" lora.targets = [query, key]") == {"lora.targets": ["query", "key"]}
    assert parse_assignment("data.delimiter='='") == {"data.delimiter": "="}
    assert resolve(parse_assignment("lora={rank: 3}")).lora.rank == 3
    for text, message in {
        "lora.rank": "needs KEY=VALUE",
        "lora.rank=[": "not valid YAML. Received: '\\['",
        "run=2024-99-99": "not valid YAML",
        "lora.rnk=3": "Did you mean 'lora.rank'",
    }.items():
        with pytest.raises(ConfigError, match=message):
            parse_assignment(text)


# PyYAML itself loses U+0085, U+2028 and U+2029
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")) | st.sampled_from("\t\n"))


@settings_of_hypothesis(max_examples=30, deadline=None, derandomize=True)
@given(
    run=st.none() | TEXT,
    text=st.lists(TEXT, max_size=3),
    targets=st.lists(st.sampled_from(["query", "*/value", "all-linear"]), min_size=1),
    rate=st.floats(min_value=1e-300, max_value=1e300),
    rank=st.integers(min_value=1),
    stopping=st.booleans(),
    steps=st.none() | st.integers(min_value=1),
)
def test_what_is_dumped_is_loaded_again(
    tmp_path_factory: pytest.TempPathFactory,
    run: str | None,
    text: list[str],
    targets: list[str],
    rate: float,
    rank: int,
    stopping: bool,
    steps: int | None,
) -> None:
    config = resolve(
        {"run": run, "data.text": text, "lora": {"targets": targets, "rank": rank}},
        {"training": {"learning_rate": rate, "early_stopping": stopping, "max_steps": steps}},
    )
    path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    for comments in (False, True):
        path.write_text(dump_yaml(config, comments), encoding="utf-8", newline="")
        assert resolve(load_yaml(path)) == config


def test_commented_dump_holds_every_setting_below_its_sentence() -> None:
    text = dump_yaml(FitConfig(), comments=True)
    assert resolve(yaml.safe_load(text)) == FitConfig()
    lines = [line.strip() for line in text.splitlines()]
    for item in settings():
        name = item.path.rpartition(".")[2]
        assert lines[lines.index(f"# {item.help}") + 1].startswith(f"{name}:"), item.path


def test_settings_of_a_script_may_be_a_mapping() -> None:
    nested = {"data": DataConfig(source="a.csv"), "training": {"epochs": np.int64(2)}, "model.max_length": 64}
    config = as_settings(nested, FitConfig)
    assert (config.data.source, config.training.epochs, config.model.max_length) == ("a.csv", 2, 64)
    assert as_settings(config, FitConfig) is config
    assert as_settings({"trials": 3}, TuneConfig) == TuneConfig(trials=3)
    assert as_settings(Path("a.csv"), DataConfig) == as_settings("a.csv", DataConfig) == DataConfig(source="a.csv")
    with pytest.raises(ConfigError, match="Unknown setting 'training.epoch'. Here it is 'training.epochs'"):
        as_settings({"training": {"epoch": 2}}, FitConfig)


@pytest.mark.parametrize("call", [kerora.fit, kerora.tune, kerora.pretrain, kerora.load_dataset])
@pytest.mark.parametrize("given", ["rows.csv", "table", 3])
def test_other_values_in_place_of_settings(call: Any, given: Any) -> None:
    """A table is rows for `fit`, `tune` and `load_dataset`, and never settings. So is a path."""
    value = pyarrow.table({"text": ["a"], "label": ["b"]}) if given == "table" else given
    with pytest.raises((ConfigError, DataError)) as caught:
        call(value)
    message = str(caught.value)
    assert ("\n" not in message and "Received: " in message) or "rows" in message
    if given == "table" and call in (kerora.fit, kerora.tune, kerora.load_dataset):
        assert "train (pyarrow Table)" in message
    elif given == "table":
        assert "(Table). Write the table to a file and give {" in message
