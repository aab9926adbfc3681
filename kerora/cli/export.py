"""`kerora export`: write a run for another tool, or push it to the Hugging Face hub."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from click.core import ParameterSource

from kerora.cli.options import import_models
from kerora.errors import ConfigError


@click.command("export")
@click.argument("run", required=False)
@click.option(
    "--base",
    help="A pre-trained model in place of RUN: a value of `kerora fit --preset`. It is written with --format "
    "transformers, as the base of an adapter in PEFT's format.",
)
@click.option(
    "--format",
    "form",
    required=True,
    type=click.Choice(["peft", "keras", "transformers", "onnx", "kerora"]),
    help="peft: the adapter. keras, transformers, onnx: the merged model. kerora: the run without checkpoints.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Output folder. It must not exist. Needed without --push."
)
@click.option("--preset", help="Path or name of the base model, if it moved since the run was made.")
@click.option(
    "--push",
    "target",
    metavar="ORG/NAME",
    help="Upload the export to this repository of the Hugging Face hub, with the token of `hf auth login` or HF_TOKEN.",
)
@click.option(
    "--dry-run", is_flag=True, help="With --push: show the files, their sizes and the target, upload nothing."
)
@click.option(
    "--private/--public", default=True, show_default=True, help="With --push: whether a new repository is private."
)
@click.option("--force", is_flag=True, help="With --push: replace files of the repository that differ.")
def command(
    run: str | None,
    base: str | None,
    form: str,
    output: Path | None,
    preset: str | None,
    target: str | None,
    dry_run: bool,
    private: bool,
    force: bool,
) -> None:
    """Write RUN, or the base model of --base, in the format of another tool. A run gets a model card.

    If that tool is installed, it loads the export, and its outputs are compared with those of the run on 32
    real rows. A difference is an error, and the export is removed. With --push it is then uploaded.
    """
    named = click.get_current_context().get_parameter_source("private") is not ParameterSource.DEFAULT
    _check(run, base, form, output, preset, target, dry_run or force or named)
    import_models(*([] if run is None else [run]))
    from kerora.exchange.base import export_base
    from kerora.exchange.export import export_run
    from kerora.exchange.push import check_push, push

    # before the export, which can take minutes
    to = None if target is None else check_push(target, private=private, force=force, dry_run=dry_run)
    with _folder(output) as folder:
        if base is not None:
            click.echo(export_base(base, folder))
        else:
            click.echo(str(export_run(str(run), form, folder, preset)))
        if output is not None:
            click.echo(f"Written: {output}")
        if to is not None:
            push(folder, to, form, click.echo)


def _check(
    run: str | None,
    base: str | None,
    form: str,
    output: Path | None,
    preset: str | None,
    target: str | None,
    pushes: bool,
) -> None:
    # A base model alone has no head and no adapter, which the other formats write.
    if base is not None and (run is not None or preset is not None or form != "transformers"):
        raise ConfigError("--base is written without a run: kerora export --base NAME --format transformers.")
    if run is None and base is None:
        raise ConfigError("Name a run, or a pre-trained model with --base.")
    if output is None and target is None:
        raise ConfigError("Name the output folder with --output, or a repository with --push.")
    if pushes and target is None:
        raise ConfigError(
            "--dry-run, --private, --public and --force are options of an upload. Name the repository with --push."
        )


@contextmanager
def _folder(output: Path | None) -> Iterator[Path]:
    """Yield the output folder, or a temporary one that is removed after the upload."""
    if output is not None:
        yield output
        return
    with tempfile.TemporaryDirectory(prefix="kerora-") as parent:
        yield Path(parent) / "export"
