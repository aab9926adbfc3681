"""`kerora init`: write a config file with comments."""

from pathlib import Path

import click

from kerora.errors import RunError
from kerora.runfolder import write_text
from kerora.settings.fit import FitConfig
from kerora.settings.pretrain import PretrainConfig
from kerora.settings.resolve import dump_yaml


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path), default=Path("kerora.yaml"))
@click.option("--pretrain", is_flag=True, help="Write the settings of `kerora pretrain` instead of `kerora fit`.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(path: Path, pretrain: bool, force: bool) -> None:
    """Write a YAML file with every setting, its default and its description."""
    if path.exists() and not force:
        raise RunError(f"{path} exists. Choose another name or add --force.")
    write_text(path, dump_yaml(PretrainConfig() if pretrain else FitConfig(), comments=True))
    click.echo(f"Written: {path}\nNext: kerora {'pretrain' if pretrain else 'fit'} --config {path}")
