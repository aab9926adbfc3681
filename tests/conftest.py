"""Shared fixtures: torch backend, seeds, one CPU thread, no network, caches of the tests' own."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["KERAS_BACKEND"] = "torch"
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


def pytest_collection_finish() -> None:
    """Keep Keras, torch and the tests themselves out of the garbage collector's rounds, half a second each."""
    import kerora.models.classifier  # noqa: F401

    gc.freeze()


@pytest.fixture(autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's caches out of the tests, and the tests out of them."""
    base = tmp_path_factory.getbasetemp() / "caches"
    monkeypatch.setenv("KERORA_CACHE", str(base / "kerora"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(base / "kagglehub"))
    monkeypatch.setenv("HF_HOME", str(base / "huggingface"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Start every test from the same random state."""
    import keras

    import kerora  # noqa: F401  (selects the torch backend)

    keras.utils.set_random_seed(1234)
    yield


@pytest.fixture(scope="session")
def tiny_preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DistilBERT preset folder of two layers, 32 wide."""
    from tests.tiny import tiny_keras_preset

    return tiny_keras_preset("distil_bert", tmp_path_factory.mktemp("presets") / "tiny_distil_bert")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real text, where there is one."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real text is not at {SHARED_DATA}")
    return SHARED_DATA
