"""A user without a home directory, and paths that start with ~."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kerora.places import _own_folder, expanded
from tests.conftest import ROOT

HOMELESS = """
import os, pwd, sys
os.environ.pop("HOME", None)
def unknown(*number):
    raise KeyError("uid not found")
pwd.getpwuid = unknown
from kerora.cli.main import main
main(sys.argv[1:])
"""


def homeless(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user without HOME and without an entry in passwd, as in many containers."""
    kept = {name: value for name, value in os.environ.items() if name not in ("KERORA_CACHE", "HF_HOME", "HOME")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", HOMELESS, *arguments]
    return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)


@pytest.mark.parametrize("command", [["doctor"], ["presets", "mini"]])
def test_commands_without_a_home_directory(tmp_path: Path, command: list[str]) -> None:
    done = homeless(tmp_path, *command)
    assert "Traceback" not in done.stderr and done.returncode == 0
    folder = tmp_path / f"kerora-home-{os.getuid()}"
    assert done.stderr == (
        f"Note: There is no home directory, so the caches are in {folder}. Set HOME to choose another place.\n"
    )
    assert not (tmp_path / "~").exists() and folder.stat().st_mode & 0o777 == 0o700


def test_a_fit_without_a_home_directory(tmp_path: Path, tiny_preset: Path) -> None:
    rows = "".join(f"text {number},{'ab'[number % 2]}\n" for number in range(20))
    (tmp_path / "rows.csv").write_text("text,label\n" + rows)
    sizes = ("--epochs", "1", "--max-length", "16", "--run", "run", "--quiet")
    done = homeless(tmp_path, "fit", "--preset", str(tiny_preset), "--data", "rows.csv", *sizes)
    assert done.returncode == 0, done.stderr
    missing = homeless(tmp_path, "fit", "--data", "~someone/rows.csv")
    assert missing.returncode == 2 and missing.stderr.splitlines()[-1].startswith("Error: ")


def test_a_folder_that_others_can_write_is_not_the_home(tmp_path: Path) -> None:
    theirs, link = tmp_path / "kerora-home-1", tmp_path / "kerora-home-2"
    theirs.mkdir()
    theirs.chmod(0o777)
    link.symlink_to(theirs)
    assert _own_folder(theirs) != theirs and _own_folder(link) != link
    (tmp_path / "own").mkdir(mode=0o700)
    assert _own_folder(tmp_path / "own") == tmp_path / "own"


def test_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/a.csv") == Path("/home/me/a.csv")
    assert expanded("~nobody-of-this-name/a.csv") == Path("~nobody-of-this-name/a.csv")
