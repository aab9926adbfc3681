"""`kerora init`: write a config file with comments, and the schema with which an editor checks it."""

from pathlib import Path

import click

from kerora.errors import RunError
from kerora.runfolder import write_text
from kerora.settings.fit import FitConfig
from kerora.settings.pretrain import PretrainConfig
from kerora.settings.resolve import dump_yaml
from kerora.settings.schema import SCHEMA_FILES, is_schema, schema_text

# what a newcomer sets
FIT_MINIMUM = (
    *("run", "task", "data.source", "data.text", "data.label", "data.test_split", "model.preset", "model.max_length"),
    *("lora.rank", "training.epochs", "training.batch_size", "training.learning_rate", "training.seed"),
)
PRETRAIN_MINIMUM = (
    *("output", "objective", "data.text", "model.init", "model.layers", "model.width", "model.heads"),
    *("model.vocabulary_size", "model.max_length", "distillation.teacher", "training.epochs", "training.seed"),
)


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path), default=Path("kerora.yaml"))
@click.option("--pretrain", is_flag=True, help="Write the settings of `kerora pretrain` instead of `kerora fit`.")
@click.option("--minimal", is_flag=True, help="Write only the settings that most people set.")
@click.option(
    "--schema/--no-schema",
    default=True,
    show_default=True,
    help="Also write a JSON Schema beside the file. Editors complete and check the file with it.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(path: Path, pretrain: bool, minimal: bool, schema: bool, force: bool) -> None:
    """Write a YAML file with every setting, its default and its description."""
    if path.exists() and not force:
        raise RunError(f"{path} exists. Choose another name or add --force.")
    config = PretrainConfig() if pretrain else FitConfig()
    only = (PRETRAIN_MINIMUM if pretrain else FIT_MINIMUM) if minimal else ()
    name = SCHEMA_FILES[type(config)] if schema else None
    if name is not None:
        _write_schema(path.with_name(name), type(config))
    # a relative path: the two files can be moved and shared together, and no network is needed
    write_text(path, dump_yaml(config, comments=True, only=only, schema=None if name is None else f"./{name}"))
    click.echo(f"Written: {path}")
    if name is not None:
        click.echo(f"Schema for editors: {path.with_name(name)}")
    click.echo(f"Next: kerora {'pretrain' if pretrain else 'fit'} --config {path}")


def _write_schema(path: Path, root: type[FitConfig] | type[PretrainConfig]) -> None:
    """Write the schema. One of another version of Kerora is replaced, and any other file is refused."""
    if path.exists() and not (path.is_file() and is_schema(path.read_text(encoding="utf-8", errors="replace"), root)):
        raise RunError(f"{path} exists and is no schema of Kerora. Move it, or add --no-schema.")
    write_text(path, schema_text(root))
