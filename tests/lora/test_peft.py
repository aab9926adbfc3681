"""Faults of adapter_config.json: none raises, all are told in one line each; and which layers a description names."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.lora.inject import enable_lora
from kerora.lora.names import Names
from kerora.lora.peft import CARRIED, INERT, config_faults, describe, plan_loading, trained
from tests.lora.test_names import small_model

GOOD: dict[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["first"]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
OWN = st.dictionaries(st.sampled_from(["format_version", "method", "sha256", "classes", "modules", "parts"]), JSON)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(CARRIED | INERT | {"kerora", "odd"})), JSON), st.none() | OWN)
def test_any_object_is_told_its_faults_in_one_line_each(config: dict[str, Any], own: dict[str, Any] | None) -> None:
    config = config if own is None else {**config, "kerora": own}
    faults = config_faults(config)
    assert all(fault and "\n" not in fault and fault.isprintable() for fault in faults)
    assert faults or config.get("peft_type") == "LORA" or "kerora" in config


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"peft_type": "LOHA"}, "peft_type must be 'LORA', found 'LOHA'"),
        ({"r": True}, "r must be a whole number of 1 or more, found True"),
        ({"r": 2.0}, "r must be a whole number of 1 or more, found 2.0"),
        ({"r": 2**31}, f"r must be a whole number of 1 or more, found {2**31}"),
        ({"lora_alpha": 0}, "lora_alpha must be a number above 0, found 0"),
        ({"lora_alpha": 10**400}, f"lora_alpha must be a number above 0, found {10**400}"),
        ({"lora_alpha": float("nan")}, "lora_alpha must be a number above 0, found nan"),
        ({"lora_dropout": 1}, "lora_dropout must be at least 0 and below 1, found 1"),
        ({"target_modules": ""}, "target_modules must be a list of module names, found ''"),
        ({"target_modules": "qu(ery"}, "target_modules is no regular expression: 'qu(ery'"),
        ({"bias": "some"}, "bias must be 'none', 'lora_only' or 'all', found 'some'"),
        ({"rank_pattern": {"a": 0}}, "rank_pattern must give numbers above 0 by module, found {'a': 0}"),
        ({"alpha_pattern": {"(": 1}}, "alpha_pattern has the pattern '(', which is no regular expression"),
        ({"modules_to_save": "head"}, "modules_to_save must be a list of module names, found 'head'"),
        ({"use_dora": 1}, "use_dora must be true or false, found 1"),
        ({"layer_replication": [[0, 1]]}, "layer_replication=[[0, 1]] cannot be carried over"),
        ({"kerora": []}, "kerora must be an object, found []"),
        ({"kerora": {"method": "lora"}}, "kerora.format_version must be 1, found None"),
        ({"kerora": {"format_version": 1, "method": "half"}}, "kerora.method must be lora, full or head, found 'half'"),
        ({"kerora": {"format_version": 1, "sha256": 3}}, "kerora.sha256 must be text, found 3"),
        ({"kerora": {"format_version": 1, "classes": ["a", 1]}}, "kerora.classes must be a list of names, found ['a'"),
        ({"kerora": {"format_version": 1, "parts": {"m": {"q": [0, 1]}}}}, "kerora.parts must give each layer's rank"),
    ],
)
def test_each_fault_is_named_alone(changes: dict[str, Any], fault: str) -> None:
    (found,) = config_faults({**GOOD, **changes})
    assert found.startswith(fault)


def test_a_plain_description_has_no_faults() -> None:
    assert config_faults(GOOD) == [] == config_faults({**GOOD, "lora_dropout": 0.1, "layers_pattern": None})


def test_several_faults_are_told_together_and_other_methods_need_no_rank() -> None:
    assert len(config_faults({})) == 3
    assert len(config_faults({**GOOD, "r": 0, "bias": 7, "use_dora": "no", "megatron_config": {"a": 1}})) == 4
    assert config_faults({"kerora": {"format_version": 1, "method": "full"}}) == []


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_16", "olora", "corda", "loftq"])
def test_initialisations_that_change_the_base_are_refused(start: str) -> None:
    (found,) = config_faults({**GOOD, "init_lora_weights": start})
    assert found.startswith(f"init_lora_weights={start!r} changed the base's weights")
    assert config_faults({**GOOD, "init_lora_weights": "gaussian"}) == []


def tensors(**ranks: int) -> dict[str, np.ndarray]:
    sizes = {"first": (4, 3), "second": (3, 2)}
    found = {}
    for name, rank in ranks.items():
        inputs, outputs = sizes[name]
        found[f"base_model.model.{name}.lora_A.weight"] = np.zeros((rank, inputs), np.float32)
        found[f"base_model.model.{name}.lora_B.weight"] = np.zeros((outputs, rank), np.float32)
    return found


@pytest.mark.parametrize(
    ("changes", "names", "ranks"),
    [
        ({}, ["first"], [2]),
        ({"target_modules": ["first", "second"], "rank_pattern": {"second": 1}}, ["first", "second"], [2, 1]),
        ({"target_modules": "f.*|second", "rank_pattern": {"f.*t": 3}}, ["first", "second"], [3, 2]),
        ({"target_modules": "all-linear"}, ["first", "second"], [2, 2]),
        ({"target_modules": ["first", "second"], "exclude_modules": ["second"]}, ["first"], [2]),
    ],
)
def test_layers_are_found_as_peft_finds_them(changes: dict[str, Any], names: list[str], ranks: list[int]) -> None:
    model = small_model()
    given = tensors(**{name: rank for name, rank in zip(names, ranks, strict=True)})  # noqa: C416
    plan = plan_loading(model, Names(model), {**GOOD, **changes}, given, None)
    assert plan.faults == [] and plan.method == "lora"
    assert [layer.name for layer, _ in plan.updates] == names
    assert [setting.rank for _, setting in plan.updates] == ranks
    assert {setting.alpha for _, setting in plan.updates} == {4.0}


def test_an_adapter_of_no_layer_of_the_model_is_told() -> None:
    model = small_model()
    plan = plan_loading(model, Names(model), {**GOOD, "target_modules": ["third"]}, {}, None)
    assert plan.faults == ["it adapts no layer of this model"]
    own = {**GOOD, "target_modules": ["first", "third"], "kerora": {"format_version": 1, "modules": ["nose"]}}
    plan = plan_loading(model, Names(model), own, tensors(first=2), None)
    assert plan.faults == ["target 'third' is no layer of this model", "module 'nose' is no layer of this model"]


def test_a_description_reads_back_as_the_plan_of_the_same_model() -> None:
    model = small_model()
    enable_lora(model, rank=2, alpha=3, dropout=0.25, targets=("first", "second"), rank_pattern={"second": 1})
    names = Names(model)
    description = describe(trained(model, names), {"task_type": "SEQ_CLS", "classes": ["=cmd", "\u202ea"]})
    again = json.loads(json.dumps(description))
    assert config_faults(again) == [] and again["kerora"]["classes"] == ["=cmd", "\u202ea"]
    assert (again["r"], again["rank_pattern"], again["alpha_pattern"]) in (
        (2, {"second": 1}, {}),
        (1, {"first": 2}, {}),
    )
    fresh = small_model()
    plan = plan_loading(fresh, Names(fresh), again, tensors(first=2, second=1), None)
    assert [(layer.name, one.rank, one.alpha, one.dropout) for layer, one in plan.updates] == [
        ("first", 2, 3.0, 0.25),
        ("second", 1, 3.0, 0.25),
    ]


def test_the_method_is_told_by_what_is_trained() -> None:
    model = small_model()
    assert trained(model, Names(model), ["second"]).method == "full"
    for name in ("first", "n"):
        model.get_layer(name).trainable = False
    assert trained(model, Names(model), ["second"]).method == "head"
    enable_lora(model, rank=1, targets="first", head=["second"])
    found = trained(model, Names(model), ["second"])
    assert found.method == "lora" and [owned.name.key for owned in found.full] == ["second.weight", "second.bias"]
