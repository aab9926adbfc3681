"""Files of annotation tools: exports are read as labels, guesses never are, several files are one part."""

import json
from pathlib import Path
from typing import Any

import pytest

from kerora.config import resolve
from kerora.data.annotations import Guess, write_guesses
from kerora.data.sources import load_dataset
from kerora.errors import DataError
from kerora.tasks.found import with_task

GUESSES = [Guess("7", "good film", None, "good", 0.6), Guess("n9", "dull plot", None, "good", 0.55)]
TOOLS = ["label-studio", "doccano", "prodigy"]


def written(path: Path, tool: str | None, guesses: list[Guess] = GUESSES) -> Path:
    with path.open("w") as stream:
        options: dict[str, Any] = {"columns": ["id", "text", "label"], "classes": ["bad", "good"], "model": "run"}
        write_guesses(stream, guesses, tool, form=path.suffix[1:], **options)
    return path


def answered(path: Path, tool: str, labels: list[str | None]) -> Path:
    """Do with a file what a tool does: the annotator answers, and the tool exports."""
    if tool == "label-studio":
        tasks = json.loads(path.read_text())
        for number, (task, label) in enumerate(zip(tasks, labels, strict=True), 1):
            choice = {"type": "choices", "from_name": "label", "to_name": "text", "value": {"choices": [label]}}
            task |= {"id": 100 + number, "annotations": [{"result": [choice] if label else [], "was_cancelled": False}]}
        path.write_text(json.dumps(tasks))
        return path
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number, (row, label) in enumerate(zip(rows, labels, strict=True), 1):
        if tool == "doccano":
            row |= {"id": 100 + number, "label": [label] if label else [], "Comments": []}
        else:
            row |= {"accept": [label] if label else [], "answer": "accept" if label else "ignore", "_task_hash": number}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def old(folder: Path, header: str = "text,label") -> Path:
    (folder / "old.csv").write_text(f"{header}\nwonderful,good\nawful,bad\n")
    return folder / "old.csv"


def name_of(tool: str) -> str:
    return "next.json" if tool == "label-studio" else "next.jsonl"


@pytest.mark.parametrize("tool", TOOLS)
def test_an_export_is_read_beside_the_old_rows(tmp_path: Path, tool: str) -> None:
    old(tmp_path, "message,stars")
    answered(written(tmp_path / name_of(tool), tool), tool, ["good", "bad"])
    files = f"{tmp_path / 'old.csv'}, {tmp_path / name_of(tool)}"
    config = resolve(
        {"data.train": files, "data.text": ["message"], "data.label": ["stars"], "data.validation_split": 0}
    )
    assert with_task(config).task == "classification"
    with pytest.warns(UserWarning, match="is read as an export of .*: 2 answered rows"):
        dataset = load_dataset(config.data)
    rows = dataset["train"]
    assert list(rows.texts) == ["wonderful", "awful", "good film", "dull plot"]
    assert [dataset.classes[number] for number in rows.targets or ()] == ["good", "bad", "good", "bad"]
    assert list(rows.ids)[2:] == ["7", "n9"] and dataset.name == "old"


@pytest.mark.parametrize("tool", TOOLS)
def test_rows_that_nobody_answered_are_left_out(tmp_path: Path, tool: str) -> None:
    guesses = [*GUESSES, Guess("3", "great plot", None, "bad", 0.5)]
    path = answered(written(tmp_path / name_of(tool), tool, guesses), tool, ["good", None, "bad"])
    with pytest.warns(UserWarning, match="2 answered rows, 1 without an answer are left out"):
        dataset = load_dataset({"train": f"{old(tmp_path)},{path}", "validation_split": 0})
    assert list(dataset["train"].texts)[2:] == ["good film", "great plot"]


@pytest.mark.parametrize("tool", TOOLS)
def test_guesses_are_never_read_as_labels(tmp_path: Path, tool: str) -> None:
    path = written(tmp_path / name_of(tool), tool)
    with pytest.raises(DataError, match="holds guesses of a model .* no answers"):
        load_dataset({"train": str(path), "validation_split": 0})


