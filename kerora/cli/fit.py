"""`kerora fit`: fine-tune a model."""

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from kerora.cli.options import SettingsCommand, collect, config_options, import_models, resolve_options, setting_options
from kerora.errors import ConfigError

# At run time this would load Keras for every `kerora fit --help`.
if TYPE_CHECKING:
    from kerora.training.fit import TrainedRun


@click.command("fit", cls=SettingsCommand)
@config_options
@setting_options("")
@click.option("--resume", metavar="RUN", help="Continue a stopped run. The settings come from the run folder.")
@click.option("--force", is_flag=True, help="Replace an existing run of the same name.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def command(resume: str | None, force: bool, as_json: bool, quiet: bool, **values: Any) -> None:
    """Fine-tune a text classifier or a language model with LoRA and write a run folder.

    No argument is required. Priority of settings: --set, then options, then --config, then defaults.
    """
    given = collect(values)  # faults of the options come before the import of Keras, which takes seconds
    if resume and (given or values["config_file"] or values["assignments"] or force):
        raise ConfigError("--resume takes every setting from the run folder. Leave the other options out.")
    config = None if resume else resolve_options(values)

    import_models(*([resume] if resume else []))
    from kerora.training.fit import fit
    from kerora.training.fit import resume as resume_run
    from kerora.training.progress import Progress, Silent

    progress = Silent() if quiet else Progress()
    result = (
        resume_run(resume, progress=progress)
        if resume
        else fit(config, force=force, progress=progress, argv=sys.argv[1:])  # argv for run.json
    )
    if as_json:
        click.echo(json.dumps(_summary(result), ensure_ascii=False))
    else:
        _print(result)


def _summary(result: "TrainedRun") -> dict[str, Any]:
    manifest = result.run.read_manifest()
    weights = manifest.get("base_weights")  # only of a quantised base
    return {
        "run": str(result.run.path),
        "metrics": result.metrics,
        "training_seconds": result.seconds,
        "parameters": manifest["parameters"],
        **({"base_weights": weights} if weights else {}),
        **({"submission": str(result.run.submission)} if result.run.submission.is_file() else {}),
    }


def _print(result: "TrainedRun") -> None:
    from rich.console import Console

    from kerora.evaluation.terminal import before_after_table, say, visible
    from kerora.evaluation.verdict import baseline_line
    from kerora.evaluation.wording import duration
    from kerora.runs.results import read_results
    from kerora.tasks.registry import task_named

    manifest = result.run.read_manifest()
    weights = manifest.get("base_weights")
    console = Console(markup=False, emoji=False)
    verdict = None
    # without validation and test rows nothing was evaluated
    if result.metrics["after"]:
        results, task = read_results(result.run), task_named(manifest["task"])
        table = before_after_table(results)
        if table is not None:
            console.print(table)
        for note in task.screen.notes(results, task.results.split(results, None)):
            say(console, f"Note: {visible(note)}")
        verdict = baseline_line(results)
    say(console, f"Training took {duration(result.seconds)}; {result.parameters}")
    if weights:
        line = "Base weights: {mb:.1f} MB in {quantize}, {unquantised_mb:.1f} MB unquantised ({layers} layers)"
        say(console, line.format(**weights))
    if result.run.submission.is_file():
        say(console, f"Predictions of the test rows without labels: {result.run.submission}")
    say(console, f"Run: {result.run.path}")
    # a report needs evaluated rows
    first_use = task_named(manifest["task"]).first_use
    use = "report {run}" if result.metrics["after"] else first_use
    say(console, f"Next: kerora {use.format(run=result.run.path)}")
    if verdict is not None:
        say(console, visible(verdict))
