"""What a setting is: coercion, checks and their edges, on groups made for the purpose."""

import dataclasses
import enum
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.errors import ConfigError
from kerora.settings.base import Settings, at_least, between, more_than, setting, type_of

QUICK = settings(max_examples=80, deadline=None, derandomize=True)


@dataclass(frozen=True)
class Group(Settings):
    """One setting of each type."""

    whole: int = setting(1, "A number.", check=at_least(0))
    real: float = setting(0.5, "A number.", check=between(-1, 1))
    maybe: float | None = setting(None, "A number or nothing.", check=more_than(0))
    flag: bool = setting(False, "Yes or no.")
    text: str = setting("a", "A text.")
    choice: str | None = setting(None, "One of two.", choices=("x", "y"))
    names: tuple[str, ...] = setting((), "Names.")


@QUICK
@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(-1e6, 1e6))
def test_the_checks_are_what_they_say(value: float, bound: float) -> None:
    assert (at_least(bound)(value) is None) == (value >= bound)
    assert (more_than(bound)(value) is None) == (value > bound)
    assert (between(bound, bound + 1)(value) is None) == (bound <= value < bound + 1)


def test_the_checks_name_their_bounds() -> None:
    assert at_least(3)(2) == "must be 3 or more" and at_least(3)(3) is None
    assert more_than(0)(0) == "must be greater than 0" and more_than(0)(5e-324) is None
    assert between(0, 1)(1) == "must be at least 0 and less than 1" and between(0, 1)(0) is None
    assert at_least(0)(math.nan) is not None and between(0, 1)(math.nan) is not None


@QUICK
@given(st.floats(-1, 1, exclude_max=True))
def test_numbers_as_text_are_the_numbers_to_the_bit(value: float) -> None:
    assert Group(real=repr(value)).real == value  # type: ignore[arg-type]
    assert Group(real=f" {value!r} ").real == value  # type: ignore[arg-type]


@QUICK
@given(st.lists(st.text(st.characters(exclude_characters=",", exclude_categories=("Cs",))).map(str.strip)))
def test_names_by_commas_and_in_a_list_are_the_same(names: list[str]) -> None:
    wanted = tuple(name for name in names if name)
    assert Group(names=" , ".join(names)).names == wanted  # type: ignore[arg-type]
    assert Group(names=names).names == tuple(names)  # type: ignore[arg-type]


@QUICK
@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()), st.binary()))
def test_a_value_of_any_type_is_taken_in_the_type_of_the_field_or_refused_in_one_line(value: Any) -> None:
    kinds = {"whole": int, "real": float, "flag": bool, "text": str, "names": tuple}
    for name, kind in kinds.items():
        try:
            found = getattr(Group(**{name: value}), name)
        except ConfigError as error:
            assert str(error).startswith(f"Setting '{name}' must be ")
            assert f"Received: {value!r}" in str(error)
        else:
            assert type(found) is kind
            assert kind is not float or -1 <= found < 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("whole", True, "Setting 'whole' must be a whole number. Received: True (bool)"),
        ("whole", 1.0, "Setting 'whole' must be a whole number. Received: 1.0 (float)"),
        ("whole", None, "Setting 'whole' must be a whole number. Received: None (nothing)"),
        ("whole", -1, "Setting 'whole' must be 0 or more. Received: -1"),
        ("real", "1e400", "Setting 'real' must be a finite number. Received: '1e400' (str)"),
        ("real", 1, "Setting 'real' must be at least -1 and less than 1. Received: 1.0"),
        ("maybe", 0, "Setting 'maybe' must be greater than 0. Received: 0.0"),
        ("flag", 0, "Setting 'flag' must be true or false. Received: 0 (int)"),
        ("choice", "z", "Setting 'choice' must be one of x, y. Received: 'z'"),
        ("choice", "", "Setting 'choice' must be one of x, y. Received: ''"),
    ],
)
def test_refusals_word_for_word(name: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Group(**{name: value})
    assert str(caught.value) == message


def test_nothing_is_kept_where_it_is_allowed_and_is_not_checked() -> None:
    assert Group(maybe=None, choice=None) == Group()
    assert Group(maybe="2").maybe == 2.0  # type: ignore[arg-type]


def test_groups_do_not_change_after_their_checks() -> None:
    group = Group(whole=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        group.whole = -1  # type: ignore[misc]
    with pytest.raises(ConfigError, match="'whole' must be 0 or more"):
        dataclasses.replace(group, whole=-1)
    assert hash(group) == hash(Group(whole=3))


def test_types_are_those_of_the_annotations() -> None:
    assert type_of(Group, "maybe") == float | None and type_of(Group, "names") == tuple[str, ...]


def test_a_subclass_takes_over_a_setting_with_its_own_check() -> None:
    @dataclass(frozen=True)
    class Narrow(Group):
        whole: int = setting(5, "A larger number.", check=at_least(5))

    assert Narrow().whole == 5 and Group(whole=4).whole == 4
    with pytest.raises(ConfigError, match="5 or more. Received: 4"):
        Narrow(whole=4)


class Colour(enum.StrEnum):
    """An enumeration of text."""

    X = "x"


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("text", Path("a/b.csv"), "a/b.csv"),
        ("text", np.str_("a"), "a"),
        ("choice", Colour.X, "x"),
        ("whole", np.int16(4), 4),
        ("whole", np.array(4), 4),
        ("real", np.float32(0.5), 0.5),
        ("real", np.int64(0), 0.0),
        ("maybe", np.float64(2), 2.0),
        ("flag", np.True_, True),
        ("names", np.array(["a", "b"]), ("a", "b")),
        ("names", np.array([0, 1]), ("0", "1")),
        ("names", [Path("a"), np.int8(1)], ("a", "1")),
        ("names", Path("a"), ("a",)),
    ],
)
def test_paths_and_values_of_numpy_become_plain_values(name: str, value: Any, plain: Any) -> None:
    found = getattr(Group(**{name: value}), name)
    assert found == plain and type(found) is type(plain)
    assert yaml.safe_load(yaml.safe_dump([found] if not isinstance(found, tuple) else list(found))) is not None


@pytest.mark.parametrize("value", [np.array([[1, 2]]), np.array([1, 2]), np.nan, {"a"}, pyarrow.table({"a": [1, 2]})])
def test_other_objects_are_refused_in_one_line(value: Any) -> None:
    for name in ("whole", "real", "flag", "choice"):
        with pytest.raises(ConfigError, match=f"Setting '{name}' must be") as caught:
            Group(**{name: value})
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


def test_a_table_in_place_of_a_path_has_a_remedy() -> None:
    with pytest.raises(ConfigError, match=r"'text' must be text.* Write the table to a file and give its path\.$"):
        Group(text=pyarrow.table({"a": [1, 2]}))