def test_an_empty_label_of_a_plain_table_is_an_error(tmp_path: Path) -> None:
    for name in ("next.csv", "next.jsonl"):
        path = written(tmp_path / name, None)
        with pytest.raises(DataError):
            load_dataset({"train": str(path), "validation_split": 0})


def test_annotators_who_disagree_are_a_bad_row(tmp_path: Path) -> None:
    path = answered(written(tmp_path / "next.json", "label-studio"), "label-studio", ["good", "bad"])
    tasks = json.loads(path.read_text())
    other = {"result": [{"type": "choices", "value": {"choices": ["bad"]}}]}
    tasks[0]["annotations"].append(other)
    path.write_text(json.dumps(tasks))
    with pytest.raises(DataError, match="row 1 has different answers of 2 annotators"):
        load_dataset({"train": str(path), "validation_split": 0})


def test_a_table_of_lists_is_no_export(tmp_path: Path) -> None:
    path = tmp_path / "tags.jsonl"
    path.write_text('{"id": 1, "text": "a", "label": ["x"]}\n{"id": 2, "text": "b", "label": ["x", "y"]}\n')
    assert with_task(resolve({"data.source": str(path)})).task == "multi-label"


def test_multiple_choice_is_no_export(tmp_path: Path) -> None:
    path = tmp_path / "quiz.jsonl"
    rows = [{"text": f"question {n}", "options": ["a", "b"], "answer": "ab"[n % 2]} for n in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = load_dataset({"train": str(path), "label": ["answer"], "validation_split": 0})
    assert dataset.classes == ("a", "b") and len(dataset["train"]) == 6


def test_several_answers_are_for_several_labels(tmp_path: Path) -> None:
    path = answered(written(tmp_path / "next.jsonl", "doccano"), "doccano", ["good", "bad"])
    path.write_text(path.read_text().replace('["bad"]', '["bad", "good"]'))
    assert with_task(resolve({"data.train": str(path)})).task == "multi-label"


def test_several_files_are_one_part(tmp_path: Path) -> None:
    (tmp_path / "a,b.csv").write_text("text,label\none,x\ntwo,y\nsix,y\n")
    (tmp_path / "c.csv").write_text("text,label\nthree,x\n")
    alone = load_dataset({"train": str(tmp_path / "a,b.csv"), "validation_split": 0})
    assert len(alone["train"]) == 3
    (tmp_path / "d.csv").write_text("text,label\nfour,y\nsix,x\n")
    found = load_dataset({
        "train": f"{tmp_path / 'c.csv'},{tmp_path / 'd.csv'}",
        "test": f"{tmp_path / 'd.csv'}, {tmp_path / 'c.csv'}",
        "validation_split": 0,
    })  # fmt: skip
    assert list(found["train"].texts) == ["three", "four", "six"]
    assert list(found["test"].texts) == ["four", "six", "three"]
    with pytest.raises(DataError, match="There is no file .*absent.csv"):
        load_dataset({"train": f"{tmp_path / 'c.csv'},{tmp_path / 'absent.csv'}"})
    (tmp_path / "e.csv").write_text("text\nfive\n")
    with pytest.raises(DataError):
        load_dataset({"train": f"{tmp_path / 'c.csv'},{tmp_path / 'e.csv'}", "validation_split": 0})


def test_pairs_are_for_label_studio_alone(tmp_path: Path) -> None:
    pairs = [Guess("1", "a", "b", "same", 0.5)]
    written(tmp_path / "next.json", "label-studio", pairs)
    assert json.loads((tmp_path / "next.json").read_text())[0]["data"] == {"text": "a", "pair": "b", "row_id": "1"}
    with pytest.raises(DataError, match="shows one text"):
        written(tmp_path / "next.jsonl", "doccano", pairs)
