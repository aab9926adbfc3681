"""Settings by the names of their options."""

from dataclasses import dataclass, field

import pytest

from kerora.config import LoraConfig
from kerora.errors import ConfigError
from kerora.settings.base import Settings, setting
from kerora.settings.flat import by_option, from_flat


def test_every_setting_of_a_fit_has_a_name_of_its_own() -> None:
    assert all(len(items) == 1 for items in by_option().values())
    assert by_option()["data"][0].path == "data.source"


def test_names_paths_and_groups() -> None:
    given = {"epochs": 1, "lora.rank": 4, "training": {"batch_size": 2}, "data": "rows.csv"}
    expected = {"training.epochs": 1, "lora.rank": 4, "training.batch_size": 2, "data.source": "rows.csv"}
    assert from_flat(given) == expected
    assert from_flat({"lora": LoraConfig(rank=2)})["lora.rank"] == 2


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lora_r", "Here it is 'rank'"),
        ("num_train_epochs", "Here it is 'epochs'"),
        ("learning_rat", "Did you mean 'learning_rate'"),
        ("train_dataset", "Here it is 'train'"),
        ("zzz", "`kerora init`"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"kerora.fit has no setting '{name}'.*{hint}"):
        from_flat({name: 1})


@dataclass(frozen=True)
class Part(Settings):
    size: int = setting(1, "A size.")


@dataclass(frozen=True)
class Whole(Settings):
    one: Part = field(default_factory=Part)
    two: Part = field(default_factory=Part)


def test_a_name_of_several_settings_is_a_question() -> None:
    with pytest.raises(ConfigError, match="'size' is the name of several settings. Give 'one.size' or 'two.size'"):
        from_flat({"size": 2}, root=Whole)
    assert from_flat({"two": {"size": 2}}, root=Whole) == {"two.size": 2}
