"""Only kerora/fast/ and kerora/compat.py use private attributes of Keras, KerasHub, torch and Optuna.

The lists below are what an upgrade of a dependency has to be checked against. A name with one leading underscore is
foreign where no class or module of Kerora defines it; names that Kerora gives to objects of its own are defined
somewhere in the package.
"""

import ast
import re
from collections.abc import Iterator

import keras
import pytest
from optuna.storages._heartbeat import BaseHeartbeat

from tests.conftest import ROOT

PACKAGE = ROOT / "kerora"
FILES = sorted(PACKAGE.rglob("*.py"))
COMPAT = {
    # keras.Layer, keras.Model, keras.Variable
    *("_flatten_layers", "_kernel", "_trainable_variables", "_non_trainable_variables", "_tracker"),
    # keras.optimizers.Optimizer
    "_use_weight_decay",
    # torch.Tensor
    "_version",
    *("_untrack_variable", "_torch_params", "_value", "_shape", "_path", "_loss_tracker", "_epsilon"),
    # KerasHub's decoders and language models
    *("_compute_self_attention_mask", "_compute_attention_mask", "_build_cache"),
    # torch.cpu
    *("_is_avx512_bf16_supported", "_is_amx_tile_supported"),
    # optuna.Study, optuna.trial.FrozenTrial
    *("_storage", "_study_id", "_trial_id"),
}
FAST = {
    # keras.Layer
    *("_flatten_layers", "_kernel", "_inbound_nodes"),
    # keras.layers.MultiHeadAttention, KerasHub's CachedMultiHeadAttention and those of Llama and its kin
    *("_compute_attention", "_dropout", "_inverse_sqrt_key_dim", "_inv_norm_factor"),
    *("_query_dense", "_key_dense", "_value_dense", "_output_dense"),
    # KerasHub's TransformerEncoder and TransformerDecoder
    *("_self_attention_layer", "_self_attention_layer_norm", "_cross_attention_layer", "_compute_self_attention_mask"),
    *("_feedforward_intermediate_dense", "_feedforward_output_dense", "_feedforward_layer_norm"),
    # MistralAttention
    "_num_query_heads",
}
# overridden in classes of Kerora's own: by file, the class that first has it
OVERRIDDEN: dict[str, tuple[type, str]] = {
    "tuning/storage.py": (BaseHeartbeat, "_get_stale_trial_ids"),
    "training/loop.py": (keras.optimizers.Optimizer, "_apply_weight_decay"),
    "models/saved_model.py": (keras.layers.Layer, "_obj_type"),
}
# public in spite of the underscore: of named tuples
PUBLIC = {"_replace", "_asdict", "_fields"}
BY_NAME = ("getattr", "hasattr", "setattr", "delattr")
NAME = re.compile(r"_[a-z][a-z0-9_]*")
KERAS_NAMES = {"_kernel", "_path", "_value", "_shape", "_dropout", "_storage", "_tracker"}
"""Foreign names that a class of Kerora could also choose: they count as foreign on anything but ``self``."""


def touched(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield private names that are read or set on an object, and whether on ``self``; those in `getattr` too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and NAME.fullmatch(node.attr):
            yield node.attr, _is_self(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BY_NAME:
            name = node.args[1]
            if isinstance(name, ast.Constant) and NAME.fullmatch(str(name.value)):
                yield str(name.value), _is_self(node.args[0])


def defined(tree: ast.AST) -> set[str]:
    """Return private names that a module defines: functions, methods, attributes that classes declare or set."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                parts = target.elts if isinstance(target, ast.Tuple) else [target]
                found |= {part.id for part in parts if isinstance(part, ast.Name)}
                found |= {part.attr for part in parts if isinstance(part, ast.Attribute) and _is_self(part.value)}
                found |= {str(part.slice.value) for part in parts if _is_item_of_dict(part)}  # type: ignore[attr-defined]
    return {name for name in found if NAME.fullmatch(name)}


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _is_item_of_dict(node: ast.AST) -> bool:
    """Tell ``object.__dict__["_name"]``, past Keras' own setattr."""
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "__dict__"
        and isinstance(node.slice, ast.Constant)
    )


TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
EVERYWHERE = {name for file, tree in TREES.items() if not file.startswith("fast/") for name in defined(tree)}


def foreign(tree: ast.AST) -> set[str]:
    """Return the private names of others that a module touches."""
    own, ours = defined(tree), EVERYWHERE - KERAS_NAMES
    names = {name for name, on_self in touched(tree) if name not in ours and not (on_self and name in own)}
    return names - PUBLIC


def is_allowed(file: str) -> bool:
    return file.startswith("fast/") or file == "compat.py"


@pytest.mark.parametrize("file", [file for file in TREES if not is_allowed(file)])
def test_no_private_attribute_is_touched_elsewhere(file: str) -> None:
    found = foreign(TREES[file])
    assert not found, f"{file} touches {sorted(found)}: put a function into kerora/compat.py"
    known = COMPAT | FAST
    overridden = {
        node.name
        for kind in ast.walk(TREES[file])
        if isinstance(kind, ast.ClassDef)
        for node in kind.body
        if isinstance(node, ast.FunctionDef) and node.name in known
    }
    assert not overridden


def texts(tree: ast.AST) -> set[str]:
    """Return the texts of a module that look like a private name."""
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str) and NAME.fullmatch(value)}


def test_what_is_touched_is_listed() -> None:
    def names(*trees: ast.AST) -> set[str]:
        return {name for tree in trees for name, _ in touched(tree)}.union(*map(texts, trees))

    assert names(TREES["compat.py"]) == COMPAT
    wing = [tree for file, tree in TREES.items() if file.startswith("fast/")]
    own = {name for tree in wing for name in defined(tree)}
    assert names(*wing) - (own - FAST) == FAST


@pytest.mark.parametrize("file", OVERRIDDEN)
def test_what_is_overridden_is_still_there(file: str) -> None:
    kind, name = OVERRIDDEN[file]
    assert hasattr(kind, name) and name in defined(TREES[file])


def test_a_touch_is_noticed() -> None:
    code = """
class A:
    def _own_one(self):
        return self._own_one, self._odd, other._kernel, getattr(other, "_odd_too")
"""
    assert foreign(ast.parse(code)) == {"_odd", "_kernel", "_odd_too"}
    assert foreign(ast.parse("turn._replace(ends=1)")) == set()
