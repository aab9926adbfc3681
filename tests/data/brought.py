"""What the tests of files from elsewhere share: two rows, and functions that read them."""

import io
from pathlib import Path
from typing import Any

import pytest

from kerora.config import DataConfig
from kerora.data.labelled import LabelledReader
from kerora.data.sources import read_source
from kerora.data.streams import stream_texts
from kerora.errors import DataError

GOOD = "text,label\nfine day,x\nwet day,y\n"
ROWS = [{"text": "fine day", "label": "x"}, {"text": "wet day", "label": "y"}]
EXPECTED = [("fine day", "x"), ("wet day", "y")]
Row = tuple[str, str]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(path: Path, **config: Any) -> list[Row]:
    return parts(path, **config)["train"]


def parts(path: Path, **config: Any) -> dict[str, list[Row]]:
    found = read_source(str(path), DataConfig(**config), LabelledReader())
    return {
        split: list(zip(part.rows.texts, part.rows.targets or [], strict=True)) for split, part in sorted(found.items())
    }


def texts(source: Path | str | bytes, **config: Any) -> list[str]:
    stream = source if isinstance(source, Path) else io.BytesIO(source.encode() if isinstance(source, str) else source)
    return [record.text for record in stream_texts(stream, DataConfig(**config))]


def refused(message: str) -> Any:
    return pytest.raises(DataError, match=message)
