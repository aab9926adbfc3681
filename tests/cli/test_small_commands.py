"""What the thin commands pass on and print: export, merge, chat, presets and tune, without a model behind them."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kerora.cli import chat, export, merge, presets, tune
from kerora.cli.main import run
from kerora.errors import ConfigError
from kerora.exchange.verify import Verification
from tests.cli.conftest import Kerora

FOUND = Verification("keras-hub 0.32", 32, "tickets", 1e-6, 1.0, 1e-4, compared="same label")
EVIL = "[red]x[/red]\x1b[31m\u202eevil"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Put what notes its arguments in place of the work behind export and merge."""
    from kerora.exchange import export as work

    found: list[tuple[Any, ...]] = []

    def note(*arguments: Any) -> Verification:
        found.append(arguments)
        return FOUND

    for module in (export, merge):
        monkeypatch.setattr(module, "import_models", lambda *runs: None)
    monkeypatch.setattr(work, "export_run", note)
    monkeypatch.setattr(work, "merge_runs", note)
    return found


def test_export_passes_its_options_on_and_says_what_was_written(calls: list[Any], kerora: Kerora) -> None:
    answer = kerora("export", "runs/a", "--format", "onnx", "--output", "out/x", "--preset", "there")
    assert (answer.code, answer.err) == (0, "") and answer.out == f"{FOUND}\nWritten: out/x\n"
    assert calls == [("runs/a", "onnx", Path("out/x"), "there")]
    error = kerora("export", "runs/a", "--format", "pickle", "--output", "out").error
    assert "'pickle' is not one of 'peft', 'keras', 'transformers', 'onnx', 'kerora'" in error
    assert "Missing option '--format'" in kerora("export", "runs/a", "--output", "out").error
    assert len(calls) == 1


def test_merge_takes_runs_and_a_number_for_each(calls: list[Any], kerora: Kerora) -> None:
    assert kerora("merge", "a", "b", "--weights", " 0.5,-2e1", "--output", "out").code == 0
    assert kerora("merge", "a", "--output", "out", "--format", "transformers").code == 0
    assert calls == [
        (("a", "b"), Path("out"), "keras", [0.5, -20.0], None),
        (("a",), Path("out"), "transformers", None, None),
    ]
    for text in ("", "1,", "one", "1;2", "0.5,,1"):
        error = kerora("merge", "a", "b", "--weights", text, "--output", "out").error
        assert error == f"Error: --weights must be numbers separated by commas. Received: {text!r}"
    assert "Missing argument" in kerora("merge", "--output", "out").error and len(calls) == 2


@pytest.mark.parametrize(("text", "sum_is_told"), [("nan,1", True), ("inf,1", True), ("1,-1", True), ("1,2,3", False)])
def test_weights_that_add_up_to_nothing_are_refused(text: str, sum_is_told: bool) -> None:
    from kerora.exchange.merge import shares_of

    numbers = merge._numbers(text)
    with pytest.raises(ConfigError, match="sum is not 0" if sum_is_told else "2 runs, 3 weights"):
        shares_of(["a", "b"], numbers)
    assert shares_of(["a", "b"], None) == [0.5, 0.5]


class Talk:
    """Stands for a conversation: repeats what was said, and forgets a turn from the third on."""

    def __init__(self, form: str) -> None:
        tokenizer = SimpleNamespace(chat=None)
        self.runner = SimpleNamespace(trained_on=form, model=SimpleNamespace(tokenizer=tokenizer))
        self.heard: list[str] = []
        self.forgotten = 0
        self.resets = 0

    def answer(self, text: str) -> Iterator[str]:
        self.heard.append(text)
        self.forgotten += 2 * (len(self.heard) > 2)
        yield from ("you said ", text)

    def reset(self) -> None:
        self.resets += 1


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> Any:
    from kerora.runs import generate

    def start(lines: str, form: str = "turns") -> Talk:
        found = Talk(form)
        monkeypatch.setattr(chat, "import_models", lambda *runs: None)
        monkeypatch.setattr(generate, "PromptRunner", lambda run, preset, **options: found.runner)
        monkeypatch.setattr(generate, "Conversation", lambda runner, sampling: found)
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        return found

    return start


def test_chat_answers_line_by_line_until_quit(talk: Any, kerora: Kerora) -> None:
    found = talk("hello\n\n  /reset \n=cmd 👩‍👩‍👧\n/quit\nnever heard\n")
    answer = kerora("chat", "runs/a")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "you said hello\nyou said =cmd 👩‍👩‍👧\n"
    assert found.heard == ["hello", "=cmd 👩‍👩‍👧"] and found.resets == 1


