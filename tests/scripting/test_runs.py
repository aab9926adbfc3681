"""`kerora.evaluate` and `kerora.predict` on rows in memory give what they give for files."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest

import kerora
from kerora.errors import ConfigError, DataError, KeroraError
from tests.scripting.test_fit import FRAME, LABELS, TEXTS


@pytest.fixture(scope="module")
def run(tiny_preset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings: dict[str, Any] = {"text": "message", "label": "queue", "max_steps": 2, "rank": 4}
    found = kerora.fit(train=FRAME, preset=tiny_preset, runs_dir=tmp_path_factory.mktemp("runs"), **settings)
    return found.run.path


def test_predictions_of_memory_are_those_of_a_file(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"message": text}) + "\n" for text in TEXTS[:5]))
    rows = kerora.predict(run, str(file))
    assert [list(row) for row in rows] == [["id", "label", "score", "p_bad", "p_good"]] * 5
    for form in (TEXTS[:5], {"message": TEXTS[:5]}, [{"message": text} for text in TEXTS[:5]]):
        assert kerora.predict(run, form) == rows
    table = kerora.predict(run, pyarrow.table({"message": TEXTS[:5]}))
    assert isinstance(table, pyarrow.Table) and table.to_pylist() == rows
    assert kerora.predict(run, TEXTS[:5], tmp_path / "out.csv") == 5
    with (tmp_path / "out.csv").open() as stream:
        assert [row["label"] for row in csv.DictReader(stream)] == [row["label"] for row in rows]
    with pytest.raises(DataError, match=r"^input \(list\): .* row 2 has an empty text in 'message'"):
        kerora.predict(run, ["a", " "])
    assert [row["id"] for row in kerora.predict(run, ["a", " ", "b"], skip_bad_rows=True)] == ["1", "3"]


def test_evaluation_of_rows_in_memory(run: Path, tmp_path: Path) -> None:
    found = kerora.evaluate(run, {"message": TEXTS, "queue": LABELS})
    assert found.folder.path.parent == run / "evaluations" and found.folder.predictions.is_file()
    again = kerora.evaluate(run, test=(TEXTS, LABELS))
    assert again.folder.path == found.folder.path and again.metrics == found.metrics
    other = kerora.evaluate(run, {"body": TEXTS, "queue": LABELS}, text="body")
    assert other.folder.path != found.folder.path and other.metrics == found.metrics
    assert kerora.evaluate(run, {"data.subset": 4}, output=tmp_path / "own").metrics
    with pytest.raises(KeroraError, match="label 'ugly' does not occur in the run"):
        kerora.evaluate(run, (TEXTS[:2], ["good", "ugly"]))
    with pytest.raises(ConfigError, match="both give rows"):
        kerora.evaluate(run, TEXTS, test=TEXTS)
