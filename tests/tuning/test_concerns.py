"""A search says the same about its data as a fit does, before its first trial."""

from pathlib import Path
from typing import Any

import pytest

from kerora.config import resolve
from kerora.settings.tune import TuneConfig
from kerora.tuning.study import prepare
from tests.tuning.conftest import SPACE


def test_leaked_rows_and_odd_classes_are_named_before_the_search(settings: dict[str, Any], tmp_path: Path) -> None:
    rows = [(f"text {number} of the day", ("good", "bad ")[number % 2]) for number in range(40)]
    lines = "".join(f"{text},{label}\n" for text, label in rows)
    (tmp_path / "a.csv").write_text(f"text,label\n{lines}another text,nan\none more,nan\n")
    (tmp_path / "b.csv").write_text(f"text,label\n{lines}")
    data = {"data.train": str(tmp_path / "a.csv"), "data.validation": str(tmp_path / "b.csv")}
    with pytest.warns(UserWarning) as found:
        prepare(resolve(settings, data), TuneConfig(study="one", trials=2), SPACE)
    said = " ".join(str(warning.message) for warning in found)
    assert "40 of 40 rows" in said and "also training rows" in said
    assert "'nan'" in said and "missing label" in said
