"""Models saved as Keras does are the same models, bit for bit, or are refused in one line."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerora.errors import AdapterError, ConfigError, PresetError
from kerora.lora.inject import remove_lora
from kerora.lora.quantize import quantize
from kerora.models.causal_lm import CausalLM
from kerora.models.classifier import TextClassifier
from tests.tiny import tiny_huggingface, tiny_keras_preset

TEXTS, LABELS = ["a great film", "a boring story", "fine"] * 2, [1, 0, 1] * 2


def trained(preset: Path, rank: int = 4, mode: str | None = None, **options: Any) -> TextClassifier:
    model = TextClassifier.from_preset(str(preset), ["bad", "good"])
    if mode:
        quantize(model, mode)
    if rank:
        model.enable_lora(rank, **options)
    model.compile()
    model.fit(TEXTS, LABELS, verbose=0)
    return model


def logits(model: TextClassifier) -> np.ndarray:
    outputs: np.ndarray = model.predict(TEXTS, verbose=0)
    return outputs


@pytest.mark.parametrize(
    "options",
    [{}, {"use_dora": True}, {"init": "pissa"}, {"bias": "all"}, {"mode": "int8"}, {"rank": 0}],
    ids=str,
)
def test_files_give_the_same_model(tiny_preset: Path, tmp_path: Path, options: Any) -> None:
    model = trained(tiny_preset, **options)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is TextClassifier and loaded.classes == ("bad", "good")
    assert np.array_equal(logits(loaded), logits(model))
    assert [v.path for v in loaded.trainable_weights] == [v.path for v in model.trainable_weights]
    for one, other in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        assert np.array_equal(one.numpy(), other.numpy()), "training goes on where it was"
    model.save_weights(tmp_path / "model.weights.h5")
    other = trained(tiny_preset, **options)
    other.load_weights(tmp_path / "model.weights.h5")
    assert np.array_equal(logits(other), logits(model))


def test_a_small_file_needs_its_base_and_a_whole_file_holds_it(tmp_path: Path) -> None:
    preset = tiny_keras_preset("bert", tmp_path / "preset")
    model = trained(preset)
    expected = logits(model)
    model.save(tmp_path / "small.keras")
    model.save(tmp_path / "whole.keras", include_base=True)
    assert os.path.getsize(tmp_path / "small.keras") < os.path.getsize(preset / "model.weights.h5")
    with open(preset / "assets" / "tokenizer" / "vocabulary.txt", "a", encoding="utf-8") as file:
        file.write("\n")
    with pytest.raises(PresetError, match="was saved on a base with fingerprint"):
        keras.saving.load_model(tmp_path / "small.keras")
    assert np.array_equal(logits(keras.saving.load_model(tmp_path / "whole.keras")), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fingerprint": "../../../escaped"}, "is no sha256"),
        ({"fingerprint": "/tmp/escaped"}, "is no sha256"),
        ({"fingerprint": "0" * 64}, "is damaged: it has another fingerprint"),
        ({"files": {"../../escaped": "aGk="}}, "names a file outside of its base: '../../escaped'"),
        ({"files": {"/escaped": "aGk="}}, "names a file outside of its base: '/escaped'"),
        ({"files": {"config.json": "no base64"}}, "is damaged: 'config.json'"),
    ],
)
def test_a_base_from_others_stays_in_its_place(
    tiny_preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, message: str
) -> None:
    monkeypatch.setenv("KERORA_CACHE", str(tmp_path / "cache"))
    model = TextClassifier.from_preset(str(tiny_preset), 2)
    model.__dict__["_include_base"] = True
    config = model.get_config()
    with pytest.raises(PresetError, match=message):
        TextClassifier.from_config({**config, "preset": {**config["preset"], **change}})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    # a spoilt folder of the base is replaced
    folder = tmp_path / "cache" / "bases" / config["preset"]["fingerprint"][:32]
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert TextClassifier.from_config(config).preset.fingerprint == config["preset"]["fingerprint"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_load_model_needs_only_the_import_of_kerora(tiny_preset: Path, tmp_path: Path) -> None:
    model = trained(tiny_preset)
    model.save(tmp_path / "model.keras")
    code = "import kerora, keras, sys; print(type(keras.saving.load_model(sys.argv[1])).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.keras")], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "TextClassifier", done.stderr


def test_copies(tiny_preset: Path) -> None:
    model = trained(tiny_preset)
    assert np.array_equal(logits(copy.deepcopy(model)), logits(model))
    config = json.loads(json.dumps(model.get_config()))
    rebuilt = TextClassifier.from_config(config)
    assert rebuilt.get_config() == model.get_config()


def test_weights_that_do_not_fit_are_refused_in_one_line(tiny_preset: Path, tmp_path: Path) -> None:
    lora, plain = tmp_path / "lora.weights.h5", tmp_path / "plain.weights.h5"
    model = trained(tiny_preset)
    model.save_weights(lora)
    trained(tiny_preset, rank=0).save_weights(plain)
    fresh = TextClassifier.from_preset(str(tiny_preset), ["bad", "good"])
    with pytest.raises(AdapterError, match=r'holds LoRA.*model.enable_lora\(4, alpha=16, targets="query,value"\)'):
        fresh.load_weights(lora)
    before = logits(model)
    with pytest.raises(AdapterError, match=r"holds no LoRA weights, .* kerora.remove_lora\(model\) before loading"):
        model.load_weights(plain)
    assert np.array_equal(logits(model), before), "nothing was set"
    fresh.enable_lora(8)
    with pytest.raises(AdapterError, match="rank=4 .* rank=8"):
        fresh.load_weights(lora)
    remove_lora(fresh)
    fresh.enable_lora(4, targets="query")
    with pytest.raises(AdapterError, match="adapts other layers"):
        fresh.load_weights(lora)
    named = TextClassifier.from_preset(str(tiny_preset), ["no", "yes"])
    with pytest.raises(AdapterError, match="classes bad, good, but this model has no, yes"):
        named.load_weights(lora)


def test_a_changed_base_is_in_the_file_and_is_not_overlooked(tiny_preset: Path, tmp_path: Path) -> None:
    model = trained(tiny_preset, rank=0)  # all weights trained
    model.enable_lora(4)  # and frozen now
    model.compile()
    model.save_weights(tmp_path / "changed.weights.h5")
    fresh = TextClassifier.from_preset(str(tiny_preset), ["bad", "good"])
    fresh.enable_lora(4)
    fresh.save_weights(tmp_path / "fresh.weights.h5")
    with pytest.raises(AdapterError, match="is not in it, and was changed in this model"):
        model.load_weights(tmp_path / "fresh.weights.h5")
    fresh.load_weights(tmp_path / "changed.weights.h5")
    assert np.array_equal(logits(fresh), logits(model))


def test_merged_models_and_export_name_the_way(tiny_preset: Path, tmp_path: Path) -> None:
    model = trained(tiny_preset)
    model.merge()
    with pytest.raises(ConfigError, match=r"merged. Call model.unmerge\(\)"):
        model.save(tmp_path / "model.keras")
    for name in ("x.h5", "x"):
        with pytest.raises(ConfigError, match=rf"model.save writes .keras files\. Received: '{name}'"):
            model.save(name)
    with pytest.raises(ConfigError, match=r"kerora.save_run\(model, 'runs/mine'\)"):
        model.export(tmp_path / "model.onnx", format="onnx")


def test_language_models_learn_texts_and_are_saved(tmp_path: Path) -> None:
    model = CausalLM.from_preset(str(tiny_huggingface("gpt2", tmp_path / "gpt2")), max_length=16)
    model.enable_lora(4)
    model.compile()
    assert set(model.fit(TEXTS, validation_split=0.5, verbose=0).history) >= {"loss", "perplexity", "val_loss"}
    model.save(tmp_path / "model.keras")
    inputs = model.encode(TEXTS)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(loaded.logits(inputs).numpy(), model.logits(inputs).numpy())
    with pytest.raises(ConfigError, match="learns the texts themselves, without labels"):
        model.fit(TEXTS, LABELS, verbose=0)
    with pytest.raises(ConfigError, match="returns hidden states"):
        model.predict(TEXTS)
    with pytest.raises(ConfigError, match="computes its loss .* Leave loss= out of compile"):
        model.compile(loss="mse")
