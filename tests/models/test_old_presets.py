"""Presets as KerasNLP and older KerasHub versions wrote them load as today's KerasHub loads them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.cli import main
from kerora.errors import PresetError
from kerora.models import catalogue
from kerora.models.causal_lm import CausalLM
from kerora.models.classifier import TextClassifier
from kerora.models.presets import Preset, find_preset
from tests.old_presets import TEXTS, folders, inputs, unpack, work_on, writers, written
from tests.training.test_fit import write_rows

keras_hub = import_keras_hub()

NARROW = ("gpt2_bfloat16", "gpt2_float16", "gpt2_mixed_bfloat16")
"""The writer computed with 8 or 11 bits; Kerora computes with 24 from the same weights."""
REFUSED = ("bert_whole_task", "gpt2_int8")
PRESETS = [
    (writer, folder)
    for writer in writers()
    for folder in folders(writer)
    if folder not in REFUSED and writer != "keras_nlp-0.6.4"
]
NEWEST = "keras_hub-0.25.1"


def quick_or_slow(writer: str, folder: str) -> Any:
    """Leave two kinds of every writer and every folder of the newest to the quick tests; layouts go by writer."""
    quick = folder in ("distil_bert", "gpt2") or writer == NEWEST
    return pytest.param(writer, folder, marks=() if quick else pytest.mark.slow)


def arrays_of(output: Any) -> dict[str, np.ndarray]:
    named = output if isinstance(output, dict) else {"output": output}
    return {name: np.asarray(keras.ops.convert_to_numpy(value), np.float32) for name, value in named.items()}


def assert_close(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], mask: np.ndarray, within: float) -> None:
    """Compare the outputs at tokens. The outputs at padding do not matter."""
    assert ours.keys() <= theirs.keys()
    for name, value in ours.items():
        places = mask.astype(bool) if value.ndim == 3 else slice(None)
        assert np.abs(theirs[name][places]).max() > 0.1
        np.testing.assert_allclose(value[places], theirs[name][places], rtol=0, atol=within, err_msg=name)


def kerashub(folder: Path, preset: Preset) -> tuple[Any, Any]:
    """Load with today's KerasHub: backbone, and task or None."""
    with without_tensorflow():
        if not (folder / "task.json").is_file():
            return keras_hub.models.Backbone.from_preset(str(folder), dtype="float32"), None
        name = "CausalLM" if preset.architecture.is_decoder else "TextClassifier"
        task = getattr(keras_hub.models, name).from_preset(str(folder), preprocessor=None)
        return task.backbone, task


@pytest.mark.parametrize(("writer", "folder"), [quick_or_slow(*preset) for preset in PRESETS])
def test_outputs_and_tokens(writer: str, folder: str, tmp_path: Path) -> None:
    directory = unpack(writer, folder, tmp_path)
    arrays = written(directory)
    x, mask = inputs(arrays), arrays["padding_mask"]
    preset = find_preset(str(directory))
    backbone, task = kerashub(directory, preset)
    # Qwen 3's inner norms have the model's epsilon here, 1e-6, as transformers has it; KerasHub fixes 1e-5
    within = 1e-4 if preset.kind == "qwen3" else 1e-5
    model: Any = None
    if preset.class_names is not None:
        model = TextClassifier.from_preset(preset)
        logits = arrays_of(model(x, training=False))["output"]
        assert preset.class_names == ("0", "1", "2")
    elif preset.architecture.is_decoder:
        model = CausalLM.from_preset(preset)
        logits = arrays_of(model.logits(x))["output"]
    ours = arrays_of((preset.load_backbone() if model is None else model.backbone)(x, training=False))
    assert_close(ours, arrays_of(backbone(x, training=False)), mask, within)
    if not folder.endswith("_lora"):  # whose outputs are those with LoRA
        assert_close(ours, arrays, mask, 0.05 if folder in NARROW else within)
    if task is not None:
        assert_close({"output": logits}, arrays_of(task(x, training=False)), mask, within)
        assert_close({"output": logits}, {"output": arrays["logits"]}, mask, within)
    assert preset.load_tokenizer().plain_ids(TEXTS) == [arrays[f"text_{n}"].tolist() for n in range(len(TEXTS))]


def test_every_kind_has_an_old_writer() -> None:
    kinds = {folder for _, folder in PRESETS if "_" not in folder or folder in catalogue.ARCHITECTURES}
    assert kinds == set(catalogue.ARCHITECTURES)
    assert len({writer for writer, _ in PRESETS}) >= 6


