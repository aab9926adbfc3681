"""Folders for other tools, written from a tiny model and read by the tools themselves: the same logits."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import torch

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.compat import flatten_layers
from kerora.errors import PresetError
from kerora.exchange.filled_folder import check_fillable, filled_config
from kerora.exchange.huggingface_folder import huggingface_config, uses_tanh_gelu, write_huggingface_folder
from kerora.exchange.keras_task import exact_settings, has_task, load_plain, write_keras_task
from kerora.exchange.onnx_layers import traceable
from kerora.models.classifier import TextClassifier
from kerora.models.keras_presets import ACTIVATIONS, KerasFolder, set_activation_and_epsilon
from tests.tiny import WORDS

keras_hub = import_keras_hub()
TEXTS = [" ".join(WORDS[start : start + size]) for start, size in ((0, 3), (20, 9), (50, 1))]
EVIL = ["=cmd", "\u202eb<script>", "👩‍👩‍👧"]


@pytest.fixture(scope="module")
def model(tiny_preset: Path) -> TextClassifier:
    found = TextClassifier.from_preset(str(tiny_preset), EVIL, max_length=16, seed=2)
    found.head.logits.bias.assign(np.array([0.5, -0.5, 0.25]))
    return found


def logits_of(model: TextClassifier) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(model(model.encode(TEXTS), training=False))


def test_transformers_reads_a_keras_preset_with_its_tokenizer_and_classes(
    model: TextClassifier, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    write_huggingface_folder(model, tmp_path)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    with torch.no_grad():
        found = theirs(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(found, logits_of(model), atol=1e-5)
    assert theirs.config.id2label == dict(enumerate(EVIL))
    assert (tokenizer.pad_token, tokenizer.cls_token, tokenizer.model_max_length) == ("[PAD]", "[CLS]", 64)


def test_keras_hub_reads_a_task_with_head_and_tokenizer(model: TextClassifier, tmp_path: Path) -> None:
    assert has_task(model)
    write_keras_task(model, tmp_path)
    with torch.no_grad():
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(load_plain(tmp_path, model)(model.encode(TEXTS))), logits_of(model), atol=1e-5
        )
    folder = KerasFolder(tmp_path)
    assert folder.class_names == tuple(EVIL)
    head = folder.load_head()
    np.testing.assert_array_equal(head["logits/bias"], model.head.logits.bias.numpy())
    assert set(head) == {f"{layer}/{part}" for layer in ("logits", "pooled_dense") for part in ("kernel", "bias")}


def test_what_a_config_of_keras_hub_cannot_say_is_kept_beside_it(model: TextClassifier, tmp_path: Path) -> None:
    own = TextClassifier.from_preset(model.preset, EVIL, max_length=16, seed=2)
    set_activation_and_epsilon(own.backbone, ACTIVATIONS["gelu_tanh"], 3e-3)
    assert uses_tanh_gelu(own.backbone) and not uses_tanh_gelu(model.backbone)
    assert exact_settings(own.backbone) == {"activation": "gelu_tanh", "epsilon": 3e-3}
    assert huggingface_config(own)["activation"] == "gelu_new" and huggingface_config(model)["activation"] == "gelu"
    write_keras_task(own, tmp_path)
    again = KerasFolder(tmp_path).load_backbone("float32", 0.0)
    with torch.no_grad():
        inputs = own.encode(TEXTS)
        assert np.array_equal(again(inputs).numpy(), own.backbone(inputs).numpy())
        assert np.abs(again(inputs).numpy() - model.backbone(inputs).numpy()).max() > 1e-3


@pytest.mark.parametrize("exact", [{}, {"activation": "relu", "epsilon": 1e-5}, {"activation": "gelu", "epsilon": "x"}])
def test_damaged_files_beside_a_preset_are_told(exact: Any, model: TextClassifier, tmp_path: Path) -> None:
    folder = tmp_path / "preset"
    shutil.copytree(model.preset.directory, folder)
    (folder / "kerora.json").write_text(json.dumps(exact))
    with pytest.raises(PresetError, match=r"kerora\.json is damaged\. Export the model again\."):
        KerasFolder(folder).load_backbone("float32", 0.0)
    (folder / "labels.json").write_text(json.dumps({"classes": ["a", 1]}))
    with pytest.raises(PresetError, match=r"labels\.json is damaged\. Export the model again\."):
        _ = KerasFolder(folder).class_names
    (folder / "labels.json").unlink()
    assert KerasFolder(folder).class_names is None and KerasFolder(folder).missing_pooler() is False


@pytest.mark.parametrize(
    ("source", "method", "message"),
    [
        ("keras", "lora", "/x is a Keras preset of Llama. It cannot be written for transformers and PEFT. Train on"),
        (
            "huggingface",
            "full",
            "All weights of Llama were trained. Those outside its dense layers cannot be written",
        ),
    ],
)
def test_what_has_no_place_in_a_decoders_folder_is_told(source: str, method: str, message: str) -> None:
    preset = SimpleNamespace(source=source, spec="/x", architecture=SimpleNamespace(title="Llama"))
    with pytest.raises(PresetError) as caught:
        check_fillable(SimpleNamespace(preset=preset), method)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message) and "--format keras." in str(caught.value)
    if source == "huggingface":
        check_fillable(SimpleNamespace(preset=preset), "lora")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "named", "written", "pads"),
    [
        ("causal-lm", "Qwen2ForCausalLM", "Qwen2ForCausalLM", 0),
        ("classification", "Qwen2ForCausalLM", "Qwen2ForSequenceClassification", 7),
        ("classification", "LlamaModel", "LlamaForSequenceClassification", 7),
    ],
)
def test_a_filled_config_is_the_bases_own_with_the_task(
    task: str, named: str, written: str, pads: int, tmp_path: Path
) -> None:
    own = {"architectures": [named], "torch_dtype": "float16", "_name_or_path": "/secret", "odd": "=cmd"}
    (tmp_path / "config.json").write_text(json.dumps({**own, "pad_token_id": 0, "quantization_config": {}}))
    model = SimpleNamespace(
        preset=SimpleNamespace(directory=tmp_path), task_name=task, tokenizer=SimpleNamespace(pad_id=7)
    )
    expected = {"architectures": [written], "dtype": "float32", "odd": "=cmd", "pad_token_id": pads}
    assert filled_config(model) == expected  # type: ignore[arg-type]


def deberta() -> Any:
    return keras_hub.models.DebertaV3Backbone(
        vocabulary_size=40, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=12, dropout=0.0,
        max_sequence_length=16, bucket_size=4,
    )  # fmt: skip


def test_layers_of_open_shapes_compute_the_same_and_go_back_even_after_an_error() -> None:
    backbone = deberta()
    kinds = [type(layer) for layer in flatten_layers(backbone)]
    generator = np.random.default_rng(0)
    mask = (np.arange(11) < np.array([11, 5, 1])[:, None]).astype("int32")
    inputs = {"token_ids": generator.integers(1, 40, (3, 11)), "padding_mask": mask}
    with torch.no_grad(), without_tensorflow():
        plain = backbone(inputs, training=False).numpy()
        with traceable(backbone, 16):
            assert {type(layer) for layer in flatten_layers(backbone)} != set(kinds)
            opened = backbone(inputs, training=False).numpy()
    np.testing.assert_allclose(opened[mask > 0], plain[mask > 0], atol=1e-5)
    with pytest.raises(RuntimeError, match="stop"), traceable(backbone, 16):
        raise RuntimeError("stop")
    assert [type(layer) for layer in flatten_layers(backbone)] == kinds
    assert not any("longest" in layer.__dict__ for layer in flatten_layers(backbone))


def test_models_of_other_kinds_are_left_as_they_are(model: TextClassifier) -> None:
    kinds = [type(layer) for layer in flatten_layers(model)]
    with traceable(model, 16):
        assert [type(layer) for layer in flatten_layers(model)] == kinds
