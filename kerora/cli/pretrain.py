"""`kerora pretrain`: make an encoder from text, or adapt one to it."""

import json
from typing import Any

import click

from kerora.cli.options import (
    SettingsCommand,
    collect,
    config_options,
    import_models,
    resolve_pretrain_options,
    setting_options,
)
from kerora.errors import ConfigError
from kerora.settings.pretrain import CorpusConfig, PretrainConfig


@click.command("pretrain", cls=SettingsCommand)
@click.argument("more_text", metavar="[FILES]...", nargs=-1)
@config_options
@setting_options("", root=PretrainConfig)
@click.option("--resume", metavar="DIR", help="Continue a stopped pre-training. The settings come from the folder.")
@click.option("--force", is_flag=True, help="Replace an earlier pre-training in the output folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def command(
    more_text: tuple[str, ...], resume: str | None, force: bool, as_json: bool, quiet: bool, **values: Any
) -> None:
    """Pre-train an encoder or a language model on text files, and write a preset folder for `kerora fit --preset`.

    The default objective is masked-language modelling with whole-word masks. --teacher adds distillation from
    another model. --init continues the pre-training of an existing model. --objective clm trains a GPT-2.
    FILES are added to --text.
    """
    given = collect(values)
    if resume and (given or more_text or values["config_file"] or values["assignments"] or force):
        raise ConfigError("--resume takes every setting from the folder. Leave the other options out.")
    # `CorpusConfig` splits a text at commas as the option does. A file name as an argument stays whole.
    if more_text:
        files = (*CorpusConfig(text=given.get("data.text", ())).text, *more_text)
        # A single value would be split at commas, unless it is quoted.
        quoted = '"' + files[0].replace('"', '""') + '"'
        values["setting__data__text"] = files if len(files) > 1 else (quoted,)
    config = None if resume else resolve_pretrain_options(values)

    import_models()
    from kerora.evaluation.wording import duration
    from kerora.pretraining.pretrain import pretrain
    from kerora.pretraining.pretrain import resume as resume_run
    from kerora.training.progress import Progress, Silent

    progress = Silent() if quiet else Progress()
    if config is None:
        result = resume_run(str(resume), progress=progress)
    else:
        result = pretrain(config, force=force, progress=progress)
    # "preset" and not "run": the folder is used with --preset.
    if as_json:
        summary = {"preset": str(result.run.path), "held_out": result.metrics, "training_seconds": result.seconds}
        click.echo(json.dumps(summary, ensure_ascii=False))
        return
    if result.metrics:
        click.echo("Held out: " + ", ".join(f"{name} {value:.4f}" for name, value in result.metrics.items()))
    click.echo(f"Training took {duration(result.seconds)}\nPreset: {result.run.path}")
    # a language model is fine-tuned on text of its own; the bundled messages are for classifiers
    is_causal = result.run.read_manifest()["settings"].get("objective") == "clm"
    what = " --task causal-lm --data FILE" if is_causal else ""
    click.echo(f"Next: kerora fit --preset {result.run.path}{what}")