@pytest.mark.parametrize("folder", ["bert", "gpt2"])
def test_the_contents_of_a_keras_2_model(folder: str, tmp_path: Path) -> None:
    """KerasNLP 0.6 saved no presets; an unpacked `.keras` file has such files, in a layout of Keras 2."""
    preset = find_preset(str(unpack("keras_nlp-0.6.4", folder, tmp_path)))
    with pytest.raises(PresetError, match=r"written by Keras 2\.13\.1, cannot be loaded: ") as caught:
        preset.load_backbone()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("writer", [writer for writer in writers() if "bert_whole_task" in folders(writer)])
def test_a_whole_task_in_place_of_a_backbone(writer: str, tmp_path: Path) -> None:
    directory = unpack(writer, "bert_whole_task", tmp_path)
    with pytest.raises(PresetError, match=r"holds a whole BertClassifier in the format of KerasNLP") as caught:
        find_preset(str(directory))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="not a subclass"), without_tensorflow():
        keras_hub.models.Backbone.from_preset(str(directory))


@pytest.mark.parametrize("writer", [writer for writer in writers() if "gpt2_int8" in folders(writer)])
def test_quantized_weights(writer: str, tmp_path: Path) -> None:
    with pytest.raises(PresetError, match=r"the weights are quantized .* --quantize quantizes it again") as caught:
        find_preset(str(unpack(writer, "gpt2_int8", tmp_path))).load_backbone()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("policy", ["int8_from_float32", {"class_name": "X", "config": {"mode": "int4"}}])
def test_a_quantized_policy(policy: Any, tmp_path: Path) -> None:
    directory = unpack("keras_hub-0.25.1", "gpt2", tmp_path)
    config = json.loads((directory / "config.json").read_text())
    config["config"]["dtype"] = policy
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(PresetError, match=r"config\.json: the weights are quantized \(int[48]\)"):
        find_preset(str(directory))


@pytest.mark.parametrize("lost", ["model.weights.json", "model_00000.weights.h5"])
def test_weights_in_several_files(lost: str, tmp_path: Path) -> None:
    directory = unpack("keras_hub-0.25.1", "gpt2_shards", tmp_path)
    preset = find_preset(str(directory))
    assert len(list(directory.glob("model_*.weights.h5"))) > 1
    before = preset.fingerprint
    (directory / lost).write_bytes(b"{}")
    assert find_preset(str(directory)).fingerprint != before
    with pytest.raises(PresetError, match="cannot be loaded"):
        preset.load_backbone()


LORA = [writer for writer in writers() if "gpt2_lora" in folders(writer)]


@pytest.mark.parametrize("writer", LORA)
def test_keras_own_lora(writer: str, tmp_path: Path) -> None:
    directory = unpack(writer, "gpt2_lora", tmp_path)
    arrays = written(directory)
    x, mask = inputs(arrays), arrays["padding_mask"]
    preset = find_preset(str(directory / "adapter.lora.h5"))
    base = find_preset(str(directory))
    assert (preset.name, preset.kind) == ("adapter", "gpt2")
    assert preset.fingerprint != base.fingerprint
    ours = arrays_of(preset.load_backbone()(x, training=False))
    assert_close(ours, arrays, mask, 1e-5)
    with without_tensorflow():
        theirs = keras_hub.models.Backbone.from_preset(str(directory))
        theirs.load_lora_weights(str(directory / "adapter.lora.h5"))
    assert_close(ours, arrays_of(theirs(x, training=False)), mask, 1e-5)
    assert np.abs(ours["output"] - arrays_of(base.load_backbone()(x))["output"]).max() > 0.1
    assert preset.notes() == [] and len(base.notes()) == 1
    assert base.notes()[0].startswith(f"Note: {directory / 'adapter.lora.h5'} is a LoRA file of Keras and is not")


