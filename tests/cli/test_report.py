"""`kerora report` as a user runs it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kerora.cli.report import command
from kerora.errors import RunError
from tests.evaluation.synthetic_runs import SIX, TWO, make_run


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_one_run_prints_everything_and_says_where_the_page_is(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SIX)
    output = invoke(run.path)
    for part in (
        "Accuracy",
        "95 % interval",
        "before",
        "Training took 2 min 4 s.",
        "Confusion matrix",
        "macro average",
    ):
        assert part in output
    assert output.splitlines()[-1] == f"Report: {run.report / 'report.html'}"


def test_several_runs_are_compared(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, TWO, rows=50, seed=seed) for seed, name in enumerate("ab")]
    output = invoke(*(run.path for run in runs), "--output", tmp_path / "both.html")
    assert "Comparison" in output
    assert "1, 2" in output
    assert output.splitlines()[-1] == f"Report: {tmp_path / 'both.html'}"


def test_json_is_all_that_is_printed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", TWO, rows=50)
    summary = json.loads(invoke(run.path, "--json", "--split", "validation"))
    assert summary["runs"][0]["split"] == "validation"
    assert Path(summary["page"]).is_file()


def test_notes_are_printed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", TWO, rows=50, splits=("validation",))
    run.update_manifest(state="stopped")
    output = invoke(run.path)
    assert "Note: The state of this run is 'stopped'" in output
    assert "Note: There are no test rows" in output


def test_a_path_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run folder: it holds no run\.json"):
        CliRunner().invoke(command, [str(tmp_path)], catch_exceptions=False)
    with pytest.raises(RunError, match="There is no run folder at"):
        CliRunner().invoke(command, [str(tmp_path / "absent")], catch_exceptions=False)


def test_no_argument_is_a_usage_error() -> None:
    result = CliRunner().invoke(command, [])
    assert result.exit_code == 2
    assert "RUN" in result.output
