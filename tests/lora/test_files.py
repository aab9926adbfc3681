"""Adapter files: exact round trips, and every kind of damage refused with the model untouched."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from kerora.backend import import_keras_hub
from kerora.errors import AdapterError, RunError
from kerora.lora.files import CONFIG_FILE, OWN_FILE, PREFIX, WEIGHTS_FILE, adapter_entries, load_adapter, save_adapter
from kerora.lora.inject import enable_lora, lora_layers, remove_lora
from kerora.lora.tensors import read_tensors

keras_hub = import_keras_hub()
Tensors = dict[str, np.ndarray]


def base_model(dtype: str = "float32", classes: int = 3, width: int = 16, seed: int = 0) -> keras.Model:
    """A two-layer encoder with a head; equal for equal arguments."""
    keras.utils.set_random_seed(seed)
    backbone = keras_hub.models.DistilBertBackbone(
        vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=width, intermediate_dim=24, dropout=0.0,
        max_sequence_length=12, dtype=dtype,
    )  # fmt: skip
    hidden = keras.layers.Dense(8, activation="relu", dtype="float32", name="pooled_dense")(backbone.output[:, 0])
    model = keras.Model(backbone.input, keras.layers.Dense(classes, dtype="float32", name="logits")(hidden))
    model.head_layers = [model.get_layer("pooled_dense"), model.get_layer("logits")]
    return model


def trained(**options: Any) -> keras.Model:
    """A model whose adapter, biases and head have values of their own, as training gives them."""
    lora = {name: options.pop(name) for name in ("rank", "alpha", "targets", "bias") if name in options}
    model = base_model(**options)
    enable_lora(model, **{"rank": 4, "alpha": 6.0, **lora})
    generator = np.random.default_rng(7)
    for variable in model.trainable_variables:
        variable.assign(generator.normal(0, 0.3, variable.shape))
    return model


def logits(model: keras.Model) -> np.ndarray:
    inputs = {"token_ids": np.arange(1, 25).reshape(3, 8), "padding_mask": np.ones((3, 8), "int32")}
    with torch.no_grad():
        return model(inputs, training=False).float().numpy()


def snapshot(model: keras.Model) -> list[Any]:
    """Everything of a model that a failed load must not change."""
    kinds = [type(layer) for layer in model._flatten_layers()]
    return [*kinds, *((v.path, v.trainable, v.value.detach().float().numpy().tobytes()) for v in model.variables)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(trained(), folder)
    return folder


@pytest.fixture(scope="module")
def plain() -> keras.Model:
    return base_model()


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    for name in (WEIGHTS_FILE, CONFIG_FILE, OWN_FILE):
        (tmp_path / name).write_bytes((saved / name).read_bytes())
    return tmp_path


def describe(folder: Path, **changes: Any) -> None:
    """Change keys of the description; None removes one."""
    content = read_description(folder)
    own = {key.removeprefix("kerora."): value for key, value in changes.items() if key.startswith("kerora.")}
    content |= {key: value for key, value in changes.items() if not key.startswith("kerora.")}
    if isinstance(content["kerora"], dict):
        content["kerora"] = {key: value for key, value in (content["kerora"] | own).items() if value is not None}
    (folder / OWN_FILE).write_text(json.dumps(content.pop("kerora", None)))
    (folder / CONFIG_FILE).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def read_description(folder: Path) -> dict[str, Any]:
    """Both description files of an adapter as one."""
    own = json.loads((folder / OWN_FILE).read_text())
    return {**json.loads((folder / CONFIG_FILE).read_text()), "kerora": own}


def rewrite(folder: Path, change: Callable[[Tensors], Any]) -> None:
    """Change the tensors, as another tool would: with a sound file and no checksum."""
    tensors = safetensors.numpy.load_file(folder / WEIGHTS_FILE)
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / WEIGHTS_FILE)
    describe(folder, **{"kerora.sha256": None})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": "lora_only"},
        {"dtype": "bfloat16"},
        {"targets": "all-linear", "rank": 8, "alpha": 1.5, "bias": "lora_only", "dtype": "bfloat16"},
    ],
)
def test_a_fresh_model_loads_the_same_bytes_and_logits(tmp_path: Path, options: dict[str, Any]) -> None:
    model = trained(**options)
    save_adapter(model, tmp_path / "a", {"task_type": "SEQ_CLS"})
    fresh = base_model(dtype=options.get("dtype", "float32"))
    assert load_adapter(fresh, tmp_path / "a")["task_type"] == "SEQ_CLS"
    assert np.array_equal(logits(fresh), logits(model))
    assert {v.path for v in fresh.trainable_variables} == {v.path for v in model.trainable_variables}
    save_adapter(fresh, tmp_path / "b")
    assert (tmp_path / "b" / WEIGHTS_FILE).read_bytes() == (tmp_path / "a" / WEIGHTS_FILE).read_bytes()


def test_keys_and_orientation_are_pefts(saved: Path) -> None:
    tensors = safetensors.numpy.load_file(saved / WEIGHTS_FILE)
    query = f"{PREFIX}transformer_layer_0.self_attention_layer.query"
    assert tensors[f"{query}.lora_A.weight"].shape == (4, 16) == tensors[f"{query}.lora_B.weight"].shape[::-1]
    assert tensors[f"{PREFIX}logits.weight"].shape == (3, 8) and tensors[f"{PREFIX}logits.bias"].shape == (3,)
    assert len(tensors) == 2 * 2 * 2 + 2 * 2
    description = read_description(saved)
    assert (description["peft_type"], description["r"], description["lora_alpha"]) == ("LORA", 4, 6.0)
    assert description["target_modules"][0] == "transformer_layer_0.self_attention_layer.query"
    assert len(description["kerora"]["sha256"]) == 64


def test_a_model_with_lora_takes_another_adapter_of_the_same_settings(saved: Path) -> None:
    model = base_model()
    enable_lora(model, rank=4, alpha=6.0)
    load_adapter(model, saved)
    assert np.array_equal(logits(model), logits(trained()))
    other = base_model()
    enable_lora(other, rank=4, alpha=12.0)
    before = snapshot(other)
    with pytest.raises(AdapterError, match="lora_alpha is 6.0 but the model has 12.0"):
        load_adapter(other, saved)
    assert snapshot(other) == before


def test_float16_tensors_and_a_file_without_checksum_are_taken(copy: Path) -> None:
    rewrite(copy, lambda tensors: tensors.update({key: value.astype("float16") for key, value in tensors.items()}))
    model = base_model()
    load_adapter(model, copy)
    assert {str(variable.dtype) for variable in model.trainable_variables} == {"float32"}
    np.testing.assert_allclose(logits(model), logits(trained()), atol=5e-3)


def test_saving_needs_lora_and_a_folder(plain: keras.Model, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"no LoRA to save. Call kerora.enable_lora"):
        save_adapter(plain, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Cannot write"):
        save_adapter(trained(), tmp_path / "file")


def refused(model: keras.Model, folder: Path) -> str:
    """Load a file. This must fail with one line and leave the model unchanged. Return the line."""
    before = snapshot(model)
    with pytest.raises(AdapterError) as caught:
        load_adapter(model, folder)
    assert snapshot(model) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type must be 'LORA', found 'IA3'"),
        ({"kerora": 3}, "kerora_adapter.json is damaged: expected an object"),
        ({"kerora.format_version": 2}, "kerora.format_version must be 1, found 2"),
        ({"kerora.method": "magic"}, "kerora.method must be lora, full or head, found 'magic'"),
        ({"kerora.parts": {"x": {}}}, "kerora.parts must give each layer's rank and alpha"),
        ({"kerora.modules": ["nose"]}, "module 'nose' is no layer of this model"),
        ({"rank_pattern": {"(": 3}}, "rank_pattern has the pattern '(', which is no regular expression"),
        ({"alpha_pattern": {"query": -1}}, "alpha_pattern must give numbers above 0 by module"),
        ({"use_dora": 1}, "use_dora must be true or false, found 1"),
        ({"use_dora": True}, "missing tensor base_model.model.transformer_layer_0.self_attention_layer.query.lora_mag"),
        ({"lora_bias": True, "use_qalora": True}, "lora_bias=True cannot be carried over; use_qalora=True cannot be"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa' changed the base's weights"),
        ({"r": 0}, "r must be a whole number of 1 or more, found 0"),
        ({"r": 4.0}, "r must be a whole number"),
        ({"r": True}, "r must be a whole number"),
        ({"r": None}, "r must be a whole number of 1 or more, found None"),
        ({"lora_alpha": 0}, "lora_alpha must be a number above 0"),
        ({"lora_alpha": 10**400}, "lora_alpha must be a number above 0"),
        ({"lora_alpha": float("nan")}, "lora_alpha must be a number above 0, found nan"),
        ({"lora_dropout": 1}, "lora_dropout must be at least 0 and below 1"),
        ({"target_modules": []}, "it adapts no layer of this model"),
        ({"target_modules": 3}, "target_modules must be a list"),
        (
            {"target_modules": ["encoder.qery"]},
            "does not fit this model: target 'encoder.qery' is no layer of this model",
        ),
        ({"bias": "some"}, "bias must be 'none', 'lora_only' or 'all', found 'some'"),
        ({"bias": "all"}, "missing tensor base_model.model.embeddings_layer_norm.beta"),
        ({"kerora.sha256": 3}, "kerora.sha256 must be text, found 3"),
        ({"kerora.sha256": "0" * 64}, "is damaged: its content is not what its description was written for"),
        ({"r": 8}, "has shape (4, 16), needs (8, 16)"),
        ({"r": 17}, "Rank 17 exceeds the smaller side"),
        ({"bias": "lora_only"}, "missing tensor"),
        ({"r": "x", "bias": 1}, "r must be a whole number of 1 or more, found 'x'; bias must be"),
    ],
)
def test_description_is_checked(plain: keras.Model, copy: Path, changes: dict[str, Any], message: str) -> None:
    describe(copy, **changes)
    assert message in refused(plain, copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe{}", b"[" * 100_000])
def test_description_that_is_no_object(plain: keras.Model, copy: Path, content: bytes) -> None:
    (copy / CONFIG_FILE).write_bytes(content)
    assert f"{CONFIG_FILE} is damaged" in refused(plain, copy)


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_missing_files(plain: keras.Model, copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert f"Cannot read {copy / name}: No such file or directory" in refused(plain, copy)


def test_every_fault_is_named_in_one_line(plain: keras.Model, copy: Path) -> None:
    def damage(tensors: Tensors) -> None:
        first, second, third, fourth, fifth = sorted(tensors)[:5]
        del tensors[first]
        tensors["surplus"] = np.zeros(2, "float32")
        tensors[second] = np.zeros((3, 5), "float32")
        tensors[third] = tensors[third].astype("float64")
        tensors[fourth] = np.full_like(tensors[fourth], np.nan)
        tensors[fifth].reshape(-1)[0] = np.inf

    names = sorted(safetensors.numpy.load_file(copy / WEIGHTS_FILE))[:5]
    rewrite(copy, damage)
    message = refused(plain, copy)
    assert message.startswith(f"{copy / WEIGHTS_FILE} does not fit this model: ")
    for fault in (
        f"missing tensor {names[0]}",
        "unknown tensor surplus",
        f"{names[1]} has shape (3, 5), needs ",
        f"{names[2]} has dtype float64, needs float32 or float16",
        f"{names[3]} holds values that are not finite",
        f"{names[4]} holds values that are not finite",
    ):
        assert fault in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 4}, "logits.bias has shape (3,), needs (4,)"),
        ({"width": 20}, "needs (4, 20)"),
    ],
)
def test_an_adapter_of_another_model(saved: Path, options: dict[str, Any], message: str) -> None:
    assert message in refused(base_model(**options), saved)


def header(content: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    length = struct.unpack("<Q", content[:8])[0]
    described = json.loads(content[8 : 8 + length])
    change(described)
    text = json.dumps(described).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "one byte": lambda content: content[:1],
    "header cut": lambda content: content[:40],
    "data cut": lambda content: content[:-5],
    "data added": lambda content: content + b"more",
    "header too long for the file": lambda content: struct.pack("<Q", len(content)) + content[8:],
    "header of exabytes": lambda content: struct.pack("<Q", 2**63) + content[8:],
    "all zeros": lambda content: bytes(len(content)),
    "a pickle": lambda content: b"\x80\x04\x95\x00\x00" + content,
    "offsets beyond the end": lambda content: header(
        content, lambda h: h[next(iter(h.keys() - {"__metadata__"}))].update(data_offsets=[0, 10**9])
    ),
    "negative shape": lambda content: header(content, lambda h: h[f"{PREFIX}logits.bias"].update(shape=[-3])),
    "unknown dtype": lambda content: header(content, lambda h: h[f"{PREFIX}logits.bias"].update(dtype="F99")),
    "bfloat16": lambda content: header(content, lambda h: h[f"{PREFIX}logits.bias"].update(dtype="BF16", shape=[6])),
}


@pytest.mark.parametrize("checked", [True, False], ids=["checksum", "no checksum"])
@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_weights(plain: keras.Model, copy: Path, name: str, checked: bool) -> None:
    path = copy / WEIGHTS_FILE
    path.write_bytes(DAMAGES[name](path.read_bytes()))
    if not checked:
        describe(copy, **{"kerora.sha256": None})
    message = refused(plain, copy)
    assert str(path) in message and ("damaged" in message or "does not fit" in message)


def test_any_flipped_byte_of_the_weights_is_noticed(plain: keras.Model, copy: Path) -> None:
    path = copy / WEIGHTS_FILE
    content = path.read_bytes()
    before = snapshot(plain)
    for place in np.random.default_rng(0).integers(0, len(content), 150):
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
        with pytest.raises(AdapterError, match="damaged"):
            load_adapter(plain, copy)
    assert snapshot(plain) == before


def damaged(content: bytes, generator: np.random.Generator) -> bytes:
    """Flip bytes, or delete or cut tensors. Half of the flips are in the header, because it is small."""
    kind = generator.integers(0, 4)
    if kind < 2:
        changed = bytearray(content)
        length = struct.unpack("<Q", content[:8])[0] + 8
        for _ in range(generator.integers(1, 4)):
            changed[generator.integers(0, length if kind else len(content))] = generator.integers(0, 256)
        return bytes(changed)
    tensors = safetensors.numpy.load(content)
    for key in generator.choice(sorted(tensors), generator.integers(1, 4), replace=False):
        value = tensors.pop(str(key))
        if kind == 3:
            tensors[str(key)] = np.ascontiguousarray(value[: len(value) // 2])
    return safetensors.numpy.save(tensors)


def test_500_random_damages_load_equal_or_are_refused_and_nothing_between(saved: Path, copy: Path) -> None:
    """With the checksum all are refused; without, as PEFT writes, what loads is what is in the file, all of it."""
    generator = np.random.default_rng(1)
    model, pristine = base_model(), [layer.get_weights() for layer in base_model().head_layers]
    before, original = snapshot(model), (saved / WEIGHTS_FILE).read_bytes()
    with_checksum = (copy / OWN_FILE).read_bytes()
    describe(copy, **{"kerora.sha256": None})
    without = (copy / OWN_FILE).read_bytes()
    loaded = 0
    for case in range(500):
        content = damaged(original, generator)
        (copy / WEIGHTS_FILE).write_bytes(content)
        (copy / OWN_FILE).write_bytes(with_checksum if case % 5 == 0 else without)
        try:
            load_adapter(model, copy)
        except AdapterError as error:
            assert "\n" not in str(error) and content != original
        else:
            assert case % 5 or content == original
            loaded += 1
            held = safetensors.numpy.load(content)
            entries = adapter_entries(model)
            assert {entry.key for entry in entries} == set(held)
            assert all(np.array_equal(entry.read(), held[entry.key].astype("float32")) for entry in entries)
            remove_lora(model)
            for layer, weights in zip(model.head_layers, pristine, strict=True):
                layer.set_weights(weights)
        assert snapshot(model) == before
    assert 30 < loaded < 300


@pytest.mark.parametrize("name", [CONFIG_FILE, OWN_FILE])
def test_random_damage_of_the_description(plain: keras.Model, saved: Path, copy: Path, name: str) -> None:
    generator = np.random.default_rng(2)
    original = (saved / name).read_bytes()
    for _ in range(50):
        content = bytearray(original)
        content[generator.integers(0, len(content))] = generator.integers(32, 127)
        (copy / name).write_bytes(content)
        try:
            load_adapter(plain, copy)
        except AdapterError as error:
            assert "\n" not in str(error)
        if lora_layers(plain):
            remove_lora(plain)


def test_an_adapter_of_an_earlier_version_has_the_own_keys_in_the_description(copy: Path, saved: Path) -> None:
    """Before kerora_adapter.json, adapter_config.json held them under the key kerora."""
    assert "kerora" not in json.loads((saved / CONFIG_FILE).read_text())
    description = read_description(copy)
    (copy / CONFIG_FILE).write_text(json.dumps(description))
    (copy / OWN_FILE).unlink()
    assert load_adapter(base_model(), copy) == description


def as_old_file(tensors: Mapping[str, np.ndarray], folder: Path, change: Callable[[str], str]) -> None:
    """Write tensors as PEFT before 0.6 did, in a torch file, and without the file of Kerora."""
    torch.save({change(key): torch.from_numpy(value) for key, value in tensors.items()}, folder / "adapter_model.bin")
    (folder / WEIGHTS_FILE).unlink(missing_ok=True)
    (folder / OWN_FILE).unlink(missing_ok=True)


@pytest.mark.parametrize(
    "change",
    [
        str,
        lambda key: key.replace("lora_A.", "lora_A.mine.").replace("lora_B.", "lora_B.mine."),
        lambda key: key.removeprefix(PREFIX),
    ],
)
def test_names_and_files_of_older_versions_of_peft(saved: Path, tmp_path: Path, change: Callable[[str], str]) -> None:
    tensors = safetensors.numpy.load_file(saved / WEIGHTS_FILE)
    as_old_file(tensors, tmp_path, change)
    found = read_tensors(tmp_path / WEIGHTS_FILE, None)
    assert found.keys() == tensors.keys() and all(np.array_equal(found[key], tensors[key]) for key in found)


def test_a_module_saved_in_full_with_its_first_weights(tmp_path: Path) -> None:
    one, two = np.ones((2, 3), "float32"), np.zeros((2, 3), "float32")
    keys = {
        f"{PREFIX}classifier.original_module.weight": two,
        f"{PREFIX}classifier.modules_to_save.default.weight": one,
        f"{PREFIX}encoder.q.lora_A.default.weight": two,
    }
    as_old_file(keys, tmp_path, str)
    found = read_tensors(tmp_path / WEIGHTS_FILE, None)
    assert np.array_equal(found[f"{PREFIX}classifier.weight"], one) and f"{PREFIX}encoder.q.lora_A.weight" in found


def test_bfloat16_is_read_and_two_adapters_in_one_file_stay_apart(tmp_path: Path) -> None:
    value = torch.tensor([[0.5, -3.0]], dtype=torch.bfloat16)
    safetensors.torch.save_file({f"{PREFIX}q.lora_A.weight": value}, tmp_path / WEIGHTS_FILE)
    found = read_tensors(tmp_path / WEIGHTS_FILE, None)[f"{PREFIX}q.lora_A.weight"]
    assert found.dtype == np.float32 and found.tolist() == [[0.5, -3.0]]
    keys = {f"{PREFIX}q.lora_A.{name}.weight": np.ones((1, 1), "float32") for name in ("one", "two")}
    as_old_file(keys, tmp_path, str)
    assert set(read_tensors(tmp_path / WEIGHTS_FILE, None)) == set(keys)


class Trap:
    """An object whose unpickling would run code."""

    def __reduce__(self) -> Any:
        return (Path("/tmp/never").touch, ())


@pytest.mark.parametrize("content", [{"a": Trap()}, [1], {"a": 3}])
def test_a_torch_file_with_more_than_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"adapter_model\.bin (holds more than tensors|is damaged: it holds no)"):
        read_tensors(tmp_path / WEIGHTS_FILE, None)
    (tmp_path / "adapter_model.bin").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(AdapterError, match="is damaged"):
        read_tensors(tmp_path / WEIGHTS_FILE, None)
