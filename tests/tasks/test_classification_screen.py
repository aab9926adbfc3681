"""The terminal's tables at several widths, with and without colours."""

import io
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from kerora.evaluation import terminal
from kerora.runs.results import read_results
from kerora.tasks.classification import screen
from kerora.tasks.classification.confusion_matrix import ConfusionMatrix
from kerora.tasks.classification.results import SplitResults, compare
from tests.evaluation.synthetic_runs import SIX, TWENTY, TWO, make_run


def shown(part: RenderableType, width: int = 80, colour: bool = False) -> str:
    stream = io.StringIO()
    system = "truecolor" if colour else None
    Console(file=stream, width=width, force_terminal=colour, color_system=system, highlight=False).print(part)
    return stream.getvalue()


def split_of(path: Path, classes: tuple[str, ...], **options) -> SplitResults:
    return read_results(make_run(path, classes, **options)).split()


def rows_of(text: str) -> dict[str, list[int]]:
    """Return the numbers of each matrix line by the class's number, over all blocks."""
    found: dict[str, list[int]] = {}
    for line in text.splitlines():
        match = re.match(r"\s*(\d+) \S+(.*)", line)
        if match and re.fullmatch(r"[ \d]+", match[2]):
            found.setdefault(match[1], []).extend(int(number) for number in match[2].split())
    return found


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("classes", [TWO, SIX, TWENTY])
def test_matrix_fits_every_width(tmp_path: Path, classes: tuple[str, ...], width: int) -> None:
    text = shown(ConfusionMatrix(split_of(tmp_path / "run", classes)), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_count_of_twenty_classes_is_shown(tmp_path: Path, width: int) -> None:
    split = split_of(tmp_path / "run", TWENTY, rows=5000)
    rows = rows_of(shown(ConfusionMatrix(split), width))
    assert [rows[str(place + 1)] for place in range(20)] == split.matrix.tolist()


def test_few_classes_show_counts_and_per_cent_with_their_names(tmp_path: Path) -> None:
    split = split_of(tmp_path / "run", TWO)
    lines = shown(ConfusionMatrix(split)).splitlines()
    assert lines[1].split() == list(TWO)
    for name, row in zip(TWO, split.matrix, strict=True):
        expected = [part for value in row for part in (str(value), f"{100 * value / row.sum():.0f}%")]
        assert next(line for line in lines[2:] if line.startswith(name)).split()[1:] == expected


def test_six_classes_show_per_cent_at_80_columns(tmp_path: Path) -> None:
    text = shown(ConfusionMatrix(split_of(tmp_path / "run", SIX, rows=900)))
    assert text.count("%") == 1 + 36


def test_cells_are_shaded_only_with_colours(tmp_path: Path) -> None:
    matrix = ConfusionMatrix(split_of(tmp_path / "run", TWO))
    assert "\x1b[" not in shown(matrix)
    assert "48;2;" in shown(matrix, colour=True)


def test_very_many_classes_point_to_the_csv(tmp_path: Path) -> None:
    split = split_of(tmp_path / "run", tuple(f"class {number}" for number in range(50)))
    assert "50 classes: too many" in shown(ConfusionMatrix(split))


def test_names_with_markup_control_and_wide_characters_are_safe(tmp_path: Path) -> None:
    names = ("[red]x[/red]", "\x1b[31mred\u202e", "日本語のとても長いクラスの名前です" * 2, "new\nline")
    split = split_of(tmp_path / "run", names, rows=60)
    text = shown(ConfusionMatrix(split)) + shown(screen.class_table(split))
    assert "[red]x[/red]" in text
    assert "\x1b" not in text and "\u202e" not in text
    assert "new line" in text
    assert "…" in text
    assert max(cell_len(line) for line in text.splitlines()) <= 80


def test_class_table_holds_the_metrics(tmp_path: Path) -> None:
    split = split_of(tmp_path / "run", SIX)
    lines = [line.split() for line in shown(screen.class_table(split)).splitlines()]
    for name, values in split.metrics["per_class"].items():
        numbers = [f"{values[key]:.4f}" for key in ("precision", "recall", "f1")]
        assert [name, *numbers, str(values["support"])] in lines
    assert ["macro", "average", *(f"{split.metrics[f'macro_{key}']:.4f}" for key in ("precision", "recall", "f1"))] in [
        line[:5] for line in lines
    ]


def test_before_and_after_show_the_difference(tmp_path: Path) -> None:
    results = read_results(make_run(tmp_path / "run", SIX))
    table = terminal.before_after_table(results)
    assert table is not None
    lines = [line.split() for line in shown(table).splitlines()]
    for split in ("test", "validation"):
        before, after = results.before[split]["accuracy"], results.after[split]["accuracy"]
        assert [split, "Accuracy", f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"] in lines


def test_tables_without_content_are_none(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", TWO, rows=20)
    run.metrics.write_text("{}")
    results = read_results(run)
    assert terminal.before_after_table(results) is None
    assert screen.confusions_table(results.split()) is None
    perfect = split_of(tmp_path / "perfect", SIX, strength=90.0)
    assert screen.confusions_table(perfect) is None
    assert shown(screen.headline(perfect)).startswith("Accuracy 1.0000")


def test_comparison_numbers_the_runs(tmp_path: Path) -> None:
    paths = (("weak", 0.1), ("strong", 4.0))
    runs = [read_results(make_run(tmp_path / name, SIX, strength=strength)) for name, strength in paths]
    text = "".join(shown(table) for table in screen.comparison_tables(compare(runs)))
    assert re.search(r"1 +weak +test +200", text)
    assert re.search(r"1, 2 +200 .*< 0.001 +run 2 is better", text)
    assert max(map(len, text.splitlines())) <= 80
