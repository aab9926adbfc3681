"""Tables and facts keep numbers and words whole at every width."""

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from kerora.evaluation.terminal import Facts, cut, plain_table, say, wrapped

NUMBERS = re.compile(r"\d[\d.,]*")


def shown(part: RenderableType, width: int) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None, highlight=False).print(part)
    return stream.getvalue()


def table(title: str | None = None):
    found = plain_table("class", "precision", "recall", "of the true class", "verdict", title=title)
    found.columns[-1].justify = "left"
    found.add_row("praise-and-feedback", "0.9394", "1,234,567", "11.8 %", "no significant difference")
    found.add_row("x", "0.5", "2", "100.0 %", "better")
    return found


@pytest.mark.parametrize("width", [24, 30, 40, 55, 60, 80, 120])
def test_no_number_and_no_line_is_divided(width: int) -> None:
    text = shown(table(), width)
    for number in ("0.9394", "1,234,567", "11.8 %", "100.0 %"):
        assert number in text
    assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= max(
        width, len("verdict no significant differ")
    )


def test_a_wide_terminal_shows_a_row_a_line_and_a_narrow_one_the_headings_with_the_values() -> None:
    assert "praise-and-feedback      0.9394   1,234,567" in shown(table(), 120)
    narrow = shown(table("A title"), 30).splitlines()
    assert narrow[0].strip() == "A title" and narrow[1] == "praise-and-feedback"
    assert "of the true class 11.8 %" in [line.strip() for line in narrow]


def test_facts_end_lines_only_between_two_of_them() -> None:
    facts = ["loss 0.5000", "val_macro_f1 0.1234", "a fact that is longer than the line"]
    assert shown(Facts(facts, indent="  "), 34).splitlines() == [
        f"{facts[0]}   {facts[1]}",
        "  a fact that is longer than the",
        "  line",
    ]
    assert shown(Facts(facts), 200).rstrip() == "   ".join(facts)


def test_paths_and_units_stay_whole() -> None:
    text = "Trained 4,191,238 weights (2.39 %) in 12 min 3 s: /a/very/long/path/that/is/longer-than-the-line/run"
    for width in (20, 30, 40):
        found = wrapped(text, width)
        assert NUMBERS.findall(found) == NUMBERS.findall(text)
        assert "2.39 %" in found and "12 min" in found and "3 s" in found
        assert "/a/very/long/path/that/is/longer-than-the-line/run" in found
    assert wrapped("one\n\ntwo", 40) == "one\n\ntwo"


def test_pipes_get_whole_lines() -> None:
    stream = io.StringIO()
    say(Console(file=stream, width=20), "a line of words that is long enough [bold]")
    assert stream.getvalue() == "a line of words that is long enough [bold]\n"


def test_wide_characters_count_twice() -> None:
    assert cut("日本語テキスト", 7) == "日本語…" and cut("abc", 3) == "abc"
