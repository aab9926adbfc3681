"""What a fit warns of: one line for each finding of the audit."""

from pathlib import Path

import numpy as np
import pytest

from kerora.data.audit import audit, audit_tokens
from kerora.data.concerns import concerns, length_notes
from kerora.data.rows import Dataset, Rows
from kerora.models.presets import find_preset


def rows(texts: list[str], labels: list[int] | None = None) -> Rows[int]:
    return Rows(texts, [f"r{place}" for place in range(len(texts))], labels or [0] * len(texts))


def found(classes: tuple[str, ...], train: Rows[int], validation: Rows[int] | None = None, limit: int = 5) -> list[str]:
    splits = {"train": train} | ({} if validation is None else {"validation": validation})
    return concerns(audit(Dataset("d", classes, splits), None, limit), classes)


@pytest.mark.parametrize(
    ("classes", "line"),
    [
        (("pos", "Pos"), "The classes 'pos', 'Pos' differ only in case"),
        (("a b", "a  B"), "The classes 'a b', 'a  B' differ only in case, white space"),
        (("caf\u00e9", "cafe\u0301"), "differ only in"),
        (("x", "NaN"), "The class 'NaN' has a name that often stands for a missing label"),
        (("null", "N/A"), "The class 'null', 'N/A' has"),
        (("1", "-0.25"), "The 2 classes are numbers with decimals ('-0.25'). A classifier does not know"),
    ],
)
def test_names_of_classes(classes: tuple[str, ...], line: str) -> None:
    (only,) = found(classes, rows(["a", "b"], [0, 1]))
    assert line in only


def test_rows() -> None:
    train = rows(["a", "a", "b", "one two three four five six", "c"], [0, 1, 0, 1, 0])
    validation = rows(["new", "A ", "b"], [0, 0, 0])
    assert found(("x", "y"), train, validation) == [
        "validation has no rows of the class 'y'.",
        "train: 1 of 5 rows (20.0%) are longer than 5 words, and 10.0% of all words are lost. --long windows reads all "
        "of them, a higher --max-length more.",
        "validation: 2 of 3 rows (66.7%) are also training rows, so its numbers are too good. The first is row r1, in "
        "train r0.",
        "train: 2 of 5 rows (40.0%) have a text that occurs with another label too.",
    ]


def test_few_lost_words_are_no_finding() -> None:
    train = rows(["one two three four five six", *[f"a b c d {number}" for number in range(99)]], [0, 1] * 50)
    result = audit(Dataset("d", ("x", "y"), {"train": train, "test": rows([])}), None, 5)
    assert concerns(result, ("x", "y")) == []
    assert length_notes(result, windows=False) == [
        "Longer than 5 words, so cut: train 1 of 100 rows (1.0%), 0.20% of all words lost"
    ]
    assert length_notes(audit(Dataset("d", ("x", "y"), {"train": train}), None, 6), windows=False) == []


@pytest.mark.parametrize("classes", [("1", "2", "3"), ("1.10", "beta"), ("v1.0", "v2.5")])
def test_ratings_and_versions_are_names(classes: tuple[str, ...]) -> None:
    assert found(classes, rows(["a", "b", "c"], [0, 1, min(2, len(classes) - 1)])) == []


def test_nothing_is_said_of_good_data() -> None:
    texts = [f"text {number}" for number in range(8)]
    assert found(("x", "y"), rows(texts, [0, 1] * 4), rows(["a", "b"], [0, 1])) == []


def test_tokens_of_a_language_that_the_model_does_not_know(tiny_preset: Path) -> None:
    tokenizer = find_preset(str(tiny_preset)).load_tokenizer()
    texts = [
        "the story is good",
        "これは映画です 良い",
        "Это другой язык",
        "good Это",
        "late parcel " * 20,
        "the " * 14,
    ]
    dataset = Dataset("d", ("a", "b"), {"train": rows(texts, [0, 1] * 3), "test": rows([])})
    result = audit_tokens(dataset, tokenizer, 16)
    exact = audit(dataset, lambda part: tokenizer.lengths(part.texts, part.pairs), 16)
    assert 0 < result.splits["train"].lost == exact.splits["train"].lost
    assert result.splits["train"].lengths == exact.splits["train"].lengths
    assert result.splits["train"].truncated == pytest.approx(1 / 6)
    assert result.splits["train"].unknown == 2
    assert "train: 2 of 6 rows (33.3%) are mostly unknown tokens." in "\n".join(concerns(result, dataset.classes))


def test_many_long_rows_are_counted_without_a_second_pass(tiny_preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = find_preset(str(tiny_preset)).load_tokenizer()
    dataset = Dataset("d", ("a",), {"train": rows(["good " * 30] * 3 + ["good"])})
    asked: list[int] = []
    monkeypatch.setattr(type(tokenizer), "lengths", lambda self, texts, pairs: asked.append(len(texts)) or [32] * 2)
    found = audit_tokens(dataset, tokenizer, 8, exact_rows=2).splits["train"]
    assert (asked, found.truncated) == ([2], 0.75)
    assert found.lost == pytest.approx(3 * (32 - 8) / (3 * 32 + 3)), "the third row counts with the mean of the others"
    monkeypatch.undo()
    assert np.all(np.asarray(tokenizer.lengths(["good " * 30])) == 32)
