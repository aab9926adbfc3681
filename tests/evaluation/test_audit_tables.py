"""The tables of `kerora data show` hold the audit's numbers, and nothing that a terminal would obey."""

import io
import unicodedata

import pytest
from rich.console import Console, RenderableType

from kerora.data.audit import audit
from kerora.data.rows import Dataset, Rows
from kerora.evaluation.audit_tables import duplicate_table, escaped, length_table, percent
from kerora.evaluation.terminal import plain_table


def shown(part: RenderableType) -> str:
    stream = io.StringIO()
    Console(file=stream, width=200, color_system=None, highlight=False).print(part)
    return stream.getvalue()


def dataset() -> Dataset:
    train = Rows(["a b c", "a b c", "d", "e f"], list("1234"), [0, 1, 0, 1])
    test = Rows(["a  b c", "new words here today"], ["5", "6"], [0, 1])
    return Dataset("mine", ("no", "yes"), {"train": train, "test": test})


def cells(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def test_lengths_and_the_share_that_is_too_long() -> None:
    result = audit(dataset(), None, 3)
    lines = cells(shown(length_table(result)))
    assert lines[0] == ["Length", "in", "words"]
    assert lines[1][-4:] == ["over", "3", "words", "lost"]
    train = next(line for line in lines if line[0] == "train")
    test = next(line for line in lines if line[0] == "test")
    assert train[1:] == [*(str(value) for value in result.splits["train"].lengths.values()), "0", "(0.0%)", "0.00%"]
    assert test[-3:] == ["1", "(50.0%)", "14.29%"], "one of two rows has four words, of seven in all"
    whole = cells(shown(length_table(result, cut=False)))
    assert whole[1][-2:] == ["over", "3"]
    assert whole[-1][-1] == "50.0%"


def test_duplicates_conflicts_and_leaks() -> None:
    result = audit(dataset(), None, 3)
    labelled, plain = (cells(shown(duplicate_table(result, labelled=told))) for told in (True, False))
    train = result.splits["train"]
    assert ["train", str(train.duplicates), str(train.conflicts), "-"] in labelled
    assert ["train", str(train.duplicates), "-"] in plain
    assert train.conflicts > 0
    leak = result.leakage["test"]
    assert ["test", "0", "0", str(leak.count), f"({leak.share:.1%})"] in labelled
    assert leak.count == 1


def test_columns_behind_the_first_are_justified_alike() -> None:
    table = plain_table("name", "x", "y", title="A title", justify="center")
    assert [column.justify for column in table.columns] == ["left", "center", "center"]
    assert percent(1 / 3) == "33.3%" and percent(0) == "0.0%"


@pytest.mark.parametrize(
    "name", ["[red]x[/red]", "[/]", "\\[b]", "a\\", "[link=file:///etc]y[/link]", "=cmd", "[", "👍"]
)
def test_markup_in_names_is_shown_as_it_is(name: str) -> None:
    table = plain_table("first", "second", title="T")
    table.add_row(escaped(name), "end")
    assert name in shown(table) and "end" in shown(table)
    assert shown(f"[bold]{escaped(name)}[/bold]: tail") == f"{name}: tail\n"


@pytest.mark.parametrize("name", ["\x1b[31mred", "bell\x07", "\u202etfel", "\x9b31m", "new\nline", "a\u200bb\u2066c"])
def test_what_a_terminal_would_obey_is_left_out_of_names(name: str) -> None:
    table = plain_table("first", "second", title="T")
    table.add_row(escaped(name), "end")
    text = shown(table).replace("\n", "")
    assert not any(unicodedata.category(character) in ("Cc", "Cf") for character in text), ascii(text)
