"""Every script of this folder runs in a process of its own, in an empty folder, as a person would start it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.tiny import tiny_keras_preset

HERE = Path(__file__).parent
SCRIPTS = sorted(path for path in HERE.glob("*.py") if path.name not in ("__init__.py", Path(__file__).name))


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 5


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset that is small enough to train in a moment."""
    return tiny_keras_preset("distil_bert", tmp_path_factory.mktemp("habits") / "preset")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script(script: Path, preset: Path, tmp_path: Path) -> None:
    # the scripts take the preset from here, so that a person can run one with another
    env = {**os.environ, "PRESET": str(preset), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
