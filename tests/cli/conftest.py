"""One run, trained once, and the command line as a function."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kerora.cli import main
from kerora.runfolder import RunFolder
from tests.conftest import ROOT
from tests.training.test_fit import write_rows


@dataclass(frozen=True)
class Answer:
    """The result of a call of the command line."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of a refusal."""
        assert self.code == 2, (self.code, self.err)
        assert self.out == "" and self.err.startswith("Error: ") and self.err.count("\n") == 1, (self.out, self.err)
        return self.err.strip()


Kerora = Callable[..., Answer]


@pytest.fixture
def kerora(capsys: pytest.CaptureFixture[str]) -> Kerora:
    """Run a command in this process."""

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        code = main.run([str(argument) for argument in arguments])
        return Answer(code, *capsys.readouterr())

    return call


def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    """Start a command in a process of its own."""
    command = [sys.executable, "-m", "kerora", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload]


def fit_arguments(preset: str, data: str, run: str, *more: object) -> list[object]:
    """A quick and complete fit."""
    sizes = ("--max-length", 24, "--batch-size", 8, "--epochs", 1, "--learning-rate", 0.02, "--test-split", 0.2)
    return ["fit", "--preset", preset, "--data", data, "--run", run, "--precision", "float32", *sizes, *more]


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory, tiny_preset: Path) -> Iterator[Path]:
    """A folder with `rows.jsonl`, `preset` and the finished run `run`, made with paths relative to it."""
    folder = tmp_path_factory.mktemp("workshop")
    write_rows(folder / "rows.jsonl", rows=80)
    shutil.copytree(tiny_preset, folder / "preset")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KERORA_CACHE", str(folder / "cache"))
        assert main.run([*map(str, fit_arguments("preset", "rows.jsonl", "./run", "--quiet"))]) == 0
    yield folder


@pytest.fixture
def own(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workshop to work in and to damage."""
    folder = tmp_path / "own"
    shutil.copytree(workshop, folder)
    run = RunFolder(folder / "run")
    preset = {**run.read_manifest()["preset"], "directory": str(folder / "preset")}
    run.update_manifest(working_directory=str(folder), preset=preset)
    monkeypatch.chdir(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, to see that nothing changed."""
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}
