"""The table of names against the models themselves: every weight on both sides, once, and of one size."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from kerora.models.architectures import ARCHITECTURES
from kerora.models.classifier import TextClassifier
from kerora.models.hf_names import VARIABLES, LayerPair
from kerora.models.peft_names import layer_pairs, module_names, tensor_names
from tests.tiny_huggingface import KINDS, tiny_huggingface


@pytest.mark.parametrize(
    ("pair", "counts", "names"),
    [
        (LayerPair("a", "b", "norm"), (3, 3), ["a b"]),
        (LayerPair("a_{i}/q", "a.{i}.q", "dense"), (2, 5), ["a_0/q a.0.q", "a_1/q a.1.q"]),
        (LayerPair("g{i}l{j}", "{i}.{j}", "dense"), (1, 2), ["g0l0 0.0", "g0l1 0.1"]),
        (LayerPair("a_{i}", "a.{i}", "dense"), (0, 1), []),
    ],
)
def test_pairs_stand_for_each_layer(pair: LayerPair, counts: tuple[int, int], names: list[str]) -> None:
    found = list(pair.expand(*counts))
    assert [f"{one.keras} {one.huggingface}" for one in found] == names
    assert all((one.form, one.part) == (pair.form, pair.part) for one in found)


def test_variables_of_each_form() -> None:
    assert list(LayerPair("k", "h", "norm").variables()) == [("k/gamma", "h.weight"), ("k/beta", "h.bias")]
    assert list(LayerPair("k/table", "h", "matrix").variables()) == [("k/table", "h.weight")]
    assert {len(names) for names in VARIABLES.values()} == {1, 2}


@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
def test_no_name_of_a_table_stands_twice(kind: str) -> None:
    expanded = [one for pair in ARCHITECTURES[kind].layers for one in pair.expand(3, 2)]
    ours = Counter((one.keras, one.huggingface) for one in expanded)
    theirs = Counter((one.huggingface, one.part) for one in expanded)
    assert max([*ours.values(), *theirs.values()], default=1) == 1


# the vocabularies of the others take long to train; test_parity.py loads them
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("xlm_roberta", "deberta_v3")])
def test_every_tensor_of_a_folder_has_a_variable_of_its_size(kind: str, tmp_path: Path) -> None:
    folder = tiny_huggingface(kind, tmp_path, ["a", "b"])
    model = TextClassifier.from_preset(str(folder))
    architecture = model.preset.architecture
    sizes: Counter[str] = Counter()
    named = tensor_names(architecture, model.backbone, model.head_layers)
    shapes = {variable.path: tuple(variable.shape) for variable in model.variables}
    for path, name in named.items():
        if path in shapes:
            sizes[name.key] += int(np.prod(shapes[path]))
    tensors = load_file(folder / "model.safetensors")
    # rows for padding that Keras does not have, and types of tokens that it leaves out
    uncounted = {key for key in tensors if "position_embeddings" in key or "token_type" in key or "position_ids" in key}
    assert {key: value.size for key, value in tensors.items() if key not in uncounted} == {
        key: size for key, size in sizes.items() if key not in uncounted
    }
    modules = module_names(architecture, model.backbone)
    assert len(modules) == len(list(layer_pairs(architecture, model.backbone)))
    assert {f"{architecture.prefix}.{module}" for module in modules.values()} >= {
        name.module for path, name in named.items() if "logits" not in path and not path.startswith("pooled_dense")
    }
