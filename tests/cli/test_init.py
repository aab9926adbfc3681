"""`kerora init` writes a file that `kerora fit --config` takes."""

from pathlib import Path
from typing import Any

import pytest

from kerora.cli.init import FIT_MINIMUM, PRETRAIN_MINIMUM
from kerora.config import FitConfig, PretrainConfig, load_yaml, resolve
from kerora.settings.schema import schema_text
from tests.cli.conftest import Kerora
from tests.training.test_fit import write_rows


def test_the_file_holds_the_defaults(kerora: Kerora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = kerora("init")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        "Written: kerora.yaml\nSchema for editors: kerora-fit.schema.json\nNext: kerora fit --config kerora.yaml\n"
    )
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


@pytest.mark.parametrize("pretrain", [False, True])
def test_the_schema_lies_beside_the_file(pretrain: bool, kerora: Kerora, tmp_path: Path) -> None:
    root = PretrainConfig if pretrain else FitConfig
    flags = ["--pretrain"] if pretrain else []
    assert kerora("init", tmp_path / "my.yaml", *flags).code == 0
    first = (tmp_path / "my.yaml").read_text().splitlines()[0]
    name = first.removeprefix("# yaml-language-server: $schema=./")
    assert (tmp_path / name).read_text() == schema_text(root)
    # that of another version is replaced, another file is not
    (tmp_path / name).write_text(schema_text(root).replace("integer", "number"))
    assert kerora("init", tmp_path / "other.yaml", *flags).code == 0
    assert (tmp_path / name).read_text() == schema_text(root)
    (tmp_path / name).write_text("{}")
    assert f"{name} exists and is no schema of Kerora" in kerora("init", tmp_path / "third.yaml", *flags).error
    assert not (tmp_path / "third.yaml").exists() and (tmp_path / name).read_text() == "{}"
    assert kerora("init", tmp_path / "third.yaml", "--no-schema", *flags).code == 0
    assert "$schema" not in (tmp_path / "third.yaml").read_text()


@pytest.mark.parametrize(("root", "keys"), [(FitConfig, FIT_MINIMUM), (PretrainConfig, PRETRAIN_MINIMUM)])
def test_minimal(root: Any, keys: tuple[str, ...], kerora: Kerora, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    flags = ["--pretrain"] if root is PretrainConfig else []
    assert kerora("init", path, "--minimal", *flags).code == 0
    assert set(load_yaml(path, root)) == set(keys) and len(path.read_text().splitlines()) < 45
    assert resolve(load_yaml(path, root), root=root) == root()


def test_fit_takes_the_minimal_file(kerora: Kerora, tmp_path: Path, tiny_preset: Path) -> None:
    path, rows = tmp_path / "small.yaml", write_rows(tmp_path / "rows.jsonl", rows=40)
    assert kerora("init", path, "--minimal").code == 0
    text = path.read_text().replace("source: tickets", f"source: {rows}").replace("epochs: null", "epochs: 1")
    path.write_text(text.replace("preset: kerora_mini_en", f"preset: {tiny_preset}"))
    answer = kerora("fit", "--config", path, "--run", tmp_path / "run", "--quiet")
    assert answer.code == 0, answer.err
    assert load_yaml(tmp_path / "run" / "config.yaml")["training.epochs"] == 1
