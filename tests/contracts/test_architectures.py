"""What sets one architecture apart stands in its description, not in comparisons elsewhere."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from kerora.models.architectures import ARCHITECTURES, fresh_architecture, trained_by
from kerora.settings.pretrain import PRETRAINED_KINDS
from tests.conftest import ROOT

PACKAGE = ROOT / "kerora"
HOME = PACKAGE / "models" / "architectures.py"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != HOME)
NAMES = {name for kind, entry in ARCHITECTURES.items() for name in (kind, entry.model_type, *entry.more_types) if name}
ALLOWED = {
    # the values of an option, on a floor below the architectures; a test here compares them
    "settings/pretrain.py": {"distil_bert", "bert"},
    # a fact about one published model, for the list of presets before its package is installed
    "models/packaged.py": {"bert"},
}


def docstrings(tree: ast.AST) -> set[int]:
    """Return the ids of the nodes of strings that are statements, such as docstrings."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def named(tree: ast.AST) -> Iterator[str]:
    """Yield the kinds and model types that code names, as strings or as names of arguments."""
    alone = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in alone and node.value in NAMES:
            yield str(node.value)
        elif isinstance(node, ast.keyword) and node.arg in NAMES:
            yield str(node.arg)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_kind_is_named_outside_the_architectures(path: Path) -> None:
    found = set(named(ast.parse(path.read_text(encoding="utf-8"))))
    assert found <= ALLOWED.get(path.relative_to(PACKAGE).as_posix(), set()), "make it a field of Architecture"


@pytest.mark.parametrize(
    "code",
    [
        "if preset.kind == 'gpt2':\n    pass",
        "TABLE = {'bert': 1}",
        "TABLE = dict(roberta=1)",
        "def f(kind):\n    match kind:\n        case 'gemma3':\n            pass",
        "x = model_type in ('gemma2', 'xlm-roberta')",
    ],
)
def test_a_named_kind_is_noticed(code: str) -> None:
    assert set(named(ast.parse(code)))


def test_text_about_a_kind_is_no_fault() -> None:
    assert not set(named(ast.parse('def f():\n    """bert"""\n    return "bert_base_en"')))


def test_the_choices_of_the_command_line_are_the_fresh_encoders() -> None:
    assert set(PRETRAINED_KINDS) == {entry.kind for entry in trained_by("mlm") if entry.fresh}
    assert {fresh_architecture("mlm", kind).kind for kind in PRETRAINED_KINDS} == set(PRETRAINED_KINDS)
    assert fresh_architecture("clm", "bert").kind == "gpt2"


def test_each_architecture_that_kerora_writes_itself_has_a_class_name_in_transformers() -> None:
    assert {entry.kind for entry in ARCHITECTURES.values() if entry.class_stem} == {
        entry.kind for entry in ARCHITECTURES.values() if not entry.hub
    }