def test_lora_files_that_do_not_fit(tmp_path: Path) -> None:
    directory = unpack(LORA[-1], "gpt2_lora", tmp_path)
    bert = unpack(LORA[-1], "electra", tmp_path)
    shutil.copy(directory / "adapter.lora.h5", bert / "other.lora.h5")
    (directory / "bad.lora.h5").write_bytes(b"nothing")
    for path, message in ((bert / "other.lora.h5", "does not fit"), (directory / "bad.lora.h5", "cannot be read as")):
        with pytest.raises(PresetError, match=message) as caught:
            find_preset(str(path)).load_backbone()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("writer", "folder", "head"),
    [("keras_nlp-0.12.1", "distil_bert", "0,1,2"), ("keras_nlp-0.8.2", "bert", ""), ("keras_hub-0.17.0", "gpt2", "")],
)
def test_fit_on_an_old_classifier_or_backbone(writer: str, folder: str, head: str, tmp_path: Path) -> None:
    preset = unpack(writer, folder, tmp_path)
    rows = write_rows(tmp_path / "rows.jsonl", rows=24)
    if head:  # the class names of the preset, so that its head is used
        lines = [json.loads(line) for line in rows.read_text().splitlines()]
        text = "".join(json.dumps({**line, "label": str(n % 3)}) + "\n" for n, line in enumerate(lines))
        rows.write_text(text)
    assert work_on(main.run, preset, rows, tmp_path / "run") == 0
    assert main.run(["report", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(("writer", "folder"), [("keras_nlp-0.12.1", "llama3"), ("keras_nlp-0.7.0", "gpt2")])
def test_fit_on_an_old_language_model(writer: str, folder: str, tmp_path: Path) -> None:
    preset = unpack(writer, folder, tmp_path)
    text = tmp_path / "book.txt"
    text.write_text("\n\n".join(TEXTS * 8))
    more = ("--task", "causal-lm", "--sample-tokens", "2")
    assert work_on(main.run, preset, text, tmp_path / "run", *more) == 0
    assert main.run(["report", str(tmp_path / "run")]) == 0


def test_the_bundled_preset_under_the_old_name(tmp_path: Path) -> None:
    directory = Path(shutil.copytree(catalogue.BUNDLED / "kerora_mini_en", tmp_path / "copy"))
    for name in ("config.json", "tokenizer.json"):
        path = directory / name
        path.write_text(path.read_text().replace("keras_hub", "keras_nlp"))
    ours, renamed = find_preset("kerora_mini_en"), find_preset(str(directory))
    x = {"token_ids": np.arange(200, 212)[None], "padding_mask": np.ones((1, 12), "int32")}
    first, second = (arrays_of(preset.load_backbone()(x))["output"] for preset in (ours, renamed))
    np.testing.assert_array_equal(first, second)
    assert ours.load_tokenizer().definition == renamed.load_tokenizer().definition


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"registered_name": "keras_hub>Qwen2Tokenizer", "class_name": "Qwen2Tokenizer"}, True),
        ({"registered_name": "keras_hub>BartTokenizer", "class_name": "BartTokenizer"}, False),
        ({"registered_name": "keras_hub>MistralTekkenTokenizer"}, False),
    ],
)
def test_other_names_of_a_tokenizer(change: dict[str, str], same: bool, tmp_path: Path) -> None:
    directory = unpack("keras_hub-0.25.1", "qwen", tmp_path)
    before = find_preset(str(directory)).load_tokenizer().definition
    path = directory / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    load: Callable[[], Any] = find_preset(str(directory)).load_tokenizer
    if same:
        assert load().definition == before
    else:
        with pytest.raises(PresetError, match=r"tokenizer\.json: the tokenizer '\w+' is not supported"):
            load()


def test_settings_of_a_tokenizer(tmp_path: Path) -> None:
    directory = unpack("keras_nlp-0.12.1", "roberta", tmp_path)
    path = directory / "tokenizer.json"
    config = json.loads(path.read_text())
    config["config"]["add_prefix_space"] = True
    path.write_text(json.dumps(config))
    with_space, without = find_preset(str(directory)).load_tokenizer().plain_ids(["the", " the"])
    assert with_space == without


def test_settings_of_word_pieces(tmp_path: Path) -> None:
    directory = unpack("keras_nlp-0.12.1", "bert", tmp_path)
    before = find_preset(str(directory)).load_tokenizer().plain_ids(TEXTS)
    path, vocabulary = directory / "tokenizer.json", directory / "assets" / "tokenizer" / "vocabulary.txt"
    config = json.loads(path.read_text())
    config["config"] |= {"suffix_indicator": "@@", "oov_token": "<oov>"}
    path.write_text(json.dumps(config))
    vocabulary.write_text(vocabulary.read_text().replace("##", "@@").replace("[UNK]", "<oov>"))
    assert find_preset(str(directory)).load_tokenizer().plain_ids(TEXTS) == before


def test_the_fingerprint_covers_what_is_read(tmp_path: Path) -> None:
    directory = unpack("keras_nlp-0.12.1", "electra", tmp_path)
    seen = {find_preset(str(directory)).fingerprint}
    for name in ("labels.json", "head.keras", "kerora.json", "task.json", "task.weights.h5"):
        (directory / name).write_text('{"classes": ["a", "b"]}')
        seen.add(find_preset(str(directory)).fingerprint)
    assert len(seen) == 6
