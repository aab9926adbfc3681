"""Caches of both hubs are found offline, and a dead network is an answer within seconds."""

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from kerora.errors import PresetError
from kerora.hubs import patience
from kerora.models import catalogue, hub
from kerora.models.classifier import TextClassifier
from kerora.models.presets import find_preset
from tests.tiny import tiny_huggingface

NAME = "distil_bert_base_en_uncased"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches for both hubs, and sites that refuse at once."""
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub, "get_endpoint", lambda environment: "http://127.0.0.1:9")
    return tmp_path


def fill_kaggle_cache(preset: Path, cache: Path, *, version: int = 3, bundle: bool = False) -> Path:
    """Lay a preset out as KaggleHub does after a download."""
    base = cache / "kagglehub" / "models" / "keras" / "distil_bert" / "keras" / NAME
    shutil.copytree(preset, base / str(version))
    markers = base / ".complete"
    if bundle:
        (base / f"{version}.complete").touch()
    else:
        for path in [path for path in preset.rglob("*") if path.is_file()]:
            marker = markers / str(version) / f"{path.relative_to(preset).as_posix()}.complete"
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
    return base


def fill_hugging_face_cache(model: Path, cache: Path, repository: str) -> Path:
    """Lay a model out as the hub's client does after a download."""
    base = cache / "hub" / f"models--{repository.replace('/', '--')}"
    shutil.copytree(model, base / "snapshots" / COMMIT)
    (base / "refs").mkdir()
    (base / "refs" / "main").write_text(COMMIT)
    return base / "snapshots" / COMMIT


@pytest.mark.parametrize("bundle", [False, True])
def test_a_cached_name_is_loaded_offline(bundle: bool, tiny_preset: Path, caches: Path) -> None:
    base = fill_kaggle_cache(tiny_preset, caches, bundle=bundle)
    preset = find_preset(NAME)
    assert (preset.name, preset.kind, preset.source) == (NAME, "distil_bert", "keras")
    assert preset.directory == base / "3"
    assert preset.fingerprint == find_preset(str(tiny_preset)).fingerprint
    model = TextClassifier.from_preset(preset, ["neg", "pos"])
    assert model.predict(model.encode(["good film"]), verbose=0).shape == (1, 2)


@pytest.mark.parametrize("handle", ["keras/distil_bert/keras/" + NAME, "keras/distil_bert/keras/" + NAME + "/3"])
def test_a_cached_kaggle_handle(handle: str, tiny_preset: Path, caches: Path) -> None:
    base = fill_kaggle_cache(tiny_preset, caches)
    assert find_preset(f"kaggle://{handle}").directory == base / "3"
    assert find_preset(f"kaggle://{handle}").name == NAME


def test_without_a_version_the_newest_complete_one_is_taken(tiny_preset: Path, caches: Path) -> None:
    fill_kaggle_cache(tiny_preset, caches, version=9)
    base = fill_kaggle_cache(tiny_preset, caches, version=10)
    (base / "11").mkdir()
    assert hub.cached_kaggle_directory(f"kaggle://keras/distil_bert/keras/{NAME}") == base / "10"


@pytest.mark.parametrize("lost", ["config.json", "model.weights.h5", "assets/tokenizer/vocabulary.txt"])
def test_an_incomplete_download_is_not_used(lost: str, tiny_preset: Path, caches: Path) -> None:
    base = fill_kaggle_cache(tiny_preset, caches)
    (base / ".complete" / "3" / f"{lost}.complete").unlink()
    with pytest.raises(PresetError, match="is not in the cache"):
        find_preset(NAME)


def test_cached_presets_are_listed_first(tiny_preset: Path, caches: Path) -> None:
    assert {info.source for info in catalogue.list_presets()} <= {"kaggle", "bundled", "installed", "pip"}
    fill_kaggle_cache(tiny_preset, caches)
    assert NAME in catalogue.offline_names()
    first = next(info for info in catalogue.list_presets() if info.source not in ("bundled", "installed"))
    assert (first.name, first.source) == (NAME, "cached")
    with pytest.raises(PresetError, match=f"works without a network: .*{NAME}"):
        find_preset("roberta_base_en")


