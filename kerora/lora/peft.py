"""Writes adapter_config.json with the fields of PEFT, and reads such files of Kerora and of PEFT.

The fields of PEFT hold everything that PEFT needs. Entries that only Kerora needs are under the key ``kerora``, which
is written to a file of its own: the fingerprint of the base model, class names, the sha256 of the weights, the parts of
a module that computes several layers (``c_attn`` of GPT-2), and the Keras layers that were trained in full.
"""

import math
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from kerora.compat import own_variables
from kerora.lora.entries import (
    PREFIX,
    Entry,
    Stored,
    stored_alpha,
    stored_rank,
    stored_updates,
    update_entries,
    variable_entry,
)
from kerora.lora.inject import BIAS_NAMES, lora_layers
from kerora.lora.layers import UpdateSettings
from kerora.lora.names import Names, Owned, TensorName, outputs_of
from kerora.lora.select import find_head, layer_path, leaf_path, replaced_by_head

FORMAT_VERSION = 1
FLOAT_MAX = sys.float_info.max
CARRIED = {
    *("peft_type", "task_type", "base_model_name_or_path", "r", "lora_alpha", "lora_dropout", "target_modules"),
    *("bias", "use_rslora", "use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save"),
    *(
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
        "init_lora_weights",
        "id2label",
        "label2id",
        "kerora",
    ),
}
"""Fields that Kerora supports."""
INERT = {
    *("auto_mapping", "revision", "inference_mode", "peft_version", "megatron_core", "qalora_group_size"),
    *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config", "merge_weights"),
}
"""Fields that do not change the meaning of the files of an adapter."""
CHANGES_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq", "mica")
"""Initialisations that change the weights of the base model. The adapter then fits only the changed base."""


@dataclass
class Plan:
    """The changes that loading an adapter makes to a model.

    Attributes:
        method: ``lora``, ``full`` or ``head``.
        updates: the layers to adapt, with the settings of each.
        bias: which biases were trained.
        full: the layers that were trained in full.
        tensors: the tensors of the file in the form in which Kerora writes them.
        faults: descriptions of everything that does not fit.
    """

    method: str
    updates: list[tuple[Any, UpdateSettings]]
    bias: str
    full: list[Any]
    tensors: dict[str, np.ndarray]
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """The trained weights of a model, which its files must hold."""

    method: str
    updates: list[Stored]
    biases: list[Owned]
    full: list[Owned]
    head: list[Any]


def trained(model: keras.Model, names: Names, head: Sequence[str] | None = None) -> Trained:
    """Return the trained weights of a model, from the updates of its layers and from `trainable` of its variables."""
    layers = lora_layers(model)
    updates = {id(variable) for layer in layers for variable in layer.update.variables}
    biases: list[Owned] = []
    full: list[Owned] = []
    for owned in names:
        variable = owned.variable
        if not variable.trainable or id(variable) in updates:
            continue
        # A layer whose other weights are frozen trains only its bias. The file then holds the bias alone.
        whole = all(other.trainable for other in own_variables(owned.layer) if id(other) not in updates)
        (full if whole else biases).append(names.of(variable))
    heads = find_head(model, head)
    inside = {id(variable) for layer in heads for variable in layer.variables}
    unused = replaced_by_head(model)
    weights = [w for w in model.weights if w.value.is_floating_point() and id(w) not in unused]
    method = "lora"
    if not layers and full:
        # Other choices of weights have no method, and `save_adapter` refuses them.
        method = "full" if all(weight.trainable for weight in weights) else ""
        method = "head" if all(id(owned.variable) in inside for owned in full) and not biases else method
    return Trained(method, stored_updates(model, names, layers), biases, full, heads)


