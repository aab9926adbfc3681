"""Sample prompts, which the model continues before and after training, and the file that holds them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from kerora.data.documents import Documents, Part
from kerora.errors import RunError
from kerora.runfolder import read_json, write_json

PROMPT_CHARACTERS = 120


@dataclass
class Sample:
    """A prompt and its continuations before and after training.

    Attributes:
        id: identifier of the text that the prompt comes from.
        prompt: the prompt as a person reads it.
        before: continuation by the base model.
        after: continuation by the trained model. None before it exists.
    """

    id: str
    prompt: str
    before: str | None = None
    after: str | None = None


def sample_prompts(documents: Documents, count: int) -> list[tuple[Sample, tuple[Part, ...]]]:
    """Choose prompts, spread evenly over the texts: beginnings of texts. If there are few texts, also later lines."""
    chosen: list[tuple[Sample, tuple[Part, ...]]] = []
    for number in range(count):
        # with fewer texts than prompts, several prompts come from one text
        place = number * len(documents) // count
        parts, identifier = documents.parts[place], documents.ids[place]
        if documents.form == "text":
            # the number of the first prompt that comes from this text: -(-a // b) rounds up
            first = -(-place * count // len(documents))
            # 0 for the first prompt of a text, then equal steps below 1
            inside = (number - first) / max(1, math.ceil(count / len(documents)))
            prompt = _beginning(documents.texts[place], inside)
            # not counted, and no end-of-text token behind it: the model must continue it
            parts = (Part(prompt, False, False),)
        else:
            # the last part that counts is the answer: the prompt is everything before it
            parts = parts[: max(at for at, part in enumerate(parts) if part.counted)]
        shown = "\n".join(part.text.strip("\n") for part in parts)
        # samples.json is read by prompt, so a prompt must not occur twice
        if shown.strip() and shown not in [sample.prompt for sample, _ in chosen]:
            chosen.append((Sample(identifier, shown), parts))
    return chosen


def _beginning(text: str, inside: float) -> str:
    """Return about `PROMPT_CHARACTERS` of a text, from the next line after the share `inside` of its length."""
    # a prompt inside a text begins with a whole line; without a line end, -1 + 1 is the start of the text
    start = text.find("\n", int(inside * len(text))) + 1 if inside else 0
    # near the end, there must be enough text for a prompt
    start = min(start, max(0, len(text) - PROMPT_CHARACTERS))
    # leading blanks would be tokens of the prompt
    while start < len(text) and text[start].isspace():
        start += 1
    cut = text[start : start + PROMPT_CHARACTERS]
    # Whole words only. Of a text without blanks take half, so that some text remains for the model to continue.
    last_blank = max(cut.rfind(" "), cut.rfind("\n"))
    return cut[:last_blank].rstrip() if last_blank > 0 else cut[: max(1, len(cut) // 2)]


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write samples.json."""
    write_json(path, {"samples": [asdict(sample) for sample in samples]})


def read_samples(path: Path) -> list[Sample]:
    """Read samples.json. A missing file gives no samples.

    Raises:
        RunError: the file is damaged.
    """
    if not path.is_file():
        return []
    entries = read_json(path).get("samples")
    if not isinstance(entries, list) or not all(map(_is_sample, entries)):
        raise RunError(f"{path} is damaged: 'samples' must be a list of prompts. Train again or delete it.")
    return [Sample(**_strings(entry)) for entry in entries]


def _is_sample(entry: Any) -> bool:
    if not isinstance(entry, Mapping):
        return False
    # other keys would fail as arguments of `Sample`; before and after may be missing or null
    given = {key for key, value in entry.items() if value is not None}
    return {"id", "prompt"} <= given and set(entry) <= {field.name for field in fields(Sample)}


def _strings(entry: Mapping[str, Any]) -> dict[str, Any]:
    # an edited file may hold a number as id
    return {key: value if value is None else str(value) for key, value in entry.items()}
