"""`kerora predict --most-useful`: uncertain rows that differ, without those of the run, in the forms of the tools."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from kerora.evaluation.spread import spread
from kerora.runs import useful
from tests.cli.conftest import Kerora, own, workshop  # noqa: F401
from tests.cli.conftest import kerora as kerora

ONE = ("movie", "film", "story", "plot", "actor", "scene", "order", "parcel", "late", "refund")
OTHER = ("price", "team", "game", "score", "market", "bank")


@pytest.fixture
def pool(own: Path) -> Path:  # noqa: F811
    """A pool of 60 texts, of which two are the same, and five are rows of the run."""
    texts = [f"the {one} and the {other} was {one}" for one in ONE for other in OTHER]
    texts[7] = texts[3]
    known = [json.loads(line)["text"] for line in (own / "rows.jsonl").read_text().splitlines()[:5]]
    rows = [{"id": f"p{number}", "text": text} for number, text in enumerate([*texts, *known])]
    (own / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return own


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_most_uncertain_rows_are_chosen(pool: Path, kerora: Kerora, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(useful, "CANDIDATES", 1)  # without a choice among more rows
    answer = kerora("predict", "run", "pool.jsonl", "--most-useful", 8, "-o", "next.jsonl")
    assert answer.code == 0 and "5 of 65 rows of the pool are rows of the run" in answer.err
    assert answer.err.endswith("8 rows to label: next.jsonl\n")
    found = rows(pool / "next.jsonl")
    assert [list(row) for row in found] == [["id", "text", "label", "guess", "score"]] * 8
    assert all(row["label"] is None for row in found)
    kerora("predict", "run", "pool.jsonl", "-o", "all.csv")
    with (pool / "all.csv").open(newline="") as stream:
        scores = {row["id"]: float(row["score"]) for row in csv.DictReader(stream)}
    expected = sorted((scores[f"p{number}"], f"p{number}") for number in range(60) if number != 7)[:8]
    assert {row["id"] for row in found} == {identifier for _, identifier in expected}


def test_chosen_rows_differ_and_random_is_another_choice(pool: Path, kerora: Kerora) -> None:
    for strategy in ("margin", "random"):
        arguments = ("--most-useful", 8, "--strategy", strategy, "-o", f"{strategy}.jsonl")
        assert kerora("predict", "run", "pool.jsonl", *arguments).code == 0
    margin, random = (rows(pool / f"{name}.jsonl") for name in ("margin", "random"))
    for found in (margin, random):
        assert len({row["text"] for row in found}) == 8
        assert not {row["id"] for row in found} & {f"p{number}" for number in range(60, 65)}
    assert {row["id"] for row in margin} != {row["id"] for row in random}
    again = kerora("predict", "run", "pool.jsonl", "--most-useful", 8, "-o", "again.jsonl")
    assert again.code == 0 and rows(pool / "again.jsonl") == margin


@pytest.mark.parametrize(("tool", "name"), [("label-studio", "a.json"), ("doccano", "a.jsonl"), ("prodigy", "a.jsonl")])
def test_the_forms_of_the_tools(pool: Path, kerora: Kerora, tool: str, name: str) -> None:
    assert kerora("predict", "run", "pool.jsonl", "--most-useful", 3, "--annotations", tool, "-o", name).code == 0
    text = (pool / name).read_text()
    if tool == "label-studio":
        first = json.loads(text)[0]
        (result,) = first["predictions"][0]["result"]
        assert result["value"]["choices"][0] in ("good", "bad") and (result["from_name"], result["to_name"]) == (
            "label",
            "text",
        )
        assert set(first["data"]) == {"text", "row_id"}
    else:
        first = json.loads(text.splitlines()[0])
        assert first["label" if tool == "doccano" else "accept"][0] in ("good", "bad")


def test_a_pool_that_is_smaller_gives_all(pool: Path, kerora: Kerora) -> None:
    answer = kerora("predict", "run", "pool.jsonl", "--most-useful", 100, "-o", "next.csv")
    assert "The pool has 59 other texts, fewer than --most-useful 100." in answer.err
    with (pool / "next.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 59


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--most-useful", 3], "Give --output"),
        (["--most-useful", 3, "-o", "a.jsonl", "--submission"], "leave the other outputs out"),
        (["--strategy", "random"], "--strategy is for --most-useful"),
        (["--annotations", "doccano"], "--annotations is for --most-useful"),
        (["--most-useful", 3, "-o", "a.jsonl", "--annotations", "label-studio"], "Label Studio imports .json"),
        (["--most-useful", 3, "-o", "a.txt"], ".jsonl or .csv"),
        (["--most-useful", 3, "-o", "pool.jsonl"], "exists"),
    ],
)
def test_bad_requests_are_one_line(pool: Path, kerora: Kerora, arguments: list[object], message: str) -> None:
    assert message in kerora("predict", "run", "pool.jsonl", *arguments).error


def test_one_row_of_each_group_is_chosen() -> None:
    generator = np.random.default_rng(0)
    centres = np.eye(6)[np.arange(60) % 6]
    vectors = centres + 0.05 * generator.standard_normal((60, 6))
    found = spread(vectors, 6, 0)
    assert sorted(place % 6 for place in found) == list(range(6)) and (found < 12).all()
    assert spread(np.ones((5, 3)), 3, 0).tolist() == [0, 1, 2] and spread(vectors[:4], 9, 0).tolist() == [0, 1, 2, 3]
