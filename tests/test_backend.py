"""The torch backend is selected, and TensorFlow stays out without being broken."""

import importlib.util
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from kerora import doctor
from kerora.backend import avoid_refused_settings, set_random_seed, without_tensorflow
from kerora.fast import late_compiler
from kerora.fast.late_compiler import COMPILER, can_come_late, without_compiler


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=variables)


def test_another_backend_in_the_environment_is_replaced() -> None:
    code = "import sys, kerora, keras; print(keras.config.backend(), 'torch._dynamo' in sys.modules)"
    assert run(code, KERAS_BACKEND="tensorflow").stdout.split() == ["torch", str(not can_come_late())]


def test_keras_on_another_backend_is_refused_in_one_line() -> None:
    # a stand-in, because none of the other backends has to be installed
    code = """
import sys, types
keras = types.ModuleType("keras")
keras.config = types.SimpleNamespace(backend=lambda: "tensorflow")
sys.modules["keras"] = keras
try:
    import kerora
except Exception as error:
    print(type(error).__name__, error)
"""
    lines = run(code, KERAS_BACKEND="tensorflow").stdout.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("KeroraError") and "already imported on 'tensorflow'" in lines[0]
    assert "KERAS_BACKEND=torch" in lines[0]


REFUSED = [
    '{"floatx": "bfloat16"}',
    '{"floatx": ["float32"]}',
    '{"epsilon": 1}',
    '{"image_data_format": "nchw"}',
    "[1]",
]
ACCEPTED = ['{"floatx": "float64", "epsilon": 0.001}', "no JSON"]


def read_by_keras() -> str:
    """Let Keras read its settings as at its import, and return the floatx."""
    floatx: str = runpy.run_path(str(importlib.import_module("keras.src.backend.config").__file__))["floatx"]()
    return floatx


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The place of the user's keras.json, which is read again."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    avoid_refused_settings.cache_clear()
    yield tmp_path / "keras.json"
    avoid_refused_settings.cache_clear()


@pytest.mark.parametrize("content", REFUSED)
def test_settings_that_keras_refuses_are_left_out(settings_file: Path, content: str) -> None:
    settings_file.write_text(content)
    with pytest.raises((AssertionError, ValueError, AttributeError, TypeError)):
        read_by_keras()
    assert str(settings_file) in avoid_refused_settings()
    assert read_by_keras() == "float32"
    (_, finding) = doctor._backend()
    assert f"left out, because Keras refuses {settings_file}" in finding.found
    assert settings_file.read_text() == content


@pytest.mark.parametrize("content", ACCEPTED)
def test_settings_that_keras_accepts_stay(settings_file: Path, content: str) -> None:
    settings_file.write_text(content)
    assert avoid_refused_settings() == "" and os.environ["KERAS_HOME"] == str(settings_file.parent)
    assert read_by_keras() == ("float64" if "64" in content else "float32")
    assert len(list(doctor._backend())) == 1


def test_the_settings_are_looked_at_before_keras_is_imported(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text(REFUSED[0])
    code = "import kerora.doctor, keras; print(keras.config.floatx(), *kerora.doctor._backend(), sep='\\n')"
    done = run(code, KERAS_HOME=str(tmp_path))
    assert done.returncode == 0 and done.stdout.startswith("float32\n"), done.stderr
    assert f"left out, because Keras refuses {tmp_path / 'keras.json'}" in done.stdout
    (tmp_path / "keras.json").write_text(ACCEPTED[0])
    code = "import kerora, keras, os; print(keras.config.floatx(), os.environ['KERAS_HOME'])"
    assert run(code, KERAS_HOME=str(tmp_path)).stdout.split() == ["float64", str(tmp_path)]


def test_tensorflow_is_hidden_inside_the_block_only() -> None:
    code = """
import sys
from kerora.backend import import_keras_hub, set_random_seed, without_tensorflow
import_keras_hub()
set_random_seed(1)
with without_tensorflow():
    try:
        import tensorflow
    except ImportError:
        print("hidden")
print("tensorflow" in sys.modules)
import importlib.util
print(importlib.util.find_spec("tensorflow") is not None)
"""
    installed = importlib.util.find_spec("tensorflow") is not None
    assert run(code).stdout.split() == ["hidden", "False", str(installed)]


def test_the_block_leaves_loaded_modules_and_errors_alone() -> None:
    class Loaded:
        pass

    loaded = Loaded()
    before = sys.modules.get("tensorflow_text")
    sys.modules["tensorflow_text"] = loaded  # type: ignore[assignment]
    try:
        with pytest.raises(ZeroDivisionError), without_tensorflow():
            assert sys.modules["tensorflow_text"] is loaded
            raise ZeroDivisionError
        assert sys.modules["tensorflow_text"] is loaded
    finally:
        del sys.modules["tensorflow_text"]
        if before is not None:
            sys.modules["tensorflow_text"] = before


def test_seeding_covers_every_generator() -> None:
    import random

    import torch

    def draw() -> tuple[float, float, float]:
        set_random_seed(5)
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    assert draw() == draw()


def test_a_command_starts_without_what_it_does_not_need() -> None:
    """And all of that can be imported afterwards. torch then compiles, also random numbers of Keras."""
    code = """
import sys
from kerora.fast.lean_import import import_keras_lean
import_keras_lean()
from kerora.runs import predict, evaluate
from kerora.training import fit
extra = ("torch._dynamo", "sympy", "PIL", "kagglehub", "huggingface_hub", "tensorflow", "matplotlib")
print(sorted(set(extra) & set(sys.modules)))
import gc, keras, torch, torch._dynamo, kerora.models.hub
print(gc.isenabled(), torch._dynamo.disable is not None, float(keras.random.uniform((1,))[0]) < 1)
print(float(torch.compile(lambda x: x * 2 + 1, backend="eager")(torch.tensor(3.0))))
draw = lambda x: x + keras.random.uniform((1,), seed=3)
print(torch.equal(torch.compile(draw, backend="eager")(torch.tensor(3.0)), draw(torch.tensor(3.0))))
"""
    assert run(code).stdout.splitlines() == ["[]", "True True True", "7.0", "True"]


@pytest.mark.parametrize("installed", [{"triton"}, {"tensorflow"}, {"triton", "tensorflow"}])
def test_the_compiler_comes_first_where_tensorflow_would_break_it(
    installed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finder = SimpleNamespace(find_spec=lambda name: name if name in installed else None)
    monkeypatch.setattr(late_compiler, "PathFinder", finder)
    assert can_come_late() == (len(installed) == 1)


def test_the_compiler_is_left_out_of_the_import_of_keras_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, COMPILER, raising=False)
    monkeypatch.setenv("KERORA_PLAIN", "1")
    with without_compiler():
        assert COMPILER not in sys.modules
    monkeypatch.setenv("KERORA_PLAIN", "0")
    with without_compiler():
        function = sys.modules[COMPILER].disable()(abs)
    assert COMPILER not in sys.modules and function(-3) == 3
    real = ModuleType(COMPILER)
    monkeypatch.setitem(sys.modules, COMPILER, real)
    assert function(-3) == 3, "the module has begun its import"
    real.disable = lambda function: lambda value: ("excluded", function(value))  # type: ignore[attr-defined]
    assert function(-3) == ("excluded", 3)
    with without_compiler():
        assert sys.modules[COMPILER] is real
