"""`kerora data show` of labelled rows and of texts: the numbers, the JSON, and names that a terminal must not obey."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from kerora.config import resolve
from kerora.tasks.classification import audit_screen as labelled
from kerora.tasks.language import audit_screen as texts

EVIL = "[red]x[/red]\x1b[31m\u202eevil"


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def config(source: str, **more: Any) -> Any:
    return resolve({"data": {"source": source, "validation_split": 0.0, "skip_bad_rows": True}, **more})


def obeyed(text: str) -> set[str]:
    """Return what a terminal would obey."""
    return {character for character in text if unicodedata.category(character) in ("Cc", "Cf") and character != "\n"}


def lines_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def test_labelled_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": f"text {number}", "label": "yes" if number % 4 else "no"} for number in range(20)]
    source = write(tmp_path / "rows.jsonl", [*rows, {"text": "", "label": "no"}, {"text": "text 1", "label": "no"}])
    labelled.show(config(source), None, 2, as_json=False)
    lines = lines_of(capsys.readouterr().out)
    assert ["rows:", "2", "classes"] in lines
    assert ["train:", "1", "bad", "rows", "were", "dropped"] in [line[:6] for line in lines]
    assert ["no", "6", "(28.6%)"] in lines and ["yes", "15", "(71.4%)"] in lines and ["all", "21"] in lines
    assert ["train", "1", "2", "-"] in lines, "one duplicate, two rows of it with two labels"
    assert ["1", "no", "text", "0"] in lines and ["3", "yes", "text", "2"] not in lines
    labelled.show(config(source), None, 0, as_json=False)
    assert "First training rows" not in capsys.readouterr().out


def test_pairs_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"a": f"one {EVIL} {number}", "b": "=cmd", "label": str(number % 2)} for number in range(8)]
    source = write(tmp_path / "pairs.jsonl", rows)
    settings = resolve({"data": {"source": source, "validation_split": 0.25, "text": ["a", "b"]}})
    labelled.show(settings, None, 3, as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert len(content["first_rows"]) == 3 and content["first_rows"][0]["text"].startswith(f"one {EVIL}")
    assert {row.get("pair") for row in content["first_rows"]} <= {"=cmd", None}
    assert content["splits"]["train"]["rows"] == 6 and content["classes"] == ["0", "1"]
    labelled.show(settings, None, 3, as_json=False)
    assert "[red]x[/red]" in (text := capsys.readouterr().out) and not obeyed(text)


def test_names_of_classes_and_ids_are_not_obeyed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"id": f"{EVIL}{number}", "text": f"t {number}", "label": (EVIL, "plain")[number % 2]} for number in range(8)
    ]
    source = write(tmp_path / "rows.jsonl", rows)
    test = write(tmp_path / "test.jsonl", rows[:2])
    settings = resolve({"data": {"source": source, "test": test, "validation_split": 0.0}})
    labelled.show(settings, None, 3, as_json=False)
    text = capsys.readouterr().out
    assert text.count("[red]x[/red]") >= 5, "in the classes, the rows and the leaks"
    assert not obeyed(text)


@pytest.mark.parametrize(
    ("rows", "title", "marked"),
    [
        ([{"text": f"some text {number}"} for number in range(6)], "texts", False),
        (
            [{"prompt": "ask", "completion": f"answer {number}"} for number in range(6)],
            "prompts with completions",
            True,
        ),
        ([{"messages": ["hi", f"hello {number}", "bye", "bye"]} for number in range(6)], "conversations", True),
    ],
)
def test_texts_of_every_form(
    rows: list[dict[str, Any]], title: str, marked: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "texts.jsonl", rows)
    texts.show(config(source, task="causal-lm"), None, 2, as_json=False)
    text = capsys.readouterr().out
    assert f"texts: {title}" in text and "Lengths are in words. --preset NAME counts" in text
    assert (f"{texts.MARK} marks the parts in the loss." in text) is marked
    assert (f"{texts.MARK} answer 0" in text or f"{texts.MARK} hello 0" in text) is marked
    texts.show(config(source, task="causal-lm"), None, 2, as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert content["texts"]["train"]["texts"] == 6 and len(content["first_rows"]) == 2
    for found, written in zip(content["first_rows"], rows, strict=False):
        plain = {key: value for key, value in written.items() if key != "messages"}
        assert {key: found[key].removesuffix("\n") for key in plain} == plain


def test_texts_are_not_obeyed_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": f"{EVIL}{number}", "prompt": EVIL, "completion": f"=cmd {EVIL}"} for number in range(4)]
    texts.show(config(write(tmp_path / "texts.jsonl", rows), task="causal-lm"), None, 4, as_json=False)
    text = capsys.readouterr().out
    assert text.count("[red]x[/red]") >= 8 and not obeyed(text)
