"""PEFT itself reads what Kerora wrote, and Kerora what PEFT trained and saved: the same logits."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kerora.errors import AdapterError
from kerora.lora.files import CONFIG_FILE, WEIGHTS_FILE, load_adapter, save_adapter
from kerora.lora.inject import enable_lora, lora_layers
from kerora.models.causal_lm import CausalLM
from kerora.models.classifier import TextClassifier
from tests.tiny_huggingface import KINDS, tiny_huggingface

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

CLASSES = ["bad", "fair", "good"]
TOLERANCE = 2e-5
ALL = "all-linear"
Folder = Callable[..., Path]
Theirs = Callable[[str, str], tuple[Path, np.ndarray]]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Make a tiny model of a kind once."""
    made: dict[str, Path] = {}

    def folder(kind: str, **settings: Any) -> Path:
        key = f"{kind}-{settings}"
        if key not in made:
            made[key] = tiny_huggingface(kind, tmp_path_factory.mktemp(kind) / kind, initializer_range=0.1, **settings)
        return made[key]

    return folder


def batch(model: Any, rows: int = 4, length: int = 12) -> tuple[dict[str, np.ndarray], dict[str, torch.Tensor]]:
    """Random rows with padding behind, as ours and as theirs."""
    generator = np.random.default_rng(0)
    mask = np.arange(length) < generator.integers(4, length + 1, rows)[:, None]
    ids = np.where(mask, generator.integers(6, model.tokenizer.vocabulary_size, (rows, length)), model.tokenizer.pad_id)
    ours = {"token_ids": ids.astype("int32"), "padding_mask": mask.astype("int32")}
    if "segment_ids" in model.input:
        ours["segment_ids"] = np.zeros_like(ours["token_ids"])
    return ours, {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask.astype("int64"))}


def our_logits(model: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    if isinstance(model, CausalLM):
        return np.where(inputs["padding_mask"][..., None] > 0, model.logits(inputs).numpy(), 0)
    with torch.no_grad():
        return np.asarray(model(inputs, training=False))


def their_logits(model: Any, inputs: dict[str, torch.Tensor]) -> np.ndarray:
    with torch.no_grad():
        logits = model.eval()(**inputs).logits.numpy()
    return logits if logits.ndim == 2 else np.where(inputs["attention_mask"].numpy()[..., None] > 0, logits, 0)


def their_base(folder: Path, causal: bool = False) -> Any:
    if causal:
        return transformers.AutoModelForCausalLM.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(CLASSES))
    if model.config.pad_token_id is None:
        model.config.pad_token_id = 0  # GPT-2: where the text ends is told by the first padding
    return model


def randomise(variables: list[Any], seed: int = 5) -> None:
    generator = np.random.default_rng(seed)
    for variable in variables:
        value = variable.numpy()
        variable.assign(value + generator.normal(0, 0.1, value.shape))


def ours(folder: Path, causal: bool = False) -> Any:
    if causal:
        return CausalLM.from_preset(str(folder), max_length=16)
    return TextClassifier.from_preset(str(folder), CLASSES, max_length=16, seed=0)


