"""`kerora evaluate`: the metrics of a run on its own data or on other rows."""

import json
from typing import Any

import click

from kerora.cli.options import SettingsCommand, abstain_options, collect, import_models, setting_options


@click.command("evaluate", cls=SettingsCommand)
@click.argument("run")
# The rows are evaluated whole, and the run fixes the classes.
@setting_options("data.", leave_out=("data.validation_split", "data.test_split", "data.class_names"))
@click.option("--preset", help="Path or name of the base model, if it moved since the run was made.")
@click.option(
    "--output",
    metavar="FOLDER",
    help="Folder for metrics.json and predictions.csv. Default: RUN. For other rows: RUN/evaluations/<name>.",
)
@click.option("--force", is_flag=True, help="Replace the files of an earlier evaluation.")
@click.option(
    "--baseline/--no-baseline",
    default=None,
    help="Fit the baseline again on the training rows of RUN, and evaluate it too. Default: as in the training, if "
    "these rows are in a file or bundled.",
)
@abstain_options
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON.")
def command(
    run: str,
    preset: str | None,
    output: str | None,
    force: bool,
    baseline: bool | None,
    abstain_below: float | None,
    target_accuracy: float | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Compute, print and write the metrics of RUN.

    Without --data or a file, the validation and test rows of the run itself are evaluated. With --abstain-below or
    --target-accuracy, the share of the rows with such a score and their accuracy are given too.
    """
    import_models(run)
    from rich.console import Console

    from kerora.evaluation.terminal import say, visible
    from kerora.evaluation.verdict import baseline_sentence
    from kerora.runs.evaluate import evaluate_run
    from kerora.tasks.abstention import Abstention

    abstain = Abstention(abstain_below, target_accuracy)
    result = evaluate_run(
        run, collect(values), preset=preset, output=output, force=force, baseline=baseline, abstain=abstain
    )
    if as_json:
        baselines = {"baseline": result.baseline} if result.baseline else {}
        answer = {"metrics": result.metrics, **baselines, "folder": str(result.folder.path)}
        click.echo(json.dumps(answer, ensure_ascii=False))
        return
    # Names of classes and texts hold square brackets and colons, which rich would read as markup and emoji.
    console = Console(highlight=False, markup=False, emoji=False)
    for heading, parts in result.task.screen.evaluation(result.folder, result.metrics, result.head):
        if heading:
            console.rule(heading, align="left", style="dim")
        for part in parts:
            console.print(part)
    for split, found in result.baseline.items():
        sentence = baseline_sentence(split, result.metrics[split], found)
        if sentence is not None:
            say(console, visible(sentence))
    click.echo(f"Written: {result.folder.path}")