def entries_of(parts: Trained, names: Names) -> list[Entry]:
    """Return the tensors of an adapter: updates, biases, layers trained in full."""
    entries = [entry for stored in parts.updates for entry in update_entries(stored)]
    adapted = {stored.module for stored in parts.updates}
    keys: dict[str, str] = {}
    for owned in parts.biases:
        # PEFT wraps an adapted module, so the bias belongs to the module inside.
        inner = ".base_layer" if owned.name.module in adapted else ""
        keys[f"{PREFIX}{owned.name.module}{inner}.{owned.name.name}"] = owned.name.key
    keys |= {f"{PREFIX}{owned.name.key}": owned.name.key for owned in parts.full}
    return entries + [variable_entry(key, names.with_key(name)) for key, name in keys.items()]


def describe(parts: Trained, info: Mapping[str, Any]) -> dict[str, Any]:
    """Return adapter_config.json.

    Args:
        parts: what is trained.
        info: ``task_type``, ``base_model_name_or_path`` and ``classes`` if the model has them. Other entries are
            returned under the key ``kerora``.
    """
    base = {key: info.get(key) for key in ("base_model_name_or_path", "revision") if key != "revision" or key in info}
    own = {key: value for key, value in info.items() if key != "task_type" and key not in base}
    own = {"format_version": FORMAT_VERSION, "method": parts.method, **own}
    # PEFT cannot read full weights or a head alone, so its fields are left out.
    if parts.method != "lora":
        return {**base, "kerora": own}
    heads = {id(variable) for layer in parts.head for variable in layer.variables}
    extra = [owned for owned in parts.full if id(owned.variable) not in heads]
    own["modules"] = list(dict.fromkeys(leaf_path(owned.layer) for owned in extra))
    own["parts"] = {
        stored.module: {
            layer_path(layer): [stored_rank(layer.update), stored_alpha(layer.update)] for layer in stored.layers
        }
        for stored in parts.updates
        if stored.fused
    }
    # The patterns then list only the exceptions.
    rank, alpha = (_most_common(values) for values in _ranks_and_alphas(parts))
    update = parts.updates[0].layers[0].update
    return {
        "peft_type": "LORA",
        "task_type": info.get("task_type"),
        **base,
        # As `save_pretrained` of PEFT writes it, whatever the model does.
        "inference_mode": True,
        "r": rank,
        "lora_alpha": _plain(alpha),
        "lora_dropout": update.dropout,
        "target_modules": [stored.module for stored in parts.updates],
        "rank_pattern": {stored.module: stored.rank for stored in parts.updates if stored.rank != rank},
        "alpha_pattern": {stored.module: _plain(stored.alpha) for stored in parts.updates if stored.alpha != alpha},
        "use_rslora": update.use_rslora,
        "use_dora": update.magnitude is not None,
        # PEFT transposes the weights of Conv1D modules (GPT-2) with it.
        "fan_in_fan_out": any(stored.form == "conv" for stored in parts.updates),
        "bias": _bias_mode(parts),
        "modules_to_save": list(dict.fromkeys(_saved_module(owned.name, info) for owned in parts.full)) or None,
        # A PiSSA adapter is stored with twice the rank and fits the original base, so it needs no special start.
        "init_lora_weights": True,
        "kerora": own,
    }


def config_faults(config: Mapping[str, Any]) -> list[str]:
    """Return the faults in the fields of adapter_config.json that loading needs."""
    own = config.get("kerora", {})
    if not isinstance(own, dict):
        return [f"kerora must be an object, found {own!r}"]
    faults = []
    if own and own.get("format_version") != FORMAT_VERSION:
        faults.append(f"kerora.format_version must be {FORMAT_VERSION}, found {own.get('format_version')!r}")
    if own.get("method", "lora") not in ("lora", "full", "head"):
        faults.append(f"kerora.method must be lora, full or head, found {own['method']!r}")
    faults += _type_faults(own, {"sha256": str, "fingerprint": str, "kind": str}, "kerora.")
    for key, least in (("mean", -FLOAT_MAX), ("deviation", 0.0)):
        if key in own and not _are_numbers(own[key], len(own.get("classes", ())), least):
            faults.append(f"kerora.{key} must be a list with a finite number for each target, found {own[key]!r}")
    for key in ("classes", "modules"):
        if key in own and not _is_names(own[key]):
            faults.append(f"kerora.{key} must be a list of names, found {own[key]!r}")
    if not _is_parts(own.get("parts", {})):
        faults.append(f"kerora.parts must give each layer's rank and alpha, found {own['parts']!r}")
    return faults if own.get("method", "lora") != "lora" else faults + _lora_faults(config)


