"""pyproject, version, changelog and public names agree with one another and with the code."""

import ast
import inspect
import re
import sys
import tomllib
from typing import Any

import pytest

import kerora
from kerora import callbacks
from kerora.version import __version__
from tests.conftest import ROOT
from tests.contracts.pages import PYTHON

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# distributions whose modules have another name
DISTRIBUTIONS = {"keras_hub": "keras-nlp", "sklearn": "scikit-learn", "yaml": "pyyaml", "google": "protobuf"}
# brought by a declared dependency, which cannot do without it
INDIRECT = {
    "h5py": "keras",
    "kagglehub": "keras-nlp",
    "kagglesdk": "keras-nlp",
    "markupsafe": "jinja2",
    "psutil": "tensorflow-datasets",
    "requests": "tensorflow-datasets",
    "scipy": "scikit-learn",
    "sqlalchemy": "optuna",
}


def imported_roots() -> set[str]:
    roots = set()
    for path in (ROOT / "kerora").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                roots.add(str(node.module).partition(".")[0])
    return roots - set(sys.stdlib_module_names) - {"kerora"}


def declared() -> dict[str, str]:
    """Return the dependencies' version ranges by normal name."""
    extras = PROJECT["project"]["optional-dependencies"]
    texts = [*PROJECT["project"]["dependencies"], *extras["interop"], *extras["onnx"]]
    parts = (re.fullmatch(r"([\w.-]+)(.*)", text) for text in texts)
    return {part[1].lower().replace("_", "-"): part[2] for part in parts if part}


def test_the_version_is_in_one_place_and_the_changelog_knows_it() -> None:
    assert "version" in PROJECT["project"]["dynamic"]
    assert (ROOT / PROJECT["tool"]["hatch"]["version"]["path"]).read_text(encoding="utf-8").count(__version__) == 1
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert __version__ in " ".join(headings[:2]), "name the version, or what is unreleased above it"


def test_the_project_file_names_things_that_exist() -> None:
    project = PROJECT["project"]
    assert project["scripts"] == {"kerora": "kerora.cli.main:main"}
    assert all((ROOT / name).is_file() for name in (project["readme"], *project["license-files"]))
    assert project["requires-python"] == f">={PROJECT['tool']['mypy']['python_version']}"
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + PROJECT["tool"]["mypy"]["python_version"].replace(
        ".", ""
    )
    kept = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert all((ROOT / name).exists() for name in kept)


def test_every_import_is_a_declared_dependency() -> None:
    names = imported_roots() - set(INDIRECT)
    assert {DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in names} <= set(declared())
    assert set(INDIRECT) <= imported_roots()
    assert set(INDIRECT.values()) <= set(declared())
    assert declared()["torch"] == ">=2.9,<2.14"


@pytest.mark.parametrize("name", sorted(set(kerora.__all__) - {"__version__"}))
def test_public_name_is_importable_and_documented(name: str) -> None:
    thing = getattr(kerora, name)
    assert getattr(kerora, name) is thing
    documentation = inspect.getdoc(thing) or ""
    assert len(documentation.splitlines()[0]) > 20
    assert f"`{name}`" in PYTHON


@pytest.mark.parametrize("name", callbacks.__all__)
def test_public_callback_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(kerora.callbacks, name))
    assert f"`{name}`" in PYTHON


def test_the_lazy_names_and_those_for_type_checkers_are_the_same() -> None:
    tree = ast.parse((ROOT / "kerora" / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == kerora._HOMES
    assert sorted([*typed, "__version__"]) == sorted(kerora.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = kerora.nonsense
