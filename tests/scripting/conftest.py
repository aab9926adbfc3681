"""The tests of this folder read messages as a script does."""

from collections.abc import Iterator

import pytest

from kerora.errors import as_written


@pytest.fixture(autouse=True)
def words() -> Iterator[None]:
    """Messages name arguments, as in every script."""
    with as_written(False):
        yield
