"""`kerora augment`: new rows of the training part alone, each text once, none of a validation or test row."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from kerora.data.new_rows import METHODS, changed, make_rows
from kerora.data.sources import load_dataset
from tests.cli.conftest import Kerora
from tests.cli.conftest import kerora as kerora


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    good = [f"a really {word} film to see" for word in ("great", "good", "fine", "nice")]
    bad = [f"a very {word} film to miss" for word in ("dull", "bad", "weak")]
    for name, rows in (("train", [*good[:3], *bad[:2]]), ("validation", [good[3], bad[2]])):
        lines = [f"{number},{text},{'pos' if 'see' in text else 'neg'}" for number, text in enumerate(rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["key,review,stars", *lines]) + "\n")
    return tmp_path


ARGUMENTS = ("--text", "review", "--label", "stars", "--id", "key")


def test_rows_have_an_origin_and_a_budget_by_class(parts: Path, kerora: Kerora) -> None:
    answer = kerora("augment", ".", *ARGUMENTS, "--budget", 5, "-o", "new.csv", "--method", "aeda", "--method", "swap")
    assert answer.code == 0 and answer.err.endswith("10 new rows: new.csv\n"), answer.err
    with (parts / "new.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["id", "review", "stars", "origin", "method"]
    assert Counter(row["stars"] for row in rows) == {"pos": 5, "neg": 5}
    with (parts / "train.csv").open(newline="") as stream:
        old = {row["key"]: row for row in csv.DictReader(stream)}
    assert all(old[row["origin"]]["stars"] == row["stars"] for row in rows)
    texts = [row["review"] for row in rows]
    assert len(set(texts)) == 10 and not set(texts) & {row["review"] for row in old.values()}
    again = kerora("augment", ".", *ARGUMENTS, "--budget", 5, "-o", "new2.csv", "--method", "aeda", "--method", "swap")
    assert again.code == 0 and (parts / "new2.csv").read_text() == (parts / "new.csv").read_text()
    dataset = load_dataset({
        "train": "train.csv,new.csv", "validation": "validation.csv", "text": ["review"], "label": ["stars"],
    })  # fmt: skip
    assert len(dataset["train"]) == 15


def test_a_text_of_a_validation_row_is_left_out(parts: Path) -> None:
    (parts / "validation.csv").write_text("key,review,stars\n1,b a,x\n2,d c,y\n")
    (parts / "train.csv").write_text("key,review,stars\n1,a b,x\n2,c d,y\n3,e f,x\n")
    dataset = load_dataset({"source": ".", "text": ["review"], "label": ["stars"], "id": "key"})
    made = make_rows(dataset, 3, ("swap",), 0)
    assert [row["review"] for row in made.rows] == ["f e"] and made.leaked and made.repeated


@pytest.mark.parametrize("method", METHODS)
def test_changes_of_a_text(method: str) -> None:
    words = [f"w{number}" for number in range(20)]
    for seed in range(20):
        found = changed(words, method, 0.1, np.random.default_rng(seed))
        if method == "swap":
            assert sorted(found) == sorted(words) and found != words
        elif method == "cutoff":
            assert len(found) == 18 and [word for word in words if word in found] == found
        else:
            assert [word for word in found if word in words] == words and len(found) == 22 and found[0] == "w0"
        assert changed(["a", "b"], method, 0.9, np.random.default_rng(seed))


def test_bad_requests(parts: Path, kerora: Kerora) -> None:
    base = ("augment", ".", *ARGUMENTS, "-o", "new.jsonl")
    assert "--budget" in kerora(*base, "--budget", 0).error
    assert "must end in" in kerora("augment", ".", "--budget", 1, "-o", "new.txt").error
    (parts / "new.jsonl").write_text("")
    assert "exists" in kerora(*base, "--budget", 1).error
    alone = kerora("augment", "train.csv", *ARGUMENTS, "--budget", 1, "-o", "a.jsonl")
    assert "has no validation part" in alone.error
    assert kerora("augment", "train.csv", *ARGUMENTS, "--budget", 1, "-o", "a.jsonl", "--validation-split", 0).code == 0
    assert {"origin", "method"} <= set(json.loads((parts / "a.jsonl").read_text().splitlines()[0]))
    (parts / "words.csv").write_text("text,label\n" + "good,a\nbad,b\nfine,a\n")
    words = kerora("augment", "words.csv", "--budget", 1, "-o", "b.jsonl", "--validation-split", 0)
    assert "no training text has two words" in words.error and not (parts / "b.jsonl").exists()
    (parts / "numbers.csv").write_text("text,label\n" + "a good one,1.5\na bad one,2.5\n" * 5)
    numbers = (
        "augment",
        "numbers.csv",
        "--task",
        "regression",
        "--budget",
        1,
        "-o",
        "c.jsonl",
        "--validation-split",
        0,
    )
    assert kerora(*numbers).code == 2
