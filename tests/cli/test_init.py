"""`kerora init` writes a file that `kerora fit --config` takes."""

from pathlib import Path

import pytest

from kerora.config import FitConfig, load_yaml, resolve
from tests.cli.conftest import Kerora


def test_the_file_holds_the_defaults(kerora: Kerora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = kerora("init")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "Written: kerora.yaml\nNext: kerora fit --config kerora.yaml\n"
    assert resolve(load_yaml(tmp_path / "kerora.yaml")) == FitConfig()
    assert "# Rank of the LoRA update." in (tmp_path / "kerora.yaml").read_text()


def test_an_existing_file_needs_force(kerora: Kerora, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    assert f"{path} exists. Choose another name or add --force." in kerora("init", path).error
    assert path.read_text() == "mine"
    assert kerora("init", path, "--force").code == 0
    assert resolve(load_yaml(path)) == FitConfig()


def test_places_that_cannot_be_written(kerora: Kerora, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "a part of its path is a file" in kerora("init", tmp_path / "file" / "x.yaml").error
    assert "it is not a regular file" in kerora("init", tmp_path, "--force").error
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
