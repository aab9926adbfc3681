"""The JSON Schema of the settings says what the settings say."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kerora.config import FitConfig, PretrainConfig, dump_yaml, resolve, settings, to_dict
from kerora.errors import ConfigError
from kerora.settings.schema import is_schema, schema, schema_text
from tests.conftest import ROOT

jsonschema = pytest.importorskip("jsonschema")
ROOTS = (FitConfig, PretrainConfig)


def faults(value: Any, root: Any = FitConfig) -> list[str]:
    return [error.message for error in jsonschema.Draft7Validator(schema(root)).iter_errors(value)]


@pytest.mark.parametrize("root", ROOTS)
def test_it_is_a_schema_with_every_setting(root: Any) -> None:
    found = schema(root)
    jsonschema.Draft7Validator.check_schema(found)
    for item in settings(root):
        group, _, name = item.path.rpartition(".")
        place = found["properties"][group]["properties"] if group else found["properties"]
        facts = place[name]
        assert facts["description"] == item.help and "default" in facts
        assert ("enum" in facts or "anyOf" in facts) if item.choices else ("type" in facts or "anyOf" in facts)
        if item.bounds is not None:
            assert facts.keys() & {"minimum", "exclusiveMinimum"}
    assert is_schema(schema_text(root), root) and not is_schema("{}", root) and not is_schema("[", root)


@pytest.mark.parametrize("root", ROOTS)
def test_the_defaults_and_what_init_writes_are_valid(root: Any) -> None:
    assert faults(to_dict(root()), root) == [] and faults({}, root) == [] and faults(None, root) == []
    assert faults(yaml.safe_load(dump_yaml(root(), comments=True)), root) == []


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_the_configs_of_the_repository_are_valid(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name.startswith("space"):
        pytest.skip("a search space")
    assert any(faults(content, root) == [] for root in ROOTS), faults(content)


# (settings, whether they are valid): the schema and the settings agree on each
CASES = [
    ({"training": {"epochs": 3}}, True),
    ({"training.epochs": 3}, True),
    ({"training": {"epochs": 0}}, False),
    ({"training": {"epochs": None}}, True),
    ({"training": {"epochs": "three"}}, False),
    ({"training": {"epoch": 3}}, False),
    ({"training.epoch": 3}, False),
    ({"trainin": {}}, False),
    ({"data": None}, True),
    ({"data": {"validation_split": 1}}, False),
    ({"data": {"validation_split": 0}}, True),
    ({"data": {"text": "a,b"}}, True),
    ({"data": {"text": ["a", 5]}}, True),
    ({"data": {"text": 3.5}}, False),
    ({"data": {"label": 5}}, True),
    ({"data": {"format": "xml"}}, False),
    ({"lora": {"alpha": 0}}, False),
    ({"lora": {"alpha": 0.5}}, True),
    ({"training": {"learning_rate": "1e-3"}}, True),
    ({"training": {"learning_rate": "fast"}}, False),
    ({"lora": {"bias": None}}, False),
    ({"lora": {"use_dora": "yes"}}, False),
    ({"log": ["wandb"]}, True),
    ({"log": ["excel"]}, False),
    ({"model": {"quantize": None}}, True),
]


@pytest.mark.parametrize(("value", "good"), CASES, ids=lambda value: json.dumps(value))
def test_the_schema_and_the_settings_agree(value: Any, good: bool) -> None:
    assert (faults(value) == []) is good
    if good:
        resolve(value)
    else:
        with pytest.raises(ConfigError):
            resolve(value)
