"""`kerora clean`: flipped labels come first, the data are never changed, and a second call trains nothing."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerora.cleaning.findings import COLUMNS
from kerora.cleaning.folds import fold_numbers
from kerora.cleaning.page import render
from kerora.config import resolve
from kerora.errors import ConfigError, DataError
from kerora.models.shared import checksum
from kerora.tuning.workbench import Workbench
from tests.cli.conftest import Kerora
from tests.cli.conftest import kerora as kerora

FLIPPED = (3, 17, 40, 58)


def flip(path: Path, split: bool = False) -> list[dict[str, Any]]:
    """Write 80 rows of which four have the other label, and return them."""
    words = {"good": ("great", "wonderful", "love", "best"), "bad": ("awful", "boring", "worst", "terrible")}
    things = ("movie", "story", "ending", "actor", "scene", "film", "team", "season", "store", "service")
    rows: list[dict[str, Any]] = [
        {"text": f"the {thing} was {word} and {word}", "label": label}
        for thing in things
        for place in range(4)
        for label in words
        for word in words[label][place : place + 1]
    ]
    classes = list(words)
    for place in FLIPPED:
        rows[place]["label"] = classes[1 - classes.index(rows[place]["label"])]
    for place, row in enumerate(rows):
        row |= {"id": f"n{place}"} | ({"split": "test" if place % 4 == 0 else "train"} if split else {})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory: pytest.TempPathFactory, tiny_preset: Path) -> Path:
    """A folder with noisy rows and the result of a clean."""
    from kerora.cleaning.clean import clean

    folder = tmp_path_factory.mktemp("clean")
    flip(folder / "rows.jsonl")
    shutil.copytree(tiny_preset, folder / "preset")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        clean(resolve(settings()), folds=3)
    return folder


def settings(**more: Any) -> dict[str, Any]:
    return {
        "data.source": "rows.jsonl",
        "model.preset": "preset",
        "model.max_length": 24,
        "model.precision": "float32",
        "training.epochs": 6,
        "training.batch_size": 8,
        "training.learning_rate": 0.01,
        "training.seed": 1,
        **more,
    }


ARGUMENTS = (
    *("clean", "rows.jsonl", "--preset", "preset", "--max-length", 24, "--precision", "float32", "--epochs", 6),
    *("--batch-size", 8, "--learning-rate", 0.01, "--seed", 1, "--folds", 3),
)


@pytest.fixture
def own(cleaned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(cleaned, tmp_path / "own")
    monkeypatch.chdir(tmp_path / "own")
    return tmp_path / "own"


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "clean" / "rows" / "suspicions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_flipped_labels_come_first_and_both_probabilities_are_shown(own: Path) -> None:
    rows = table(own)
    assert list(rows[0]) == [*COLUMNS, "new_label", "text"] and len(rows) == 80
    assert {int(row["row"]) - 1 for row in rows[:4]} == set(FLIPPED)
    assert all(row["model_label"] != row["label"] for row in rows[:4])
    assert sum("wrong label" in row["reasons"] for row in rows) >= 3
    values = [float(row["suspicion"]) for row in rows]
    assert values == sorted(values, reverse=True)
    for row in rows[:4]:
        assert float(row["p_model"]) - float(row["p_label"]) == pytest.approx(float(row["suspicion"]), abs=2e-6)
    page = (own / "clean" / "rows" / "report.html").read_text()
    assert all(f"n{place}" in page for place in FLIPPED)


def test_drop_reads_the_table_again_and_leaves_the_data(own: Path, kerora: Kerora) -> None:
    before = (own / "rows.jsonl").read_bytes()
    answer = kerora(*ARGUMENTS, "--drop", 4)
    assert answer.code == 0 and "It is read again" in answer.err and "Fold" not in answer.err
    kept = [json.loads(line) for line in (own / "clean" / "rows" / "cleaned.jsonl").read_text().splitlines()]
    assert [row["id"] for row in kept] == [f"n{n}" for n in range(80) if n not in FLIPPED]
    assert (own / "rows.jsonl").read_bytes() == before
    assert "exists" in kerora(*ARGUMENTS, "--drop", 4).error
    refused = kerora(*ARGUMENTS, "--drop", 4, "-o", "rows.jsonl", "--force")
    assert "never changed" in refused.error and (own / "rows.jsonl").read_bytes() == before


def test_relabel_takes_the_filled_table(own: Path, kerora: Kerora) -> None:
    rows = table(own)
    for row in rows[:4]:
        row["new_label"] = row["model_label"]
    with (own / "edited.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows[::-1])
    answer = kerora(*ARGUMENTS, "--relabel", "edited.csv", "-o", "new.csv")
    assert answer.code == 0 and "4 labels changed" in answer.out
    with (own / "new.csv").open(newline="") as stream:
        new = list(csv.DictReader(stream))
    old = [json.loads(line) for line in (own / "rows.jsonl").read_text().splitlines()]
    assert [n for n in range(80) if new[n]["label"] != str(old[n]["label"])] == list(FLIPPED)
    assert [row["text"] for row in new] == [row["text"] for row in old]


@pytest.mark.parametrize(
    ("row", "label", "message"),
    [("1", "goood", "is no class of the data. Did you mean"), ("81", "good", "is not in the data")],
)
def test_wrong_corrections(own: Path, kerora: Kerora, row: str, label: str, message: str) -> None:
    (own / "edited.csv").write_text(f"row,id,new_label\n{row},n0,{label}\n")
    assert message in kerora(*ARGUMENTS, "--relabel", "edited.csv").error
    assert not (own / "clean" / "rows" / "cleaned.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "regression"], "--task classification. Received: --task regression"),
        (["--drop", 3, "--relabel", "x.csv"], "Leave one out"),
        (["-o", "x.csv"], "Add one of them"),
        (["--drop", 0], "--drop must be from 1 to 79"),
        (["--drop", 80], "--drop must be from 1 to 79"),
        (["--drop", 2, "-o", "x.txt"], "must end in .csv or .jsonl"),
        (["--relabel", "absent.csv"], "Cannot read absent.csv"),
        (["--folds", 81, "--folder", "other"], "fewer than --folds 81"),
        (["--rank", 4], "other rows or settings"),
        (["--folder", "preset"], "holds no result of kerora clean"),
    ],
)
def test_bad_requests_are_one_line(own: Path, kerora: Kerora, arguments: list[object], message: str) -> None:
    assert message in kerora(*ARGUMENTS, *arguments).error


def test_an_empty_correction_changes_nothing(own: Path, kerora: Kerora) -> None:
    error = kerora(*ARGUMENTS, "--relabel", "clean/rows/suspicions.csv").error
    assert "changes no label" in error
    (own / "bad.csv").write_text("a,b\n1,2\n")
    assert "has no column 'row'" in kerora(*ARGUMENTS, "--relabel", "bad.csv").error


def test_all_parts_are_cleaned_and_the_new_file_is_divided_as_before(
    tmp_path: Path,
    own: Path,
    kerora: Kerora,
) -> None:
    rows = flip(own / "parts.jsonl", split=True)
    arguments = [value if value != "rows.jsonl" else "parts.jsonl" for value in ARGUMENTS]
    arguments[arguments.index(6)] = 1
    answer = kerora(*arguments, "--drop", 5, "-o", "new.jsonl")
    assert answer.code == 0, answer.err
    new = [json.loads(line) for line in (own / "new.jsonl").read_text().splitlines()]
    assert (
        len(new) == 75
        and {row["id"]: row["split"] for row in new}.items() <= {row["id"]: row["split"] for row in rows}.items()
    )


def test_folds_divide_every_class_evenly() -> None:
    labels = np.array([0] * 50 + [1] * 10 + [2] * 3)
    found = fold_numbers(labels, 5, 0)
    assert np.bincount(found[labels == 0]).tolist() == [10] * 5
    assert np.bincount(found[labels == 1]).tolist() == [2] * 5
    assert max(np.bincount(found)) - min(np.bincount(found)) <= 1
    assert np.array_equal(found, fold_numbers(labels, 5, 0)) and not np.array_equal(found, fold_numbers(labels, 5, 1))
    with pytest.raises(ConfigError, match="--folds"):
        fold_numbers(labels, 1, 0)
    with pytest.raises(DataError, match="fewer"):
        fold_numbers(labels[:3], 5, 0)


def test_a_class_of_one_row_is_not_judged_and_texts_are_escaped(own: Path) -> None:
    from kerora.cleaning.findings import find
    from kerora.cleaning.rows import load_all
    from kerora.tasks.registry import task_named

    texts = ["<script>alert(1)</script> good", "good film", "bad film", "bad plot", "lonely"]
    labels = ["bad", "good", "bad", "bad", "odd"]
    lines = (json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels, strict=True))
    (own / "odd.jsonl").write_text("".join(f"{line}\n" for line in lines))
    every = load_all(resolve({"data.source": "odd.jsonl"}), task_named("classification"))
    probabilities = np.array([[0.1, 0.9, 0], [0.1, 0.9, 0], [0.9, 0.1, 0], [0.8, 0.2, 0], [0.1, 0.9, 0]])
    found = find(every, probabilities, np.eye(5))
    assert found.wrong.tolist() == [True, False, False, False, False] and found.order[-1] == 4
    page = render(every, found, "model", 2)
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_the_base_is_the_same_after_the_folds(own: Path) -> None:
    config = resolve(settings(**{"training.epochs": 1, "training.early_stopping": False}))
    bench = Workbench(config)
    before = checksum(bench.base_model().backbone)
    seen = bench.trained(config, bench.data, lambda model: model.predict_logits(bench.data["validation"]))
    again = bench.trained(config, bench.data, lambda model: model.predict_logits(bench.data["validation"]))
    np.testing.assert_array_equal(seen, again)
    assert checksum(bench.base_model().backbone) == before
