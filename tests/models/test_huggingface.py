"""Settings that KerasHub cannot express are refused by name, and the name table is complete."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from kerora.errors import PresetError
from kerora.models.architectures import ARCHITECTURES
from kerora.models.huggingface import HuggingFaceFolder
from kerora.models.presets import find_preset
from tests.tiny_huggingface import KINDS

Folder = Callable[..., Path]

REFUSED = [
    ("bert", {"hidden_act": "relu"}, r"hidden_act='relu' is not supported; supported are gelu, "),
    ("distil_bert", {"activation": "silu"}, r"activation='silu' is not supported"),
    (
        "bert",
        {"position_embedding_type": "relative_key"},
        r"position_embedding_type='relative_key'; it needs 'absolute'",
    ),
    ("bert", {"is_decoder": True}, r"is_decoder=True; it needs False"),
    ("deberta_v3", {"conv_kernel_size": 3}, r"conv_kernel_size=3; it needs 0"),
    ("deberta_v3", {"pos_att_type": ["c2p"]}, r"pos_att_type=\['c2p'\]"),
    ("deberta_v3", {"relative_attention": False}, r"relative_attention=False; it needs True"),
    ("deberta_v3", {"share_att_key": False}, r"share_att_key=False; it needs True"),
    ("deberta_v3", {"position_buckets": -1}, r"position_buckets must be a positive integer"),
    (
        "deberta_v3",
        {"max_relative_positions": 32},
        r"max_relative_positions to be -1 or max_position_embeddings \(64\)",
    ),
    ("albert", {"num_hidden_groups": 3}, r"num_hidden_layers=4 must be a multiple of num_hidden_groups=3"),
    ("bert", {"num_hidden_layers": "two"}, r"num_hidden_layers must be a positive integer. Received: 'two'"),
    ("bert", {"model_type": "longformer"}, r"model_type 'longformer' is not supported.*DistilBERT, BERT, RoBERTa"),
    ("bert", {"model_type": "distilbart"}, r"Did you mean 'distilbert'"),
    ("bert", {"model_type": None}, r"model_type None is not supported"),
]


@pytest.mark.parametrize(("kind", "values", "message"), REFUSED)
def test_settings_that_cannot_be_expressed(
    kind: str, values: dict[str, Any], message: str, folder: Folder, tmp_path: Path
) -> None:
    config = json.loads((folder(kind) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **values}))
    with pytest.raises(PresetError, match=message) as caught:
        HuggingFaceFolder(tmp_path)
    assert "\n" not in str(caught.value)
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_names_every_weight_of_both_models(kind: str, folder: Folder) -> None:
    opened = HuggingFaceFolder(folder(kind))
    backbone = opened.load_backbone("float32", 0.0)
    keras_paths = {variable.path for variable in backbone.variables if "seed_generator" not in variable.path}
    pairs = [variables for pair in opened.layer_pairs() for variables in pair.variables()]
    named = {path for path, _ in pairs}
    # ELECTRA has no pooler in transformers; KerasHub builds one that the classifier does not use
    assert keras_paths - named == ({"pooled_dense/kernel", "pooled_dense/bias"} if kind == "electra" else set())
    assert named <= keras_paths
    with safe_open(folder(kind) / "model.safetensors", framework="pt") as file:
        prefix = opened.architecture.prefix + "."
        tensors = {name.removeprefix(prefix) for name in list(file.keys()) if name.startswith(prefix)}
    assert tensors - {name for _, name in pairs} <= {"embeddings.token_type_embeddings.weight"}
    assert len(pairs) == len(named)


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_are_those_of_the_backbone(kind: str, folder: Folder) -> None:
    opened = HuggingFaceFolder(folder(kind))
    config = opened.load_backbone("float32", 0.0).get_config()
    arguments = opened.backbone_arguments()
    assert {name: config.get(name, arguments[name]) for name in arguments} == arguments


def test_defaults_are_those_of_transformers() -> None:
    import transformers

    for architecture in ARCHITECTURES.values():
        if architecture.hub:
            continue  # KerasHub reads their configs
        theirs = transformers.AutoConfig.for_model(architecture.model_type)
        sources = [*architecture.arguments.values(), architecture.activation]
        sources += [architecture.norm_epsilon] if architecture.norm_epsilon[0] else []
        sources += [(key, default) for key, (default, _) in architecture.required.items()]
        for key, default in sources:
            assert getattr(theirs, key, default) == default, (architecture.kind, key)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({}, ("negative", "neutral", "positive")),
        ({"id2label": {"10": "k", "9": "j", "2": "c"}}, ("c", "j", "k")),
        ({"id2label": None, "num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"problem_type": "multi_label_classification"}, None),
        ({"problem_type": "regression", "id2label": {"0": "LABEL_0"}}, None),
        ({"id2label": {"0": "LABEL_0"}}, None),
        ({"id2label": {"bad": "0", "good": "1"}}, None),
        ({"architectures": ["BertForTokenClassification"]}, None),
        ({"architectures": None}, None),
    ],
)
def test_class_names(config: dict[str, Any], names: tuple[str, ...] | None, folder: Folder, tmp_path: Path) -> None:
    original = json.loads((folder("bert") / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**original, **config}))
    assert HuggingFaceFolder(tmp_path).class_names == names


def test_weights_of_another_size(folder: Folder, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(folder("bert"), tmp_path / "bert"))
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(PresetError, match=r"feedforward_intermediate_dense/kernel have the shape \(32, 64\)"):
        find_preset(str(directory)).load_backbone()


def test_a_tensor_is_missing(folder: Folder, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(folder("bert"), tmp_path / "bert"))
    tensors = load_file(directory / "model.safetensors")
    del tensors["bert.encoder.layer.1.output.dense.weight"]
    save_file(tensors, directory / "model.safetensors")
    with pytest.raises(PresetError, match=r"lack the tensor 'bert\.encoder\.layer\.1\.output\.dense\.weight'"):
        find_preset(str(directory)).load_backbone()


@pytest.mark.parametrize("kind", ["distil_bert", "bert", "roberta", "gpt2"])
def test_a_config_from_before_model_types(kind: str, folder: Callable[..., Path], tmp_path: Path) -> None:
    files = Path(shutil.copytree(folder(kind), tmp_path / "model"))
    config = json.loads((files / "config.json").read_text())
    del config["model_type"]
    (files / "config.json").write_text(json.dumps(config))
    assert find_preset(str(files)).kind == kind
    (files / "config.json").write_text(json.dumps({**config, "architectures": None}))
    with pytest.raises(PresetError, match="model_type None is not supported"):
        find_preset(str(files))