def _lora_faults(config: Mapping[str, Any]) -> list[str]:
    faults = []
    if config.get("peft_type") != "LORA":
        faults.append(f"peft_type must be 'LORA', found {config.get('peft_type')!r}")
    # PEFT has the same defaults for alpha and dropout.
    rank, alpha, dropout = config.get("r"), config.get("lora_alpha", 8), config.get("lora_dropout", 0.0)
    if not _is_rank(rank):
        faults.append(f"r must be a whole number of 1 or more, found {rank!r}")
    if not _is_number(alpha, above=0):
        faults.append(f"lora_alpha must be a number above 0, found {alpha!r}")
    # `above` excludes its value, but a dropout of 0 is valid.
    if not _is_number(dropout, above=-1e-9, below=1):
        faults.append(f"lora_dropout must be at least 0 and below 1, found {dropout!r}")
    targets = config.get("target_modules")
    if not (isinstance(targets, str) and targets) and not _is_names(targets):
        faults.append(f"target_modules must be a list of module names, found {targets!r}")
    if config.get("bias", "none") not in ("none", "lora_only", "all"):
        faults.append(f"bias must be 'none', 'lora_only' or 'all', found {config.get('bias')!r}")
    for key, check in (("rank_pattern", _is_rank), ("alpha_pattern", lambda value: _is_number(value, above=0))):
        pattern = config.get(key) or {}
        if not isinstance(pattern, dict) or not all(check(value) for value in pattern.values()):
            faults.append(f"{key} must give numbers above 0 by module, found {pattern!r}")
        else:
            faults += [
                f"{key} has the pattern {text!r}, which is no regular expression"
                for text in pattern
                if not _is_regex(text)
            ]
    if isinstance(targets, str) and not _is_regex(targets):
        faults.append(f"target_modules is no regular expression: {targets!r}")
    if not isinstance(config.get("modules_to_save") or [], list):
        faults.append(f"modules_to_save must be a list of module names, found {config['modules_to_save']!r}")
    return faults + _type_faults(config, {"use_rslora": bool, "use_dora": bool}) + _not_carried(config)


def _not_carried(config: Mapping[str, Any]) -> list[str]:
    """Return the features of PEFT in the config that Kerora does not have."""
    faults = [
        f"{key}={value!r} cannot be carried over"
        for key, value in config.items()
        # A field of a later PEFT that is off changes nothing.
        if key not in CARRIED | INERT and value not in (None, False, {}, [], ())
    ]
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.startswith(CHANGES_BASE):
        faults.append(
            f"init_lora_weights={start!r} changed the base's weights, so that the adapter does not fit the base alone: "
            "save it with path_initial_model_for_weight_conversion"
        )
    return faults


