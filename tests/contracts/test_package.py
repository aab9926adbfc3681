"""pyproject, version, changelog and public names agree with one another and with the code."""

import ast
import inspect
import re
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest

import kerora
from kerora import callbacks
from kerora.version import __version__
from tests.conftest import ROOT
from tests.contracts.pages import PYTHON

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# distributions whose modules have another name
DISTRIBUTIONS = {"keras_hub": "keras-nlp", "sklearn": "scikit-learn", "yaml": "pyyaml", "mlflow": "mlflow-skinny"}
# the extras whose packages the code imports
EXTRAS = ("interop", "onnx", "tensorboard", "wandb", "mlflow")
# declared without an import of Kerora's own: pyproject.toml says beside each who imports it
IMPORTED_BY_OTHERS = {"importlib_resources", "protobuf"}


def imported_by(tree: ast.AST) -> set[str]:
    """Return the top-level modules that code imports, by statement or by name through importlib."""
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            roots |= {str(value.value).partition(".")[0] for value in node.args if isinstance(value, ast.Constant)}
    return roots


@cache
def imported_roots() -> set[str]:
    paths = (ROOT / "kerora").rglob("*.py")
    roots = {root for path in paths for root in imported_by(ast.parse(path.read_text(encoding="utf-8")))}
    return roots - set(sys.stdlib_module_names) - {"kerora"}


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


def requirements(texts: Iterable[str]) -> dict[str, str]:
    """Return version ranges by normal name."""
    parts = (re.fullmatch(r"([\w.-]+)(.*)", text) for text in texts)
    return {normal(part[1]): part[2] for part in parts if part}


def declared() -> dict[str, str]:
    """Return the dependencies' version ranges by normal name."""
    extras = PROJECT["project"]["optional-dependencies"]
    optional = [line for extra in EXTRAS for line in extras[extra]]
    return requirements([*PROJECT["project"]["dependencies"], *optional])


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
    assert {DISTRIBUTIONS.get(name, normal(name)) for name in imported_roots()} <= set(declared())


def test_every_dependency_is_imported() -> None:
    names = {DISTRIBUTIONS.get(name, normal(name)) for name in imported_roots()}
    wanted = set(requirements(PROJECT["project"]["dependencies"]))
    assert wanted - names == {normal(name) for name in IMPORTED_BY_OTHERS}


def test_every_dependency_has_a_lowest_version_and_torch_a_highest_one_that_was_tried() -> None:
    assert all(found.startswith(">=") for found in declared().values())
    assert declared()["torch"] == ">=2.9,<2.14"


def test_an_import_in_any_form_is_noticed() -> None:
    code = "import h5py.h5\ndef f():\n    from scipy import stats\n    importlib.import_module('requests.api')\n"
    assert imported_by(ast.parse(code)) == {"h5py", "scipy", "requests"}


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
    typed = {
        alias.asname or alias.name: f"{node.module}:{alias.name}" if alias.asname else node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == kerora._HOMES
    assert sorted([*typed, "__version__"]) == sorted(kerora.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = kerora.nonsense