def test_a_cached_hugging_face_model(caches: Path, tmp_path: Path) -> None:
    model = tiny_huggingface("bert", tmp_path / "source", ["a", "b"])
    snapshot = fill_hugging_face_cache(model, caches, "someone/tiny-bert")
    preset = find_preset("hf://someone/tiny-bert")
    assert (preset.name, preset.directory) == ("tiny-bert", snapshot)
    assert preset.fingerprint == find_preset(str(model)).fingerprint
    assert TextClassifier.from_preset(preset).classes == ("a", "b")


def test_a_cached_keras_preset_from_hugging_face(tiny_preset: Path, caches: Path) -> None:
    fill_hugging_face_cache(tiny_preset, caches, "someone/tiny")
    assert find_preset("hf://someone/tiny/").source == "keras"


def test_a_half_cached_hugging_face_model(caches: Path, tmp_path: Path) -> None:
    model = tiny_huggingface("bert", tmp_path / "source")
    (fill_hugging_face_cache(model, caches, "someone/tiny-bert") / "model.safetensors").unlink()
    with pytest.raises(PresetError, match=r"not in the cache \(.*models--someone--tiny-bert\)"):
        find_preset("hf://someone/tiny-bert")


@pytest.mark.parametrize("spec", ["roberta_base_en", "hf://someone/model", f"kaggle://keras/distil_bert/keras/{NAME}"])
def test_no_network_is_one_line_soon(spec: str, caches: Path) -> None:
    started = time.monotonic()
    with pytest.raises(PresetError) as caught:
        find_preset(spec)
    assert time.monotonic() - started < 3
    message = str(caught.value)
    assert "\n" not in message
    for part in (repr(spec), str(caches), "http://127.0.0.1:9", "connection refused", "works without a network"):
        assert part in message
    assert not (caches / "kagglehub").exists(), "a failed look-up leaves nothing behind"


@pytest.fixture
def silent_site() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    server = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                held.append(server.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.close()
    for connection in held:
        connection.close()


@pytest.mark.parametrize("spec", ["roberta_base_en", "hf://someone/model"])
def test_a_site_that_never_answers(spec: str, silent_site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "get_endpoint", lambda environment: silent_site)
    monkeypatch.setattr(constants, "ENDPOINT", silent_site)
    monkeypatch.setattr(patience, "PROBE_SECONDS", 1.0)
    started = time.monotonic()
    with pytest.raises(PresetError, match=r"no answer within 1 seconds"):
        find_preset(spec)
    assert time.monotonic() - started < 3


def test_offline_mode_of_the_hub_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PresetError, match="HF_HUB_OFFLINE is set"):
        find_preset("hf://someone/model")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hf://a/b/c", "form hf://organisation/name"),
        ("hf://", "form hf://organisation/name"),
        ("kaggle://a/b", "form kaggle://owner/model/keras/variation"),
        ("kaggle://keras/bert/keras/x/version", "form kaggle://owner/model/keras/variation"),
    ],
)
def test_malformed_names(spec: str, message: str) -> None:
    with pytest.raises(PresetError, match=message):
        find_preset(spec)


def test_a_download_that_stops_moving_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "STALL_SECONDS", 0.6)
    release = threading.Event()

    def download() -> None:
        for part in range(4):  # moves for longer than the limit, then stops
            (tmp_path / f"part{part}").write_bytes(b"x")
            release.wait(0.3)
        release.wait(30)

    started = time.monotonic()
    with pytest.raises(TimeoutError):
        patience.patiently(download, tmp_path)
    assert 1.2 < time.monotonic() - started < 5
    release.set()


def test_a_download_hands_on_its_result_and_its_error(tmp_path: Path) -> None:
    assert patience.patiently(lambda: np.int64(3), tmp_path) == 3
    with pytest.raises(ZeroDivisionError):
        patience.patiently(lambda: 1 // 0, tmp_path)
