"""Every setting is an option; options, files and assignments resolve in their order."""

from pathlib import Path
from typing import Any

import click
import pytest

from kerora.cli.options import collect, config_options, resolve_options, setting_options
from kerora.config import FitConfig, settings
from kerora.errors import ConfigError


def resolved(*arguments: object) -> FitConfig:
    """Parse arguments as `kerora fit` does and return the settings."""
    found: list[FitConfig] = []

    @click.command()
    @config_options
    @setting_options("")
    def command(**values: Any) -> None:
        found.append(resolve_options(values))

    command.main([str(argument) for argument in arguments], standalone_mode=False)
    return found[0]


def test_no_option_gives_the_defaults() -> None:
    assert resolved() == FitConfig()


def test_options_have_their_types() -> None:
    config = resolved(
        *("--data", "a.csv", "--text", "title, body", "--rank", 3, "--learning-rate", "2e-4", "--no-early-stopping"),
        *("--skip-bad-rows", "--max-steps", 7, "--schedule", "linear", "--delimiter", ";", "--runs-dir", "x"),
    )
    assert (config.data.source, config.data.text, config.lora.rank) == ("a.csv", ("title", "body"), 3)
    assert (config.training.learning_rate, config.training.early_stopping) == (2e-4, False)
    assert (config.data.skip_bad_rows, config.training.max_steps, config.training.schedule) == (True, 7, "linear")
    assert (config.data.delimiter, config.runs_dir) == (";", "x")


def test_names_with_commas_are_quoted_or_given_one_by_one() -> None:
    assert resolved("--text", '"title, long",body').data.text == ("title, long", "body")
    assert resolved("--text", "title, long", "--text", "body").data.text == ("title, long", "body")
    assert resolved("--text", '5" disk,body').data.text == ('5" disk', "body")
    assert resolved("--set", 'data.class_names=["Sci, Tech", World]').data.class_names == ("Sci, Tech", "World")


def test_an_encoding_that_does_not_exist_is_refused() -> None:
    for name in ("utf-99", "base64", "rot13", ""):
        with pytest.raises(ConfigError, match="'encoding' must be a character encoding, such as utf-8"):
            resolved("--encoding", name)
    assert resolved("--encoding", "Windows-1252").data.encoding == "Windows-1252"


def test_defaults_then_file_then_options_then_assignments(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("lora: {rank: 2, alpha: 2}\ntraining: {seed: 2, epochs: 2}\n")
    config = resolved("--config", path, "--rank", 3, "--seed", 3, "--set", "training.seed=4", "--set", "lora.rank=5")
    assert (config.training.epochs, config.lora.alpha) == (2, 2.0)
    assert (config.training.seed, config.lora.rank) == (4, 5)
    assert resolved("--set", "lora.rank=5", "--set", "lora.rank=6").lora.rank == 6


@pytest.mark.parametrize("arguments", [("--rank", "0"), ("--set", "lora.rank=0"), ("--learning-rate", "nan")])
def test_wrong_values(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        resolved(*arguments)


def test_help_shows_every_sentence_and_default() -> None:
    @click.command()
    @setting_options("")
    def command(**values: Any) -> None:
        """Nothing."""

    text = " ".join(command.get_help(click.Context(command, terminal_width=100)).split())
    for item in settings():
        assert item.option in text and " ".join(item.help.split()[:4]) in text
    for part in (
        "[default: on]",
        "[default: query,value]",
        "[default: 0.1]",
        "[cosine|linear|constant]",
    ):
        assert part in text


def test_prefixes_choose_and_leave_out() -> None:
    @click.command()
    @setting_options("data.", leave_out=("data.subset",))
    def command(**values: Any) -> None:
        found.update(collect(values))

    found: dict[str, Any] = {}
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--data" in options and "--subset" not in options and "--rank" not in options
    command.main(["--text", "a"], standalone_mode=False)
    assert found == {"data.text": "a"}
