"""The bundled set of customer messages keeps what the README promises about it."""

import runpy
from collections import Counter

import pytest

from kerora.config import DataConfig
from kerora.data.sources import BUNDLED_FILE, load_dataset
from tests import check_tickets
from tests.check_tickets import CLASSES, SPLITS, Row

ALLOWED_OVERLAP = 1 / 3


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return check_tickets.read()


def test_there_are_enough_rows_of_one_form(rows: list[Row]) -> None:
    assert check_tickets.FILE == BUNDLED_FILE
    assert len(rows) >= 1200
    assert all(list(row) == ["text", "label", "split"] for row in rows)
    assert {row["label"] for row in rows} == set(CLASSES)
    assert all(row["text"] == row["text"].strip() and row["text"].isprintable() | ("\n" in row["text"]) for row in rows)


def test_the_splits_are_fixed_and_balanced(rows: list[Row]) -> None:
    assert Counter(row["split"] for row in rows) == {"train": 977, "validation": 209, "test": 210}
    counts = Counter((row["split"], row["label"]) for row in rows)
    for split in SPLITS:
        sizes = [counts[split, name] for name in CLASSES]
        assert max(sizes) <= 1.1 * min(sizes)


def test_kerora_reads_the_same_rows(rows: list[Row]) -> None:
    dataset = load_dataset(DataConfig(), seed=7)
    assert dataset.classes == CLASSES
    for split, part in dataset:
        expected = [(row["text"], row["label"]) for row in rows if row["split"] == split]
        assert list(zip(part.texts, [CLASSES[number] for number in part.targets or ()], strict=True)) == expected


def test_no_message_occurs_twice(rows: list[Row]) -> None:
    assert check_tickets.duplicates(rows) == []


def test_no_two_messages_share_more_than_a_third_of_their_word_4_grams(rows: list[Row]) -> None:
    alike = [
        (rows[a]["text"], rows[b]["text"]) for share, a, b in check_tickets.overlaps(rows) if share > ALLOWED_OVERLAP
    ]
    assert alike == []


def test_no_message_holds_contact_details(rows: list[Row]) -> None:
    assert check_tickets.contacts(rows) == []


def test_a_simple_baseline_is_good_but_not_perfect(rows: list[Row]) -> None:
    assert 0.75 <= check_tickets.baseline(rows) <= 0.93


def test_the_checks_notice_what_they_look_for() -> None:
    texts = [
        "Where is my red parcel now?",
        "where is MY red parcel, now",
        "So where is my red scarf",
        "mail me: a@b.example",
    ]
    rows = [{"text": text, "label": "delivery", "split": "train"} for text in texts]
    assert check_tickets.duplicates(rows) == ["where is my red parcel now"]
    assert sorted(check_tickets.overlaps(rows)) == [(1 / 3, 0, 2), (1 / 3, 1, 2), (1.0, 0, 1)]
    assert len(check_tickets.contacts(rows)) == 1


def test_the_script_prints_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(check_tickets.__file__, run_name="__main__")
    output = capsys.readouterr().out
    assert output.startswith("1396 messages")
    assert "macro F1 on the test split: 0." in output
