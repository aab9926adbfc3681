"""The tools of `--log`: names, faults, secrets. The tools here are stand-ins; `test_tools.py` runs the real ones."""

import importlib.machinery
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kerora.errors import ConfigError, Interrupted
from kerora.notices import Notice
from kerora.settings.fit import TRACKERS
from kerora.settings.secrets import masked
from kerora.tracking import tracking
from kerora.tracking.contract import TrackedRun
from kerora.tracking.tracking import TOOLS, Tracking, check_start, check_tools, loggable, numbers
from tests.conftest import ROOT

RUN = TrackedRun("run", Path("logs"), {"lora.rank": 8})


class Recorder:
    """Keeps what it is told, and fails at the `fails`-th call."""

    fails = 99

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def check(self) -> None:
        self._called("check")

    def start(self, run: TrackedRun) -> str | None:
        return self._called("start", run.resumed) or "id"

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._called("log", dict(values), step)

    def finish(self, values: Mapping[str, float], files: Sequence[Path], state: str) -> None:
        self._called("finish", dict(values), list(files), state)

    def _called(self, *call: Any) -> None:
        self.calls.append(call)
        if len(self.calls) == self.fails:
            raise OSError(28, "No space left on device for https://me:pass@host")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    found: list[Recorder] = []

    def make() -> Recorder:
        found.append(Recorder())
        return found[-1]

    monkeypatch.setattr(tracking, "TOOLS", {"one": make, "two": make})
    return found


def test_every_name_of_the_setting_is_a_tool_and_an_extra() -> None:
    assert tuple(TOOLS) == TRACKERS
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f"\n{name} = [" in extras for name in TRACKERS)


def test_a_missing_package_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # wandb keeps its files in a folder of this name, which Python takes for a package
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(ConfigError) as caught:
        check_tools(["wandb"])
    assert str(caught.value) == "--log wandb needs the package wandb. Install it: pip install 'kerora[wandb]'"


def test_all_tools_hear_the_same(made: list[Recorder]) -> None:
    with Tracking(["one", "two", "one"], RUN) as tools:
        assert tools and tools.identifiers == {"one": "id", "two": "id"}
        tools.log("epoch", {"loss": 0.5, "val_loss": float("nan"), "name": "x"}, 7)
        tools.conclude({"after": {"test": {"f1": 1, "per_class": {"a/b": {"f1": 1}}}}}, [Path("report.html")])
    expected = [
        ("start", None),
        ("log", {"epoch/loss": 0.5}, 7),
        ("finish", {"after/test/f1": 1.0}, [Path("report.html")], "finished"),
    ]
    assert [tool.calls for tool in made] == [expected, expected]


@pytest.mark.parametrize("fails", [2, 3])
def test_a_tool_that_fails_is_left_out_with_one_note(fails: int, made: list[Recorder]) -> None:
    with pytest.warns(Notice) as notes:
        with Tracking(["one", "two"], RUN) as tools:
            made[0].fails = fails
            for step in range(3):
                tools.log("step", {"loss": 1.0}, step)
    assert [str(note.message) for note in notes] == [
        "Logging to one failed, so the training continues without it: [Errno 28] No space left on device for "
        "https://***@host"
    ]
    assert len(made[0].calls) == fails and made[1].calls[-1][0] == "finish"


def test_a_tool_is_asked_before_there_is_a_run(monkeypatch: pytest.MonkeyPatch, made: list[Recorder]) -> None:
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: importlib.machinery.ModuleSpec(name, None, origin="x")
    )
    check_start(["one", "two", "one"])
    assert [tool.calls for tool in made] == [[("check",)], [("check",)]]
    monkeypatch.setattr(Recorder, "fails", 1)
    with pytest.raises(ConfigError, match=r"^--log one cannot start: .* Mend it, or leave one out\.$"):
        check_start(["one"])


def test_a_tool_that_cannot_start(monkeypatch: pytest.MonkeyPatch, made: list[Recorder]) -> None:
    monkeypatch.setattr(Recorder, "fails", 1)
    with pytest.raises(ConfigError, match=r"^--log one cannot start: .* Mend it, or leave one out\.$"):
        Tracking(["one"], RUN)
    with pytest.warns(Notice, match="--log one cannot start, so the training continues without it"):
        assert not Tracking(["one"], RUN, {"one": "earlier"}, strict=False)
    assert made[-1].calls == [("start", "earlier")]


@pytest.mark.parametrize(
    ("error", "state"),
    [(KeyboardInterrupt(), "stopped"), (Interrupted("stop", 2), "stopped"), (ValueError("x"), "failed")],
    ids=repr,
)
def test_the_state_of_a_training_that_did_not_finish(error: BaseException, state: str, made: list[Recorder]) -> None:
    with pytest.raises(type(error)):
        with Tracking(["one"], RUN):
            raise error
    assert made[0].calls[-1] == ("finish", {}, [], state)


def test_secrets_are_masked() -> None:
    assert masked("postgresql://me:pa-ss@host/db") == "postgresql://***@host/db"
    assert masked("https://host/rows.csv?token=abc&x=1") == "https://host/rows.csv?token=***&x=1"
    assert masked("hf_" + "a" * 30) == "hf_***"
    assert masked("hf://datasets/org/name@main") == "hf://datasets/org/name@main"
    assert masked("C:/rows/me@home.csv") == "C:/rows/me@home.csv"
    assert loggable({"a": None, "b": ["x", "y"], "c": 1, "d": "s3://k:v@x"}) == {"b": "x,y", "c": 1, "d": "s3://***@x"}


def test_numbers() -> None:
    assert numbers({"a": True, "b": {"c": 2}, "d": float("inf"), "e": None}) == {"b/c": 2.0}
