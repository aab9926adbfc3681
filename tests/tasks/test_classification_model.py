"""Classifiers of runs: their class names on disk, fresh copies, and the head beside a plain KerasHub preset."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from kerora.data.classes import ClassLabels
from kerora.errors import AdapterError, RunError
from kerora.models.classifier import TextClassifier
from kerora.models.presets import find_preset
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig
from kerora.tasks.classification import model
from kerora.tasks.whole_text import keras_head
from tests.tiny import WORDS

CLASSES = ("bad", "fair", "good")


@pytest.fixture(scope="module")
def classifier(tiny_preset: Path) -> TextClassifier:
    found = TextClassifier.from_preset(str(tiny_preset), CLASSES, max_length=16, seed=1)
    generator = np.random.default_rng(0)
    for layer in found.head_layers:
        layer.kernel.assign(generator.normal(0, 0.3, layer.kernel.shape))
        layer.bias.assign(generator.normal(0, 0.3, layer.bias.shape))
    return found


def run_with(folder: Path, labels: Any, config: dict[str, Any] | None = None) -> RunFolder:
    run = RunFolder(folder)
    run.adapter.mkdir()
    run.adapter_weights.write_bytes(b"weights")
    plain = {"peft_type": "LORA", "r": 2, "target_modules": ["query"]}
    run.adapter_config.write_text(json.dumps({**plain, **(config or {})}))
    run.labels.write_text(json.dumps({"classes": labels}))
    return run


def test_class_names_are_read_as_they_were_written(classifier: TextClassifier, tmp_path: Path) -> None:
    run = run_with(tmp_path, None)
    model.write_head(run, classifier)
    assert model.read_head(run) == ClassLabels(CLASSES)
    odd = ["=cmd", "\u202eevil\x1b", "a\nb", "👩‍👩‍👧"]
    run.labels.write_text(json.dumps({"classes": odd}))
    assert model.read_head(run) == ClassLabels(tuple(odd))


def test_original_labels_are_kept(tiny_preset: Path, tmp_path: Path) -> None:
    run, labels = run_with(tmp_path, None), ClassLabels(CLASSES, ("0", "2", "4"))
    model.write_head(run, model.of_run(FitConfig(), find_preset(str(tiny_preset)), labels, "float32"))
    assert json.loads(run.labels.read_text()) == {"classes": list(CLASSES), "values": ["0", "2", "4"]}
    assert model.read_head(run) == labels
    for values in (["0", "2"], ["0", "0", "4"], [0, 2, 4], None):
        run.labels.write_text(json.dumps({"classes": CLASSES, "values": values}))
        with pytest.raises(RunError, match="'values' must be a list of 3 different labels"):
            model.read_head(run)


@pytest.mark.parametrize("labels", [None, [], ["one"], "two words", ["a", 1], {"a": 0, "b": 1}, 7])
def test_damaged_class_names_are_told(labels: Any, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        model.read_head(run_with(tmp_path, labels))
    assert str(caught.value) == (
        f"{tmp_path}/adapter/labels.json is damaged: 'classes' must be a list of two or more names. "
        f"Received: {labels!r}"
    )


def test_names_of_another_adapter_and_missing_files_are_told(tmp_path: Path) -> None:
    own = {"format_version": 1, "classes": ["a", "b"]}
    run = run_with(tmp_path, ["b", "a"], {"kerora": own})
    with pytest.raises(RunError, match=r"labels\.json does not name the classes that the adapter was trained on\. Res"):
        model.read_head(run)
    run.adapter_config.unlink()
    with pytest.raises(AdapterError, match=r"adapter_config\.json"):
        model.read_head(run)
    run.adapter_weights.unlink()
    run.manifest.write_text('{"state": "stopped"}')
    with pytest.raises(RunError, match=r"holds no adapter \(state: stopped\)\. Finish it with: kerora fit --resume"):
        model.read_head(run)


def test_a_plain_copy_has_the_base_and_a_fresh_head(classifier: TextClassifier) -> None:
    copy, again = (model.plain_copy(classifier, seed=5) for _ in range(2))
    assert copy.classes == CLASSES and copy.max_length == 16
    for mine, its in zip(classifier.backbone.weights, copy.backbone.weights, strict=True):
        assert np.array_equal(mine.numpy(), its.numpy())
    for mine, its, other in zip(classifier.head_layers, copy.head_layers, again.head_layers, strict=True):
        assert not np.array_equal(mine.kernel.numpy(), its.kernel.numpy())
        assert np.array_equal(its.kernel.numpy(), other.kernel.numpy()), "the seed decides"
        assert not its.bias.numpy().any()
    assert model.shape(copy) == "the classes bad, fair, good"


def logits_by_hand(classifier: TextClassifier, states: np.ndarray) -> np.ndarray:
    """Compute DistilBERT's head in float64: relu of the first token's features, then the classes."""
    pooled, logits = classifier.head_layers
    weights = [np.asarray(value.numpy(), np.float64) for layer in (pooled, logits) for value in layer.weights]
    first = np.maximum(np.asarray(states, np.float64)[:, 0] @ weights[0] + weights[1], 0)
    return first @ weights[2] + weights[3]


def test_a_plain_head_computes_what_the_classifier_does(classifier: TextClassifier, tmp_path: Path) -> None:
    keras_head.write(classifier, tmp_path)
    head = keras.saving.load_model(tmp_path / keras_head.HEAD_FILE)
    states = np.random.default_rng(1).normal(size=(5, 7, 32)).astype(np.float32)
    with torch.no_grad():
        found = head([states, np.ones((5, 7), np.int32)], training=False).numpy()
    np.testing.assert_allclose(found, logits_by_hand(classifier, states), atol=1e-5)
    assert [layer.name for layer in head.layers if layer.weights] == ["pooled_dense", "logits"]


def test_preset_and_head_load_together(classifier: TextClassifier, tmp_path: Path) -> None:
    keras_head.write(classifier, tmp_path)
    for path in classifier.preset.directory.rglob("*"):
        target = tmp_path / path.relative_to(classifier.preset.directory)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        elif not target.exists():
            target.write_bytes(path.read_bytes())
    texts = [" ".join(WORDS[start : start + 4]) for start in range(3)] + [" ".join(WORDS[:60]), ""]
    inputs = keras_head.plain_inputs(tmp_path, texts, classifier)
    own = classifier.encode(texts)
    for name, value in own.items():
        np.testing.assert_array_equal(inputs[name], value, err_msg=name)
    with torch.no_grad():
        found = keras_head.load(tmp_path)(inputs).numpy()
        np.testing.assert_allclose(found, classifier(own, training=False).numpy(), atol=1e-5)


def test_the_lines_that_load_the_head_are_python_with_the_special_ids(classifier: TextClassifier) -> None:
    front, back = keras_head.special_ids(classifier)
    assert (front, back) == ([2], [3]), "[CLS] and [SEP]"
    lines = keras_head.loading(classifier)
    compile(lines, "card", "exec")
    assert 'ops.array([[2, *keras_hub.models.Tokenizer.from_preset("DIR")("a text")[:14], 3]], "int32")' in lines
    assert '{"token_ids": ids, "padding_mask": ids * 0 + 1}' in lines
