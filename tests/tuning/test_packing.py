"""The predictions of a trial as text: nothing is lost, texts of the first version are read, the size is limited."""

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kerora.tuning import packing
from kerora.tuning.packing import pack, unpack

KINDS = st.sampled_from(["u1", "<u2", ">u2", "<u4", "<i8", ">f4", "<f4", "<f8", "bool"])
ARRAYS = KINDS.flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(max_dims=2, min_side=0, max_side=6)))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=3))
def test_arrays_come_back_as_they_were(given_arrays: dict[str, np.ndarray]) -> None:
    text = pack(given_arrays)
    assert text is not None and text.isascii()
    found = unpack(text)
    assert list(found) == list(given_arrays)
    for name, values in given_arrays.items():
        assert found[name].shape == values.shape and found[name].dtype == values.dtype.newbyteorder("<")
        np.testing.assert_array_equal(found[name], values)


def test_the_text_of_the_first_version_is_read() -> None:
    predicted, true = np.array([0, 65_535, 300], "<u2"), np.array([0.25, 1.0, 1e-7], "<f4")
    found = unpack(base64.b64encode(zlib.compress(predicted.tobytes() + true.tobytes())).decode())
    assert found["predicted"].tolist() == [0, 65_535, 300]
    np.testing.assert_array_equal(found["true_probability"], true)


def test_a_long_text_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"values": np.random.default_rng(0).random(300)}
    text = pack(values)
    assert text is not None
    monkeypatch.setattr(packing, "MOST_CHARACTERS", len(text) - 1)
    assert pack(values) is None


def test_half_a_million_classified_rows_are_stored() -> None:
    generator = np.random.default_rng(0)
    predicted = generator.integers(0, 1000, 500_000).astype(np.uint16)
    assert pack({"predicted": predicted, "true_probability": generator.random(500_000).astype(np.float32)}) is not None
