"""`kerora tune`: search the settings of a fit."""

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from kerora.cli.options import SettingsCommand, collect, config_options, import_models, resolve_options, setting_options
from kerora.settings.tune import TuneConfig

if TYPE_CHECKING:
    from kerora.tuning.study import TuneResult

# The settings of the search are a class of their own. None of its names is also one of a fit.
_OWN = tuple(TuneConfig.__dataclass_fields__)


@click.command("tune", cls=SettingsCommand)
@setting_options("", root=TuneConfig)
@config_options
# The study names the runs of its trials.
@setting_options("", leave_out=("run", "runs_dir"))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def command(as_json: bool, quiet: bool, **values: Any) -> None:
    """Search the settings of `kerora fit` for the best score on the validation rows.

    The first trial uses the defaults. The same command continues a stopped search, also on another machine with
    the same --storage. Only --refit reads the test rows, once at the end.
    """
    # Popped, because `resolve_options` refuses keys that a fit does not know.
    own = {f"setting__{name}": values.pop(f"setting__{name}") for name in _OWN}
    settings = TuneConfig(**collect(own))
    config = resolve_options(values)

    import_models()
    from kerora.cli.live import LiveTable
    from kerora.training.progress import Progress, Silent
    from kerora.tuning.search import Observer
    from kerora.tuning.study import tune

    observer = Observer() if quiet else LiveTable()
    progress = Silent() if quiet else Progress()
    result = tune(config, settings, observer=observer, progress=progress, argv=sys.argv[1:])
    if as_json:
        click.echo(json.dumps(_as_dict(result), ensure_ascii=False))
    else:
        _print(result)


def _as_dict(result: "TuneResult") -> dict[str, Any]:
    difference, default = result.difference, result.default
    return {
        "study": str(result.folder.path),
        "metric": result.metric,
        "trials": [
            {"trial": record.number, "state": record.state, "score": record.score, "settings": dict(record.settings)}
            for record in result.records
        ],
        "best": {
            "trial": result.best.number,
            "score": result.best.score,
            "scores": result.best.scores,
            "settings": dict(result.best.settings),
        },
        "defaults": None if default is None else {"score": default.score, "scores": default.scores},
        "difference": None if difference is None else vars(difference),
        "verdict": result.verdict,
        "weak": result.weak,
        "refit": None if result.refit is None else str(result.refit.path),
    }


def _print(result: "TuneResult") -> None:
    from rich.console import Console

    from kerora.evaluation.terminal import say, visible
    from kerora.evaluation.wording import decimal, signed

    console = Console()
    best, default, difference, metric = result.best, result.default, result.difference, result.metric
    say(console, f"Best: trial {best.number}, validation {metric} {decimal(best.score)}")
    for path, value in best.settings.items():
        say(console, visible(f"{path}: {value:.6g}" if isinstance(value, float) else f"{path}: {value}"))
    if default is not None:
        interval = ""
        if difference is not None:
            interval = f", difference {signed(difference.value)}"
            interval += f" (95 % interval {signed(difference.low)} to {signed(difference.high)})"
        say(console, f"Defaults: {metric} {decimal(default.score)}{interval}")
    say(console, result.verdict)
    if result.weak is not None:
        say(console, f"Note: {visible(result.weak)}")
    if result.refit is not None:
        say(console, _refit_line(result))
    say(console, f"Log: {result.folder.log}\nReport: {result.folder.report}")
    say(console, f"Next: kerora fit --config {result.folder.best}")


def _refit_line(result: "TuneResult") -> str:
    from kerora.evaluation.wording import MAIN, decimal, in_sentence
    from kerora.runfolder import read_json

    assert result.refit is not None
    # no metrics if the test rows have no labels
    test = read_json(result.refit.metrics)["after"].get("test", {})
    names = [name for name in MAIN if name in test] or [name for name in (result.metric,) if name in test]
    scores = ", ".join(f"{in_sentence(name)} {decimal(test[name])}" for name in names)
    parts = [str(result.refit.path), *([f"test {scores}"] if scores else [])]
    submission = f"; {result.folder.submission}" if result.folder.submission.is_file() else ""
    return f"Refit: {', '.join(parts)}{submission}"