def plan_loading(
    model: keras.Model,
    names: Names,
    config: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    head: Sequence[str] | None,
) -> Plan:
    """Find the layers that an adapter adapts, and their settings, from a checked config and the tensors."""
    own = config.get("kerora", {})
    heads = find_head(model, head)
    if own.get("method", "lora") != "lora":
        return Plan(own["method"], [], "none", heads, dict(tensors))
    plan = Plan("lora", [], config.get("bias", "none"), heads, dict(tensors))
    modules = names.adaptable()
    for module in _adapted_modules(config, modules, plan):
        rank = int(_by_pattern(config.get("rank_pattern") or {}, module, config["r"]))
        alpha = float(_by_pattern(config.get("alpha_pattern") or {}, module, config.get("lora_alpha", 8)))
        layers = modules[module]
        if own:
            settings = _own_parts(own, module, layers, rank, alpha, plan)
        else:
            settings = [(layer, rank, alpha) for layer in layers]
            if len(layers) > 1:
                _split_module(plan.tensors, module, layers, rank)
        plan.updates += [(layer, _settings(config, part_rank, part_alpha)) for layer, part_rank, part_alpha in settings]
    _find_full(plan, model, names, own, {id(layer) for layer, _ in plan.updates})
    order = {
        id(layer): number for number, layer in enumerate(layer for members in modules.values() for layer in members)
    }
    plan.updates.sort(key=lambda item: order[id(item[0])])
    if not plan.updates and not plan.faults:
        plan.faults.append("it adapts no layer of this model")
    return plan


def _settings(config: Mapping[str, Any], rank: int, alpha: float) -> UpdateSettings:
    return UpdateSettings(
        rank=rank,
        alpha=alpha,
        dropout=float(config.get("lora_dropout", 0.0)),
        use_rslora=bool(config.get("use_rslora")),
        use_dora=bool(config.get("use_dora")),
    )


def _adapted_modules(config: Mapping[str, Any], modules: Mapping[str, list[Any]], plan: Plan) -> list[str]:
    targets = config["target_modules"]
    # The target all-linear of PEFT includes a head that PEFT saves in full. The saved tensors decide.
    heads = {id(layer) for layer in plan.full}
    modules = {module: layers for module, layers in modules.items() if not any(id(layer) in heads for layer in layers)}
    if "kerora" in config:
        plan.faults += [f"target '{name}' is no layer of this model" for name in targets if name not in modules]
        return [module for module in modules if module in targets]
    present = {key.removeprefix(PREFIX).removesuffix(".lora_A.weight") for key in plan.tensors if ".lora_A." in key}
    # PEFT resolved these rules when it trained, and the tensors show the result.
    narrowed = any(config.get(key) not in (None, [], "") for key in ("exclude_modules", "layers_to_transform"))
    if narrowed or targets == "all-linear":
        return [module for module in modules if module in present]
    # A text is a regular expression for whole names. A list holds ends of names.
    if isinstance(targets, str):
        return [module for module in modules if re.fullmatch(targets, module)]
    return [module for module in modules if any(f".{module}".endswith(f".{target}") for target in targets)]


def _own_parts(
    own: Mapping[str, Any], module: str, layers: list[Any], rank: int, alpha: float, plan: Plan
) -> list[tuple[Any, int, float]]:
    parts = own.get("parts", {}).get(module)
    if parts is None:
        if len(layers) > 1:
            plan.faults.append(f"kerora.parts does not say which layers {module} is made of")
            return []
        return [(layers[0], rank, alpha)]
    paths = {layer_path(layer): layer for layer in layers}
    unknown = [path for path in parts if path not in paths]
    plan.faults += [f"kerora.parts names '{path}', which is no part of {module}" for path in unknown]
    return [(layer, parts[path][0], float(parts[path][1])) for path, layer in paths.items() if path in parts]


def _split_module(tensors: dict[str, np.ndarray], module: str, layers: Sequence[Any], rank: int) -> None:
    """Give each layer of a module that PEFT adapted as a whole a copy of A, and its own rows of B."""
    key_a, key_b = (f"{PREFIX}{module}.lora_{letter}.weight" for letter in "AB")
    if key_a not in tensors or key_b not in tensors:
        return
    a, b = tensors[key_a], tensors[key_b]
    rows = np.cumsum([0, *(outputs_of(layer) for layer in layers)])
    if a.ndim != 2 or a.shape[0] != rank or b.shape != (rows[-1], rank):
        return  # A later check reports the wrong shape.
    # All layers of the module have the same input, so one A serves them all.
    tensors[key_a] = np.concatenate([a] * len(layers))
    # The block-diagonal form of `kerora.lora.entries`: the rows of a layer, in the columns of its copy of A.
    blocks = np.zeros((rows[-1], rank * len(layers)), b.dtype)
    for number in range(len(layers)):
        part = slice(rows[number], rows[number + 1])
        blocks[part, number * rank : (number + 1) * rank] = b[part]
    tensors[key_b] = blocks


