"""`kerora generate`: continue prompts with a language model."""

from pathlib import Path
from typing import Any

import click

from kerora.cli.options import SettingsCommand, collect, import_models, sampling_of, sampling_options, setting_options
from kerora.cli.streams import data_output
from kerora.errors import ConfigError
from kerora.places import check_output

INPUT_SETTINGS = (
    *("data.text", "data.id", "data.columns", "data.delimiter", "data.format", "data.encoding"),
    *("data.skip_bad_rows", "data.bad_rows"),
)


@click.command("generate", cls=SettingsCommand)
@click.argument("run")
@click.option("--prompt", "texts", multiple=True, help="Text to continue. Can be repeated.")
@click.option(
    "--prompts",
    "file",
    type=click.Path(path_type=Path),
    help="File with prompts: one per line, or a table with the run's columns, the column prompt, or that of --text.",
)
@click.option("--chat", is_flag=True, help="Prompts are what a user says, written by the chat template of the run.")
@click.option("--system", help="System turn before the prompts of conversations.")
@sampling_options()
@click.option(
    "--n", "count", type=click.IntRange(min=1), default=1, show_default=True, help="Continuations per prompt."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Output file, JSON Lines.")
# "data.text" is also the start of "data.text_join". A prompt is one column.
@setting_options(*INPUT_SETTINGS, leave_out=("data.text_join",))
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Prompts per batch.")
@click.option("--preset", help="Path or name of the base model, if it moved since the run was made.")
@click.option("--force", is_flag=True, help="Replace an existing output file.")
def command(
    run: str,
    texts: tuple[str, ...],
    file: Path | None,
    chat: bool,
    system: str | None,
    count: int,
    output: Path | None,
    batch_size: int,
    preset: str | None,
    force: bool,
    **values: Any,
) -> None:
    """Continue prompts with RUN, the run of a language model.

    The continuation of --prompt is printed while it is generated. With --prompts or --output the result is JSON Lines
    with id, prompt, completion, finish and tokens.
    """
    if bool(texts) == (file is not None):
        raise ConfigError("Give texts with --prompt, or a file of them with --prompts.")

    stream = data_output() if output is None and file is not None else None
    import_models(run)
    from kerora.data.documents import Part
    from kerora.data.prompts import read_prompts
    from kerora.runfolder import RunFolder
    from kerora.runs.generate import PromptRunner, check_count, generate_file
    from kerora.runs.open import read_by_columns_of
    from kerora.settings.resolve import resolve

    sampling = sampling_of(values)
    # Without sampling all continuations of a prompt would be the same.
    check_count(count, sampling)
    check_output(output, force)
    # The options of the sampling have the same prefix, but no place in `FitConfig`.
    settings = {key: value for key, value in collect(values).items() if key.startswith("data.")}
    config = read_by_columns_of(RunFolder.open(run), resolve(settings).data)
    if file is not None:
        read_prompts(file, config, "text")  # finds faults before the model is loaded
    runner = PromptRunner(run, preset, chat=chat, system=system)
    # Text for a reader, as it comes. Files and --output are for programs.
    if file is None and output is None:
        _show(runner, texts, sampling, count)
        return
    prompts: list[tuple[str, tuple[Part, ...]]] = [
        (str(number), runner.parts(text)) for number, text in enumerate(texts, 1)
    ]
    if file is not None:
        # Read again, because only the loaded run says in which form its prompts are.
        prompts = read_prompts(file, config, runner.form)
    options: dict[str, Any] = {"count": count, "batch_size": batch_size, "output": output, "force": force}
    lines, cut = generate_file(runner, prompts, sampling, stream=stream, **options)
    if cut:
        click.echo(f"Prompts that are too long for the model, so their start was cut: {cut:,}.", err=True)
    if output is not None:
        click.echo(f"{lines:,} continuations: {output}", err=True)


def _show(runner: Any, texts: tuple[str, ...], sampling: Any, count: int) -> None:
    """Write each prompt, and its continuation while it is generated."""
    many = len(texts) * count > 1
    for place, text in enumerate(texts):
        for number in range(count):
            # A plain text and its continuation are one text. A completion or an answer begins on a line of its own.
            click.echo(text, nl=runner.form != "text")
            cut = 0
            # The last argument counts the rows, as in a file: each has random numbers of its own.
            for piece, row in runner.stream(runner.parts(text), sampling, place * count + number):
                click.echo(piece, nl=False)
                cut = row.cut
            click.echo("\n---" if many else "")
            if cut:
                click.echo(f"The prompt is too long for the model. Its first {cut:,} tokens were cut.", err=True)