def test_chat_ends_with_its_input_and_says_what_no_longer_fits(talk: Any, kerora: Kerora) -> None:
    talk("a\nb\nc\nlast line without an end", form="text")
    answer = kerora("chat", "runs/a")
    assert answer.out.splitlines() == [f"you said {text}" for text in ("a", "b", "c", "last line without an end")]
    assert answer.err.splitlines() == [
        "Note: this model was not trained on conversations. The end-of-text token ends each turn.",
        *["(the oldest 2 turns no longer fit)"] * 2,
    ]


def info(name: str, parameters: int | None, description: str) -> Any:
    values = {"name": name, "kind": "bert", "parameters": parameters, "source": "kaggle", "description": description}
    return SimpleNamespace(**values, to_dict=lambda: values)


def test_presets_that_hold_a_text_in_any_column(monkeypatch: pytest.MonkeyPatch, kerora: Kerora) -> None:
    from kerora.models import catalogue

    listed = [info("one", 1234567, "for Cats"), info("two", None, "for dogs"), info("three_bert", 5, "x" * 400)]
    monkeypatch.setattr(catalogue, "list_presets", lambda: listed)
    lines = kerora("presets", "CATS").out.splitlines()
    assert lines[1].split() == ["one", "bert", "1,234,567", "kaggle", "for", "Cats"] and len(lines) == 3
    assert lines[-1] == "1 presets with 'CATS'"
    lines = kerora("presets").out.splitlines()
    assert lines[2].split()[:4] == ["two", "bert", "?", "kaggle"] and lines[3].rstrip().endswith("…")
    assert max(map(len, lines)) <= 200 and lines[-1] == "3 presets"
    assert [item["name"] for item in json.loads(kerora("presets", "1234567", "--json").out)] == ["one"]
    assert kerora("presets", "none of it").out.splitlines()[-1] == "0 presets with 'none of it'"
    assert presets.command.name == "presets"


def record(number: int, score: float, **changed: Any) -> Any:
    return SimpleNamespace(number=number, state="complete", score=score, scores=[score, score], settings=changed)


def result(folder: Path, **changes: Any) -> Any:
    paths = {name: folder / name for name in ("log", "report", "best", "submission")}
    best = record(3, 0.91234, **{"lora.rank": 4, "training.learning_rate": 0.000123456789, "data.text": EVIL})
    values = {"folder": SimpleNamespace(path=folder, **paths), "records": [best], "best": best, "default": None}
    return SimpleNamespace(
        **{
            **values,
            "metric": "macro_f1",
            "difference": None,
            "verdict": "It is better.",
            "refit": None,
            "weak": None,
            **changes,
        }
    )


def test_the_result_of_a_search_without_and_with_its_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune._print(result(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "Best: trial 3, validation macro_f1 0.9123",
        "lora.rank: 4",
        "training.learning_rate: 0.000123457",
    ]
    assert lines[3] == "data.text: [red]x[/red][31mevil", "nothing that a terminal obeys is printed"
    assert lines[4:] == [
        "It is better.",
        f"Log: {tmp_path}/log",
        f"Report: {tmp_path}/report",
        f"Next: kerora fit --config {tmp_path}/best",
    ]
    (tmp_path / "metrics.json").write_text(json.dumps({"after": {"test": {"accuracy": 0.5, "macro_f1": None}}}))
    (tmp_path / "submission").write_text("id,label\n")
    refit = SimpleNamespace(path=tmp_path / "refit", metrics=tmp_path / "metrics.json")
    difference = SimpleNamespace(value=0.01, low=-0.02, high=0.04)
    full = result(tmp_path, default=record(0, 0.9), difference=difference, refit=refit)
    tune._print(full)
    out = capsys.readouterr().out
    assert "Defaults: macro_f1 0.9000, difference +0.0100 (95 % interval -0.0200 to +0.0400)\n" in out
    assert f"Refit: {tmp_path}/refit, test accuracy 0.5000, macro F1 -; {tmp_path}/submission\n" in out
    told = json.loads(json.dumps(tune._as_dict(full)))
    assert told["difference"] == {"value": 0.01, "low": -0.02, "high": 0.04} and told["refit"] == f"{tmp_path}/refit"
    assert told["best"]["settings"]["data.text"] == EVIL and told["defaults"] == {"score": 0.9, "scores": [0.9, 0.9]}
    assert tune._as_dict(result(tmp_path))["defaults"] is None


def test_settings_of_a_search_are_checked_before_anything_is_loaded(kerora: Kerora) -> None:
    for option, value, message in (
        ("--repeats", "0", "Setting 'repeats' must be 1 or more. Received: 0"),
        ("--workers", "-1", "Setting 'workers' must be 1 or more. Received: -1"),
        ("--timeout", "0", "Setting 'timeout' must be"),
        ("--pruner", "none at all", "Invalid value for '--pruner'"),
    ):
        assert message in kerora("tune", option, value).error
    assert run(["tune", "--no-such-option"]) == 2