VARIANTS: dict[str, dict[str, Any]] = {
    "query and value": {"targets": ("query", "value")},
    "all linear": {"targets": ALL},
    "rslora": {"targets": ALL, "use_rslora": True, "rank": 4},
    "dora": {"targets": ALL, "use_dora": True},
    "pissa": {"targets": ALL, "init": "pissa"},
    "pissa, rslora, dora": {"targets": ("query", "value"), "init": "pissa", "use_rslora": True, "use_dora": True},
    "biases of the adapted": {"bias": "lora_only"},
    "all biases": {"bias": "all"},
    "patterns": {"targets": ALL, "rank_pattern": {"query": 2, "*_1/*": 5}, "alpha_pattern": {"value": 3, "*_0/*": 9.5}},
    "the last block": {"layers": "last:1"},
    "more modules": {"modules_to_save": ["feedforward_layer_norm", "feedforward_output_dense"]},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_peft_loads_what_kerora_wrote(kind: str, variant: str, folders: Folder, tmp_path: Path) -> None:
    folder = folders(kind)
    model = ours(folder)
    enable_lora(model, **{"rank": 3, "alpha": 6.0, **VARIANTS[variant]})
    randomise(model.trainable_variables)
    save_adapter(model, tmp_path / "a")
    inputs, theirs_inputs = batch(model)
    theirs = peft.PeftModel.from_pretrained(their_base(folder), tmp_path / "a")
    expected = our_logits(model, inputs)
    assert np.abs(their_logits(theirs, theirs_inputs) - expected).max() < TOLERANCE
    fresh = ours(folder)
    load_adapter(fresh, tmp_path / "a")
    if "pissa" in variant or (kind, variant) == ("gpt2", "patterns"):
        # PiSSA is stored as its difference from the base; layers of one module share a scale there
        assert np.abs(our_logits(fresh, inputs) - expected).max() < TOLERANCE
        return
    assert np.array_equal(our_logits(fresh, inputs), expected)
    save_adapter(fresh, tmp_path / "b")
    assert (tmp_path / "b" / WEIGHTS_FILE).read_bytes() == (tmp_path / "a" / WEIGHTS_FILE).read_bytes()


@pytest.mark.parametrize("variant", VARIANTS)
def test_peft_loads_a_language_model(variant: str, folders: Folder, tmp_path: Path) -> None:
    folder = folders("gpt2", task="LMHeadModel")
    model = ours(folder, causal=True)
    enable_lora(model, **{"rank": 3, "alpha": 6.0, **VARIANTS[variant]})
    randomise(model.trainable_variables)
    save_adapter(model, tmp_path)
    inputs, theirs_inputs = batch(model)
    theirs = peft.PeftModel.from_pretrained(their_base(folder, causal=True), tmp_path)
    assert np.abs(their_logits(theirs, theirs_inputs) - our_logits(model, inputs)).max() < TOLERANCE
    fresh = ours(folder, causal=True)
    load_adapter(fresh, tmp_path)
    assert np.abs(our_logits(fresh, inputs) - our_logits(model, inputs)).max() < TOLERANCE


QUERY = {"distil_bert": ("q_lin", "v_lin"), "deberta_v3": ("query_proj", "value_proj"), "gpt2": ("c_attn",)}
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all linear": {"target_modules": ALL},
    "patterns": {"rank_pattern": {"0.*QUERY": 5, r".*1\\..*QUERY": 2}, "alpha_pattern": {"QUERY": 7}},
    "rslora": {"use_rslora": True},
    "biases of the adapted": {"bias": "lora_only"},
    "all biases": {"bias": "all"},
    "dora": {"use_dora": True},
    "one layer": {"layers_to_transform": [1]},
}


@functools.cache
def batch_for(folder: Path, causal: bool = False) -> tuple[dict[str, np.ndarray], dict[str, torch.Tensor]]:
    """The rows of `batch` for the model of a folder."""
    return batch(ours(folder, causal))


def train_with_peft(kind: str, folder: Path, output: Path, config: dict[str, Any], causal: bool = False) -> Any:
    """Let PEFT train a few steps and save."""
    query = QUERY.get(kind, ("query", "value"))
    text = json.dumps({"target_modules": list(query), **config}).replace("QUERY", query[0])
    if kind == "deberta_v3":
        # left to itself, PEFT does not save the pooler that transformers starts at random
        config = {"modules_to_save": ["pooler"], **json.loads(text)}
        text = json.dumps(config)
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM" if causal else "SEQ_CLS", r=3, lora_alpha=6, lora_dropout=0.0, **json.loads(text)
    )
    model = peft.get_peft_model(their_base(folder, causal), settings)
    _, inputs = batch_for(folder, causal)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    targets = inputs["input_ids"] if causal else torch.tensor([0, 1, 2, 1])
    for _ in range(3):
        model(**inputs, labels=targets).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(output)
    return model