def _find_full(plan: Plan, model: keras.Model, names: Names, own: Mapping[str, Any], adapted: set[int]) -> None:
    """Find the layers outside the head that were trained in full. Remove tensors that PEFT stores twice."""
    if own:
        leaves = {leaf_path(owned.layer): owned.layer for owned in names}
        plan.faults += [
            f"module '{path}' is no layer of this model" for path in own.get("modules", ()) if path not in leaves
        ]
        plan.full += [leaves[path] for path in own.get("modules", ()) if path in leaves]
        return
    heads = {id(layer) for layer in plan.full}
    for key in list(plan.tensors):
        if ".original_module." in key or ".modules_to_save." in key:
            del plan.tensors[key]  # A second copy of the biases of saved modules.
    for key in plan.tensors:
        members = names.with_key(key.removeprefix(PREFIX))
        for owned in members:
            only_bias = plan.bias == "all" and owned.variable.name in BIAS_NAMES
            if id(owned.layer) not in heads | adapted and not only_bias and owned.layer not in plan.full:
                plan.full.append(owned.layer)


def _by_pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    if module in patterns:
        return patterns[module]
    # The rule of `get_pattern_key` in PEFT.
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default)


def _ranks_and_alphas(parts: Trained) -> tuple[list[int], list[float]]:
    return [stored.rank for stored in parts.updates], [stored.alpha for stored in parts.updates]


def _most_common(values: Sequence[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]


def _plain(number: float) -> float:
    return int(number) if float(number).is_integer() else number


def _bias_mode(parts: Trained) -> str:
    adapted = {id(layer) for stored in parts.updates for layer in stored.layers}
    if not parts.biases:
        return "none"
    return "lora_only" if all(id(owned.layer) in adapted for owned in parts.biases) else "all"


def _saved_module(name: TensorName, info: Mapping[str, Any]) -> str:
    # PEFT wraps the whole head: the module of transformers with the first part of the name.
    prefix = str(info.get("prefix", ""))
    return name.module if not prefix or name.module.startswith(f"{prefix}.") else name.module.partition(".")[0]


def _type_faults(config: Mapping[str, Any], types: Mapping[str, type], prefix: str = "") -> list[str]:
    return [
        f"{prefix}{key} must be {'text' if kind is str else 'true or false'}, found {config[key]!r}"
        for key, kind in types.items()
        if config.get(key) is not None and not isinstance(config[key], kind)
    ]


def _are_numbers(value: Any, length: int, above: float) -> bool:
    return isinstance(value, list) and len(value) == length and all(_is_number(item, above) for item in value)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_parts(value: Any) -> bool:
    def is_pair(pair: Any) -> bool:
        return isinstance(pair, list) and len(pair) == 2 and _is_rank(pair[0]) and _is_number(pair[1], above=0)

    return isinstance(value, dict) and all(
        isinstance(parts, dict) and parts and all(is_pair(pair) for pair in parts.values()) for parts in value.values()
    )


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31


def _is_number(value: Any, above: float, below: float = math.inf) -> bool:
    # JSON may hold integers that are too large for a float, so the value is compared with the largest float.
    return isinstance(value, int | float) and not isinstance(value, bool) and above < value < min(below, FLOAT_MAX)


def _is_regex(text: str) -> bool:
    try:
        re.compile(rf"(.*\.)?({text})$")
    except (re.error, RecursionError, OverflowError):
        return False
    return True
