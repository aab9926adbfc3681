"""Names of other tools lead to names that exist here, and only to those."""

import pytest

from kerora.cli.main import COMMANDS, group
from kerora.config import resolve
from kerora.errors import ConfigError
from kerora.settings.foreign import FOREIGN, own_name


def test_every_own_name_is_an_option_of_some_command_and_no_foreign_name_is() -> None:
    import click

    options: set[str] = set()
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        inner = command.commands.values() if isinstance(command, click.Group) else [command]
        options |= {opt[2:].replace("-", "_") for leaf in inner if leaf for item in leaf.params for opt in item.opts}
    assert set(FOREIGN) <= options


def test_only_known_names_are_returned() -> None:
    assert own_name("lora-r", {"rank"}) == "rank"
    assert own_name("lora-r", {"alpha"}) is None
    assert own_name("output_dir", {"output"}) == own_name("output_dir", {"output", "force"}) == "output"
    assert own_name("Learning-Rate", {"learning_rate"}) == "learning_rate"
    assert own_name("unheard", {"rank"}) is None


@pytest.mark.parametrize(
    ("given", "own"),
    [({"lora": {"r": 4}}, "lora.rank"), ({"training": {"num_train_epochs": 2}}, "training.epochs")],
)
def test_keys_of_files_are_answered_too(given: dict[str, object], own: str) -> None:
    with pytest.raises(ConfigError, match=f"Here it is '{own}'"):
        resolve(given)
