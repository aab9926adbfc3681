"""Every script of this folder runs in an empty folder; some in a process of their own, as a person would start them."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.tiny import tiny_keras_preset

HERE = Path(__file__).parent
SCRIPTS = sorted(
    path for path in HERE.glob("*.py") if path.name not in ("__init__.py", "conftest.py", Path(__file__).name)
)

ALONE = ("keras_own_loop_to_run", "pandas_fit", "sklearn_pickle")
"""One script of each kind in a fresh process: the order of the imports matters there, and pickles name modules."""


def test_there_are_scripts() -> None:
    assert {*ALONE} < {path.stem for path in SCRIPTS} and len(SCRIPTS) >= 10


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset that is small enough to train in a moment."""
    return tiny_keras_preset("distil_bert", tmp_path_factory.mktemp("habits") / "preset")


@pytest.fixture
def place(preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder. The scripts take the preset from PRESET, so that a person can run one with another."""
    monkeypatch.setenv("PRESET", str(preset))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script(script: Path, place: Path) -> None:
    if script.stem not in ALONE:
        # In this process, which has imported Keras: its import takes longer than most scripts.
        runpy.run_path(str(script), run_name="__main__")
        return
    done = subprocess.run([sys.executable, script], cwd=place, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
