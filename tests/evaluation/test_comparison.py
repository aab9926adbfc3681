"""Names of runs side by side, and the settings in which they differ."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.errors import RunError
from kerora.evaluation.comparison import NOT_SETTINGS, differ, different_settings, distinct_names, flatten_settings
from kerora.runfolder import RunFolder
from kerora.runs.results import read_results
from tests.evaluation.synthetic_runs import TWO, make_language_run, make_run

KEYS = st.text("abc_", min_size=1, max_size=4)
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
NESTED = st.recursive(
    st.dictionaries(KEYS, LEAVES, max_size=3), lambda inner: st.dictionaries(KEYS, inner | LEAVES), max_leaves=8
)


def unflatten(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in pairs:
        *groups, name = key.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return nested


def without_empty(nested: dict[str, Any]) -> dict[str, Any]:
    kept = {key: without_empty(value) if isinstance(value, dict) else value for key, value in nested.items()}
    return {key: value for key, value in kept.items() if value != {}}


@settings(max_examples=40, deadline=None)
@given(NESTED)
def test_dotted_keys_say_all_of_nested_settings(nested: dict[str, Any]) -> None:
    assert unflatten(list(flatten_settings(nested))) == without_empty(nested)


@settings(max_examples=40, deadline=None)
@given(st.lists(NESTED, min_size=1, max_size=4))
def test_settings_that_differ_are_those_that_are_not_the_same_everywhere(several: list[dict[str, Any]]) -> None:
    runs = [SimpleNamespace(settings=nested) for nested in several]
    flat = [dict(flatten_settings(nested)) for nested in several]
    expected = {
        key: [one.get(key) for one in flat]
        for key in {key for one in flat for key in one}
        if any(one.get(key) != flat[0].get(key) for one in flat)
    }
    assert different_settings(runs) == expected  # type: ignore[arg-type]
    assert differ(iter(several)) == any(nested != several[0] for nested in several)


def test_the_name_of_a_run_is_no_setting(tmp_path: Path) -> None:
    runs = [
        read_results(make_run(tmp_path / name, TWO, rows=20, run=name, lora={"rank": rank}))
        for name, rank in (("a", 4), ("b", 8))
    ]
    assert different_settings(runs) == {"lora.rank": [4, 8]}
    assert {run.settings["run"] for run in runs} == {"a", "b"} and "run" in NOT_SETTINGS


def test_names_are_those_of_the_folders_unless_they_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("one/run", "two/run", "two/other"):
        make_language_run(tmp_path / place)
    monkeypatch.chdir(tmp_path)
    one, two, other = (read_results(RunFolder.open(path)) for path in ("one/run", "two/run", "two/other"))
    assert distinct_names([one, other]) == ("run", "other")
    assert distinct_names([one, two, other]) == ("one/run", "two/run", "two/other")


def test_one_run_by_two_paths_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_language_run(tmp_path / "run")
    (tmp_path / "link").symlink_to("run")
    monkeypatch.chdir(tmp_path)
    for second in ("run", "./run/../run", "link", str(tmp_path / "run")):
        with pytest.raises(RunError, match=r"The run .*/run is given more than once\. Give different runs to compare"):
            distinct_names([read_results(RunFolder.open("run")), read_results(RunFolder.open(second))])
