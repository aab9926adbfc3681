"""Shared fixtures: torch backend, seeds, one CPU thread, no network, caches of the tests' own."""

import gc
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ["KERAS_BACKEND"] = "torch"
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
CLASSES = ["negative", "neutral", "positive"]
STARTED, TESTS_BETWEEN = itertools.count(1), 100


def pytest_collection_finish() -> None:
    """Keep Keras, torch and the tests themselves out of the garbage collector's rounds, half a second each."""
    import kerora.models.classifier  # noqa: F401

    gc.freeze()


def pytest_runtest_logstart() -> None:
    """Keep out what was imported since then, too: transformers and ONNX are as large, and Keras collects often."""
    if next(STARTED) % TESTS_BETWEEN == 0:
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def words() -> Iterator[None]:
    """Compare messages as they are written, with the options of the command line. tests/scripting reads arguments."""
    from kerora.errors import as_written

    with as_written():
        yield


@pytest.fixture(autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's caches out of the tests, and the tests out of them."""
    base = tmp_path_factory.getbasetemp() / "caches"
    monkeypatch.setenv("KERORA_CACHE", str(base / "kerora"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(base / "kagglehub"))
    monkeypatch.setenv("HF_HOME", str(base / "huggingface"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def without_waiting_for_the_disk() -> Iterator[None]:
    """Leave files in the cache of the system: some ten files of each run would each wait milliseconds for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function (kind, layout) -> tiny Hugging Face folder of a random classifier with three classes."""
    from tests.tiny import tiny_huggingface

    made: dict[tuple[str, str], Path] = {}

    def make(kind: str, layout: str = "new") -> Path:
        if (kind, layout) not in made:
            directory = tmp_path_factory.mktemp(f"{kind}_{layout}") / f"tiny_{kind}"
            made[kind, layout] = tiny_huggingface(kind, directory, CLASSES, layout=layout)
        return made[kind, layout]

    return make


@pytest.fixture
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the layout of figures, nearly half the time of a report, in tests that look at something else."""
    monkeypatch.setattr("kerora.evaluation.plots._lay_out", lambda figure, *_: figure.set_layout_engine(None))


@pytest.fixture
def unrendered_figures(quick_figures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw figures but write empty pictures, in tests that look at no picture: rendering is most of a report."""
    empty = {"svg": '<svg width="1" height="1"></svg>', "png": b"\x89PNG"}
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda _, stream, format, **__: stream.write(empty[format]))


@pytest.fixture(params=["fast", "plain"])
def side(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test on both sides of the switch: with `kerora.fast`, and computed plainly."""
    chosen: str = request.param
    monkeypatch.setenv("KERORA_PLAIN", str(int(chosen == "plain")))
    return chosen


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real text, if it exists."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real text is not at {SHARED_DATA}")
    return SHARED_DATA
