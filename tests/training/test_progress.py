"""What a person sees: the lines, the bar, tokens a second and the count of a resumed run."""

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from kerora.training import progress as module
from kerora.training.progress import LINE_SECONDS, Progress, Silent


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "perf_counter", clock)
    monkeypatch.setattr(module, "peak_memory_mb", lambda: 1234.4)
    return clock


def shown(terminal: bool = False, **options: Any) -> tuple[Progress, io.StringIO]:
    stream = io.StringIO()
    item = Progress(console=Console(file=stream, force_terminal=terminal, width=60), **options)
    item.set_params({"epochs": 3, "steps": 10})
    return item, stream


def batches(start: int = 0, tokens: int = 0) -> Any:
    return SimpleNamespace(start=start, tokens_served=tokens)


def test_a_line_comes_every_fifteen_seconds_and_not_before(clock: Clock) -> None:
    data = batches(tokens=500)
    item, stream = shown(batches=data)
    item.on_train_begin()
    item.on_epoch_begin(1)
    for seconds in (1.0, LINE_SECONDS - 1.5):
        clock.now += seconds
        item.on_train_batch_end(0, {"loss": 0.5})
    assert stream.getvalue() == ""
    clock.now += 0.5
    data.tokens_served += 30_000
    item.on_train_batch_end(0, {"loss": 0.25})
    # 30,000 tokens in 15 seconds; those of before do not count
    assert stream.getvalue() == "epoch 2  batch 3/10  loss 0.2500  2,000 tokens/s  1,234 MB\n"
    clock.now += LINE_SECONDS - 0.1
    item.on_train_batch_end(0, {"loss": 0.2})
    assert stream.getvalue().count("\n") == 1


def test_a_resumed_epoch_counts_from_where_it_goes_on(clock: Clock) -> None:
    item, stream = shown(batches=batches(start=6))
    item.on_train_begin()
    item.on_epoch_begin(2)
    clock.now += 60
    item.on_train_batch_end(0)
    assert stream.getvalue() == "epoch 3  batch 7/10  0 tokens/s  1,234 MB\n"


def test_the_line_of_an_epoch_shows_what_there_is_in_a_fixed_order() -> None:
    item, stream = shown()
    logs = {"val_macro_f1": 0.5, "seconds": 3.0, "loss": 1 / 3, "val_loss": None, "val_perplexity": 12.0}
    item.on_epoch_end(0, logs)
    item.on_epoch_end(2, None)
    assert stream.getvalue().splitlines() == [
        "epoch 1/3  loss 0.3333  val_macro_f1 0.5000  val_perplexity 12.0000",
        "epoch 3/3",
    ]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 120, 200])
def test_bar_and_epochs_fit_every_terminal(clock: Clock, width: int) -> None:
    stream = io.StringIO()
    item = Progress(console=Console(file=stream, force_terminal=True, color_system=None, width=width))
    item.set_params({"epochs": 12, "steps": 1000})
    item.follow(batches(tokens=0), total=12_000)
    item.on_train_begin()
    item.on_epoch_begin(11)
    clock.now += 36_000
    item.on_train_batch_end(0, {"loss": 12.3456})
    assert item._bar is not None
    item._bar.refresh()
    values = {"loss": 1 / 3, "accuracy": 0.9, "val_loss": 0.5, "val_accuracy": 0.25, "val_macro_f1": 0.125}
    item.on_epoch_end(10, values)
    item.on_epoch_end(11, values)
    item.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", text)]
    assert max(map(len, lines)) <= width
    assert all(f"{value:.4f}" in text for value in values.values()) and "…" not in text
    assert re.search(r"ETA +-?[\d-]+:[\d-]+:[\d-]+", text), text
    # wide enough: the names of the values once, above the numbers of all epochs
    assert text.count("val_macro_f1") == (1 if width >= 80 else 2)
    assert ("tokens/s" in text) == (width >= 80)


@pytest.mark.parametrize("text", ["[bold]no markup[/bold]", "[/]", "a long line " * 20])
def test_a_note_is_printed_as_it_is_on_one_line(text: str) -> None:
    item, stream = shown()
    item.note(text)
    assert stream.getvalue() == text + "\n"


def test_the_bar_goes_to_the_end_of_the_run(clock: Clock) -> None:
    item, stream = shown(terminal=True)
    item.follow(batches(start=4), total=25)  # fewer than epochs times steps, as with max_steps
    item.on_train_begin()
    assert item._bar is not None and item._bar.tasks[0].total == 25
    item.on_epoch_begin(1)
    item.on_train_batch_end(0, {"loss": 2.0})
    task = item._bar.tasks[0]
    assert (task.completed, task.description) == (15, "epoch 2/3")
    assert task.fields == {"loss": "loss 2.0000", "speed": "0 tokens/s", "memory": "1,234 MB"}
    item.on_train_end()
    assert item._bar is None
    item.close()  # also after an error that came first
    # the cursor is shown again
    assert re.findall(r"\x1b\[\?25[lh]", stream.getvalue())[-1] == "\x1b[?25h"


@pytest.mark.parametrize(("params", "total"), [({"epochs": 3, "steps": 10}, 30), ({"epochs": 2, "steps": None}, None)])
def test_without_a_total_the_bar_is_as_long_as_keras_says(params: dict[str, Any], total: int | None) -> None:
    item, _ = shown(terminal=True)
    item.set_params(params)
    item.on_train_begin()
    assert item._bar is not None and item._bar.tasks[0].total == total
    item.close()


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    item = Silent()
    item.set_params({"epochs": 1, "steps": 1})
    item.note("something")
    item.on_train_begin()
    item.on_epoch_begin(0)
    item.on_train_batch_end(0, {"loss": 1.0})
    item.on_epoch_end(0, {"loss": 1.0})
    assert capsys.readouterr() == ("", "") and item._bar is None


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Progress().note("hello")
    assert capsys.readouterr() == ("", "hello\n")


@pytest.mark.parametrize(
    ("jupyter", "terminal", "widgets", "drawn"),
    [(False, True, False, True), (False, False, True, False), (True, None, True, True), (True, None, False, False)],
)
def test_a_notebook_has_a_bar_if_its_widgets_are_installed(
    jupyter: bool, terminal: bool | None, widgets: bool, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object() if widgets else None)
    assert module.can_draw(Console(force_jupyter=jupyter, force_terminal=terminal)) is drawn
