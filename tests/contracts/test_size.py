"""No function is longer than a screen, no file longer than a sitting."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

LONGEST_FUNCTION = 60
LONGEST_FILE = 450
FOLDERS = ("kerora", "examples", "benchmarks", "tests", "docs")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def long_functions(source: str) -> dict[str, int]:
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    return {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_and_files_are_short(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= LONGEST_FILE
    assert not long_functions(source)


def test_a_long_function_is_noticed() -> None:
    assert long_functions("def f():\n" + "    pass\n" * 60) == {"f": 61}
    assert not long_functions("def f():\n" + "    pass\n" * 59)