@pytest.fixture(scope="session")
def theirs(folders: Folder, tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    """Let PEFT train a kind with a configuration once; return what it saved and its logits."""
    made: dict[tuple[str, str], tuple[Path, np.ndarray]] = {}

    def trained(kind: str, name: str) -> tuple[Path, np.ndarray]:
        if (kind, name) not in made:
            output, folder = tmp_path_factory.mktemp("theirs"), folders(kind)
            model = train_with_peft(kind, folder, output, CONFIGS[name])
            made[kind, name] = output, their_logits(model, batch_for(folder)[1])
        return made[kind, name]

    return trained


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CONFIGS)
def test_kerora_loads_what_peft_trained(kind: str, name: str, folders: Folder, theirs: Theirs, tmp_path: Path) -> None:
    folder = folders(kind)
    if kind == "albert" and name == "one layer":
        pytest.skip("PEFT finds no layer numbers in ALBERT's module names")
    if kind in ("distil_bert", "deberta_v3") and name == "all linear":
        pytest.skip("PEFT refuses to adapt a head that it saves in full")
    saved, wanted = theirs(kind, name)
    model = ours(folder)
    inputs, theirs_inputs = batch(model)
    before = our_logits(model, inputs)
    load_adapter(model, saved)
    assert lora_layers(model)
    assert np.abs(our_logits(model, inputs) - wanted).max() < TOLERANCE
    assert np.abs(our_logits(model, inputs) - before).max() > 0.01
    save_adapter(model, tmp_path / "ours")
    again = peft.PeftModel.from_pretrained(their_base(folder), tmp_path / "ours")
    assert np.abs(their_logits(again, theirs_inputs) - wanted).max() < TOLERANCE


@pytest.mark.usefixtures("side")
def test_modules_that_peft_saved_in_full(folders: Folder, tmp_path: Path) -> None:
    folder = folders("bert")
    config = {"modules_to_save": ["bert.encoder.layer.1.output.dense", "pooler"]}
    theirs = train_with_peft("bert", folder, tmp_path, config)
    model = ours(folder)
    inputs, theirs_inputs = batch(model)
    load_adapter(model, tmp_path)
    assert np.abs(our_logits(model, inputs) - their_logits(theirs, theirs_inputs)).max() < TOLERANCE
    assert model.backbone.get_layer("pooled_dense").kernel.trainable


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type must be 'LORA'"),
        ({"init_lora_weights": "pissa_niter_4"}, "changed the base's weights"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices=[1, 2] cannot be carried over"),
        ({"layer_replication": [[0, 1]]}, "layer_replication=[[0, 1]] cannot be carried over"),
        ({"something_of_2030": 0.5}, "something_of_2030=0.5 cannot be carried over"),
        ({"target_modules": ["query", "value", "key"]}, "missing tensor base_model.model.bert.encoder.layer.0"),
        ({"target_modules": ["query"]}, "unknown tensor base_model.model.bert.encoder.layer.0.attention.self.value"),
        ({"r": 4}, "has shape (3, 32), needs (4, 32)"),
    ],
)
def test_what_cannot_be_carried_is_named(
    changes: dict[str, Any], message: str, folders: Folder, tmp_path: Path
) -> None:
    train_with_peft("bert", folders("bert"), tmp_path, {})
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps({**config, **changes}))
    with pytest.raises(AdapterError) as caught:
        load_adapter(ours(folders("bert")), tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_float16_halves_the_file_and_roberta_base_takes_what_is_promised(folders: Folder, tmp_path: Path) -> None:
    model = ours(folders("roberta"))
    enable_lora(model, rank=8)
    for dtype in ("float32", "float16"):
        save_adapter(model, tmp_path / dtype, dtype=dtype)
    sizes = [(tmp_path / dtype / WEIGHTS_FILE).stat().st_size for dtype in ("float32", "float16")]
    header = 8 + int.from_bytes((tmp_path / "float32" / WEIGHTS_FILE).read_bytes()[:8], "little")
    assert (sizes[0] - header) == 2 * (sizes[1] - header) or abs(sizes[0] - 2 * sizes[1]) < 2 * header
    # RoBERTa base: 12 layers, 768 wide, query and value
    assert 12 * 2 * (768 + 768) * 8 * 4 <= 1.2e6
    load_adapter(ours(folders("roberta")), tmp_path / "float16")


def test_roberta_positions_cannot_be_held(folders: Folder, tmp_path: Path) -> None:
    model = ours(folders("roberta"))
    enable_lora(model, modules_to_save=["position_embedding"])
    with pytest.raises(AdapterError, match="position_embedding.*no counterpart in transformers"):
        save_adapter(model, tmp_path)
