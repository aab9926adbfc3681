"""The predictions of a trial as text, as databases hold attributes in JSON."""

import base64
import json
import math
import zlib
from collections.abc import Mapping

import numpy as np

MOST_CHARACTERS = 4 << 20
"""The longest text of one seed. It holds half a million classified rows. A storage keeps the texts of all trials."""
# no character of base64, so texts of earlier versions do not begin like this
_MARK = "v2:"


def pack(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Return arrays of numbers or booleans as compressed text. None if it is longer than `MOST_CHARACTERS`."""
    # little-endian on every machine, because a storage may be shared
    parts = {name: np.ascontiguousarray(values, values.dtype.newbyteorder("<")) for name, values in arrays.items()}
    head = json.dumps([[name, values.dtype.str, values.shape] for name, values in parts.items()])
    content = head.encode() + b"\n" + b"".join(values.tobytes() for values in parts.values())
    text = _MARK + base64.b64encode(zlib.compress(content)).decode()
    return text if len(text) <= MOST_CHARACTERS else None


def unpack(text: str) -> dict[str, np.ndarray]:
    """Read the text of `pack`, or of earlier versions of Kerora."""
    if not text.startswith(_MARK):
        return _unpack_first_version(text)
    content = zlib.decompress(base64.b64decode(text.removeprefix(_MARK)))
    place = content.index(b"\n") + 1
    arrays = {}
    for name, kind, shape in json.loads(content[:place]):
        arrays[name] = np.frombuffer(content, kind, math.prod(shape), place).reshape(shape)
        place += arrays[name].nbytes
    return arrays


def _unpack_first_version(text: str) -> dict[str, np.ndarray]:
    # It had no names, because only classifiers could be searched: class numbers, then probabilities of the true class.
    content = zlib.decompress(base64.b64decode(text))
    # two bytes and four bytes a row
    rows = len(content) // 6
    return {
        "predicted": np.frombuffer(content, "<u2", rows),
        "true_probability": np.frombuffer(content, "<f4", rows, 2 * rows),
    }
