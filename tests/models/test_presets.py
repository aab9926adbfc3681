"""Presets are found by every kind of name, and what cannot be used is one line."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.errors import PresetError
from kerora.models import catalogue
from kerora.models.presets import find_preset
from tests.tiny import tiny_huggingface, tiny_keras_preset

keras_hub = import_keras_hub()
Folder = Callable[..., Path]


def test_a_keras_preset_folder(tiny_preset: Path) -> None:
    preset = find_preset(str(tiny_preset))
    assert (preset.name, preset.spec) == (tiny_preset.name, str(tiny_preset))
    assert (preset.kind, preset.source, preset.class_names) == ("distil_bert", "keras", None)
    backbone = preset.load_backbone()
    with without_tensorflow():
        theirs = keras_hub.models.Backbone.from_preset(str(tiny_preset))
    for mine, wanted in zip(backbone.weights, theirs.weights, strict=False):
        assert np.array_equal(np.array(mine), np.array(wanted))
    assert backbone.dropout == 0.0
    assert preset.load_backbone(dropout=0.2).dropout == 0.2


def test_a_relative_path_and_a_home_path(tiny_preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_preset.parent)
    monkeypatch.setenv("HOME", str(tiny_preset.parent))
    for spec in (tiny_preset.name, f"./{tiny_preset.name}", f"~/{tiny_preset.name}", f"{tiny_preset.name}/"):
        assert find_preset(spec).name == tiny_preset.name


def test_a_name_wins_over_a_folder_of_that_name(
    tiny_preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_preset, tmp_path / "bundled" / "bert_base_en")
    monkeypatch.setattr(catalogue, "BUNDLED", tmp_path / "bundled")
    shutil.copytree(tiny_preset, tmp_path / "work" / "bert_base_en")
    monkeypatch.chdir(tmp_path / "work")
    assert find_preset("bert_base_en").directory == tmp_path / "bundled" / "bert_base_en"
    assert find_preset("./bert_base_en").directory.resolve() == tmp_path / "work" / "bert_base_en"


def test_bundled_presets(tiny_preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tiny_preset, tmp_path / "little_one")
    (tmp_path / "__pycache__").mkdir()
    monkeypatch.setattr(catalogue, "BUNDLED", tmp_path)
    assert catalogue.bundled_names() == ["little_one"]
    preset = find_preset("little_one")
    assert (preset.name, preset.directory) == ("little_one", tmp_path / "little_one")
    first = catalogue.list_presets()[0]
    parameters = preset.load_backbone().count_params()
    assert (first.name, first.kind, first.source, first.parameters) == (
        "little_one",
        "distil_bert",
        "bundled",
        parameters,
    )
    assert "little_one" in catalogue.offline_names()


def test_keras_hub_presets_are_listed_under_their_own_kind() -> None:
    infos = {info.name: info for info in catalogue.list_presets()}
    assert infos["distil_bert_base_en_uncased"].kind == "distil_bert"
    assert infos["roberta_base_en"].kind == "roberta"
    assert infos["xlm_roberta_base_multi"].kind == "xlm_roberta"
    assert infos["deberta_v3_base_en"].parameters == 183_831_552
    assert infos["gpt2_base_en"].kind == "gpt2"
    for name, entry in catalogue.registered().items():
        assert entry.handle.startswith("kaggle://"), name
        assert entry.handle.rpartition("/")[2].isdecimal(), f"{name} needs a version, or it is never found offline"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "distilbert_base_en_uncased",
            "Unknown preset 'distilbert_base_en_uncased'. Did you mean 'distil_bert_base_en",
        ),
        ("t5_small_multi", "Unknown preset 't5_small_multi'"),
        ("", "Unknown preset ''"),
        ("someone/model", "no preset folder 'someone/model'. For the Hugging Face hub write hf://someone/model"),
        ("/no/such/folder", "no preset folder '/no/such/folder'. `kerora presets`"),
        ("./nothing", "no preset folder './nothing'"),
        ("a\0b", "Unknown preset"),
    ],
)
def test_unknown_names(spec: str, message: str) -> None:
    with pytest.raises(PresetError) as caught:
        find_preset(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_that_are_no_preset(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match=r"holds no config\.json"):
        find_preset(str(tmp_path))
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(PresetError, match="is a run folder, not a pre-trained model"):
        find_preset(str(tmp_path))
    (tmp_path / "run.json").unlink()
    config = tmp_path / "config.json"
    with pytest.raises(PresetError, match="is a file, not a folder"):
        config.write_text("{")
        find_preset(str(config))
    with pytest.raises(PresetError, match="is not valid JSON"):
        find_preset(str(tmp_path))
    config.write_text("[1]")
    with pytest.raises(PresetError, match="must hold a JSON object. Received: list"):
        find_preset(str(tmp_path))
    config.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PresetError, match="is not valid JSON"):
        find_preset(str(tmp_path))


def test_a_keras_preset_of_another_kind(tiny_preset: Path, tmp_path: Path) -> None:
    config = json.loads((tiny_preset / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps({**config, "class_name": "OPTBackbone", "registered_name": "keras_nlp>OPTBackbone"})
    )
    with pytest.raises(PresetError, match="'OPTBackbone' .* is not supported. Supported are DistilBERT"):
        find_preset(str(tmp_path))
    hostile = {**config, "registered_name": "os>system", "module": "os"}
    (tmp_path / "config.json").write_text(json.dumps(hostile))
    with pytest.raises(PresetError, match="is not supported"):
        find_preset(str(tmp_path))


def test_damaged_keras_weights(tiny_preset: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(tiny_preset, tmp_path / "preset"))
    (directory / "model.weights.h5").write_bytes(b"no weights")
    with pytest.raises(PresetError, match=r"cannot be loaded: ") as caught:
        find_preset(str(directory)).load_backbone()
    assert "\n" not in str(caught.value)
    (directory / "model.weights.h5").unlink()
    with pytest.raises(PresetError, match=r"cannot be loaded: "):
        find_preset(str(directory)).load_backbone()


def test_the_fingerprint_follows_the_files_and_nothing_else(tmp_path: Path) -> None:
    for source in (tiny_keras_preset("bert", tmp_path / "keras"), tiny_huggingface("bert", tmp_path / "hf")):
        original = find_preset(str(source)).fingerprint
        copy = Path(shutil.copytree(source, tmp_path / f"copy_of_{source.name}"))
        (copy / "README.md").write_text("not part of the model")
        os.utime(copy / "config.json", (1, 1))
        assert find_preset(str(copy)).fingerprint == original
        files = [path for path in copy.rglob("*") if path.is_file()]
        decisive = [path for path in files if path.name not in ("README.md", "metadata.json")]
        assert len(decisive) >= 4
        for path in decisive:
            content = path.read_bytes()
            path.write_bytes(content + b" ")
            assert find_preset(str(copy)).fingerprint != original, path
            path.write_bytes(content)


def test_a_preset_without_a_head(folder: Folder, tiny_preset: Path, tmp_path: Path) -> None:
    for directory in (tiny_preset, tiny_huggingface("bert", tmp_path / "bert")):
        preset = find_preset(str(directory))
        assert preset.class_names is None
        with pytest.raises(PresetError, match="holds no single-label classification head. Name the classes"):
            preset.load_head()


def test_a_saved_keras_classifier(tmp_path: Path) -> None:
    directory = tiny_keras_preset("distil_bert", tmp_path / "task")
    with without_tensorflow():
        backbone = keras_hub.models.Backbone.from_preset(str(directory))
        keras_hub.models.DistilBertTextClassifier(backbone, num_classes=3, activation="softmax").save_to_preset(
            str(directory)
        )
        tiny = keras_hub.models.DistilBertTokenizer.from_preset(str(directory))
        tiny.save_to_preset(str(directory))
    preset = find_preset(str(directory))
    assert preset.class_names == ("0", "1", "2")
    head = preset.load_head()
    assert {name: array.shape for name, array in head.items()} == {
        "pooled_dense/kernel": (32, 32),
        "pooled_dense/bias": (32,),
        "logits/kernel": (32, 3),
        "logits/bias": (3,),
    }
