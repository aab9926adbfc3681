"""Samples and metrics of a language model: chosen, written, read back, shown and compared."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from kerora.data.documents import Documents, Part, completion, plain_text, turn
from kerora.errors import RunError
from kerora.runs.results import read_results
from kerora.tasks.language import results, screen
from kerora.tasks.language.samples import PROMPT_CHARACTERS, Sample, read_samples, sample_prompts, write_samples
from tests.evaluation.synthetic_runs import make_language_run

EVIL = "</script>[red]x[/red]\x1b[31m\u202eevil"
ODD = [EVIL, "=cmd|'/C calc'!A0", "👩‍👩‍👧", "tab\tline\n\nend", ""]


def shown(part: RenderableType) -> str:
    stream = io.StringIO()
    Console(file=stream, width=160, color_system=None, highlight=False).print(part)
    return stream.getvalue()


def documents(form: Any, *texts: tuple[Part, ...]) -> Documents:
    found = Documents(form=form)
    for number, parts in enumerate(texts, 1):
        found.append(parts, str(number))
    return found


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.text("ab \n\t", min_size=1, max_size=300).filter(str.strip), min_size=1, max_size=6), st.integers(1, 9)
)
def test_prompts_are_pieces_of_their_texts_and_leave_something_to_go_on_with(texts: list[str], count: int) -> None:
    chosen = sample_prompts(documents("text", *map(plain_text, texts)), count)
    assert 1 <= len(chosen) <= count or all(len(text.split()) <= 1 for text in texts)
    prompts = [sample.prompt for sample, _ in chosen]
    assert len(set(prompts)) == len(prompts)
    for sample, parts in chosen:
        text = texts[int(sample.id) - 1]
        ((prompt, counted, ends, *_),) = parts
        assert not counted and not ends
        assert prompt in text and 0 < len(prompt) <= PROMPT_CHARACTERS
        assert sample.before is None and sample.after is None


def test_prompts_are_spread_over_the_texts_and_inside_one_text() -> None:
    many = documents("text", *(plain_text(f"text number {number} goes on") for number in range(100)))
    assert [sample.id for sample, _ in sample_prompts(many, 4)] == ["1", "26", "51", "76"]
    book = documents("text", plain_text("".join(f"line {number} of the book\n" for number in range(400))))
    starts = [sample.prompt.split()[1] for sample, _ in sample_prompts(book, 4)]
    assert [round(int(start) / 100) for start in starts] == [0, 1, 2, 3]


def test_prompts_of_other_forms_end_where_the_model_is_to_answer() -> None:
    asked = documents("completion", completion("Say hello", "hello"), completion("=cmd", "no"))
    found = sample_prompts(asked, 2)
    assert [sample.prompt for sample, _ in found] == ["Say hello", "=cmd"]
    assert [parts for _, parts in found] == [(asked.parts[0][0],), (asked.parts[1][0],)]
    said = [("hi", False), ("hello", True), ("bye", False), ("see you", True), ("ok", False)]
    talk = tuple(turn(*each) for each in said)
    ((sample, parts),) = sample_prompts(documents("turns", talk), 3)
    assert parts == talk[:3] and sample.prompt == "hi\nhello\nbye", "up to the last answer, once"


def test_samples_read_back(tmp_path: Path) -> None:
    path = tmp_path / "samples.json"
    assert read_samples(path) == []
    written = [Sample("1", text, None, text) for text in ODD]
    write_samples(path, written)
    assert read_samples(path) == written
    path.write_text('{"samples": [{"id": 3, "prompt": 2.5}]}')
    assert read_samples(path) == [Sample("3", "2.5")], "numbers are texts here"


DAMAGED: list[Any] = [None, {"a": 1}, "text", ["text"], [None], [[]], [{"id": "1"}], [{"id": None, "prompt": None}]]


@pytest.mark.parametrize("samples", [*DAMAGED, [{"id": "1", "prompt": "x", "more": "y"}]])
def test_damaged_samples_are_told(samples: Any, tmp_path: Path) -> None:
    path = tmp_path / "samples.json"
    path.write_text(json.dumps({"samples": samples}))
    with pytest.raises(RunError) as caught:
        read_samples(path)
    assert str(caught.value) == f"{path} is damaged: 'samples' must be a list of prompts. Train again or delete it."


@pytest.fixture
def run(tmp_path: Path) -> Any:
    return make_language_run(tmp_path / "run")


def test_a_run_reads_back_with_its_samples(run: Any) -> None:
    found = read_results(run)
    assert [sample.after for sample in found.samples] == ["upon 2.0", "upon 2.0"]
    assert results.summary(found, None) == {
        "metrics": {"before": found.before, "after": found.after, "baseline": {}},
        "verdict": None,
    }
    results.split(found, "validation")
    with pytest.raises(RunError, match=r"metrics\.json holds no split 'test'\. It holds: validation\."):
        results.split(found, "test")
    run.metrics.write_text('{"before": {}}')
    with pytest.raises(RunError, match=r"holds no metrics of the trained model\. Evaluate the run with `kerora evalu"):
        read_results(run)


def test_tables_hold_the_metrics_and_dashes_where_there_are_none() -> None:
    metrics = {
        "test": {"perplexity": 12.34567, "bits_per_byte": 1.5, "loss": 2.0, "tokens": 1234567},
        "[b]odd[/b]\x1b": {"perplexity": None, "bits_per_byte": float("nan"), "loss": float("inf")},
    }
    lines = [line.split() for line in shown(screen.language_table(metrics)).splitlines()]
    assert ["test", "12.3457", "1.5000", "2.0000", "1,234,567"] in lines
    assert lines[-1][-4:] == ["-", "-", "-", "-"] and "\x1b" not in str(lines)


@pytest.mark.parametrize("text", ODD)
def test_samples_on_a_terminal_stay_text_on_lines_of_their_own(text: str) -> None:
    lines = shown(screen.samples_text([Sample("1", text, text, None), Sample("2", "plain", None, text)])).splitlines()
    flat = " ".join(text.replace("\x1b", "").replace("\u202e", "").replace("\u200d", "").split())
    assert [line.strip() for line in lines] == [flat, f"before {flat}".strip(), "plain", f"after  {flat}".strip(), ""]


def test_long_samples_are_cut() -> None:
    prompt, after, *_ = (
        shown(screen.samples_text([Sample("1", "p" * 500, None, "日" * 500)])).replace("\n", "").split("  ")
    )
    assert prompt.startswith("p" * 159) and prompt.count("p") == 159
    assert after.count("日") == 0 or after.count("日") <= 120


def test_comparison_says_what_keeps_numbers_apart(tmp_path: Path) -> None:
    same = [read_results(make_language_run(tmp_path / name, loss)) for name, loss in (("a", 2.0), ("b", 1.5))]
    found = results.compare(same)
    assert found.notes() == [] and found.splits == ("validation",)
    numbers = [line.split() for line in shown(screen.comparison_table(found)).splitlines() if "validation" in line]
    assert [line[:3] for line in numbers] == [["1", "a", "validation"], ["2", "b", "validation"]]
    assert found.as_dict()["metrics"]["validation"][1]["loss"] == 1.5
    other = read_results(make_language_run(tmp_path / "c", preset="other", data="cd"))
    notes = results.compare([*same, other]).notes()
    assert len(notes) == 2 and "compare only bits per byte" in notes[0]
    assert notes[1] == "validation: the runs were evaluated on different texts."


def test_runs_without_a_common_split_are_shown_beside_one_another(tmp_path: Path) -> None:
    first, second = (make_language_run(tmp_path / name) for name in "ab")
    measured = json.loads(second.metrics.read_text())
    second.metrics.write_text(json.dumps({part: {"test": value["validation"]} for part, value in measured.items()}))
    found = results.compare([read_results(first), read_results(second)])
    assert found.splits == ("validation", "test")
    assert "The runs have no evaluated split in common." in found.notes()
    assert [(number, name, split) for number, name, _, split in found.rows()] == [
        (1, "a", "validation"),
        (2, "b", "test"),
    ]
    assert found.as_dict()["metrics"]["test"][0] is None
