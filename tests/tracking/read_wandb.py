"""Reads the file of an offline run of wandb: records of its protocol in the log format of LevelDB."""

import json
import struct
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def chunks(content: bytes) -> list[bytes]:
    """Return the records of a file. The first seven bytes are a mark."""
    assert content.startswith(b":W&B")
    found: list[bytes] = []
    at, part = HEADER, b""
    while at + HEADER <= len(content):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + HEADER])
        part += content[at + HEADER : at + HEADER + size]
        at += HEADER + size
        if kind in (FULL, LAST):
            found.append(part)
            part = b""
        assert kind in (FULL, FIRST, MIDDLE, LAST)
    return found


def read_offline_run(path: Path) -> dict[str, Any]:
    """Return the identifier, settings, points and final values of an offline run."""
    from wandb.proto.wandb_internal_pb2 import Record

    result: dict[str, Any] = {"config": {}, "history": [], "summary": {}, "exit": None}
    for chunk in chunks(path.read_bytes()):
        record = Record()
        record.ParseFromString(chunk)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            result["id"], result["name"] = record.run.run_id, record.run.display_name
            result["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "history":
            result["history"].append(_values(record.history.item))
        elif kind == "summary":
            result["summary"] |= _values(record.summary.update)
        elif kind == "exit":
            result["exit"] = record.exit.exit_code
    return result


def _values(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
