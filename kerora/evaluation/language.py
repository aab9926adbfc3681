"""The metrics of a language model: loss, perplexity and bits per byte, over every token but the first of a text."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.documents import Documents, Part
from kerora.data.language_batches import LanguageBatches
from kerora.data.language_tokens import windows
from kerora.data.tokens import TokenTable
from kerora.errors import RunError
from kerora.models.causal_lm import CausalLM
from kerora.models.generation import Sampling, TextGenerator
from kerora.runfolder import read_json, write_json

LANGUAGE_METRICS = ("loss", "perplexity", "bits_per_byte")
"""The single-number metrics of `language_metrics`."""
BATCH_TOKENS = 1 << 14
"""Tokens in a batch of evaluation at most: long rows come in smaller batches."""
PROMPT_CHARACTERS = 120


def evaluate_documents(
    model: CausalLM, documents: Documents, batch_size: int = 64, stride: int | None = None
) -> dict[str, Any]:
    """Return the metrics of texts.

    Texts longer than the model's rows are read through a window that moves by `stride`, so that each token is
    predicted once, from at least ``max_length - stride`` tokens before it where there are as many.

    Args:
        model: the language model.
        documents: the texts.
        batch_size: rows in a batch; default 64.
        stride: tokens by which the window moves; None means half of the model's `max_length`.
    """
    table = model.token_table(documents)
    rows = windows(table, model.max_length, stride or max(1, model.max_length // 2))
    size = max(1, min(batch_size, BATCH_TOKENS // int(rows.lengths.max(initial=1))))
    batches = LanguageBatches(table, rows, batch_size=size, pad_id=model.tokenizer.pad_id, shuffle=False)
    total, tokens = 0.0, 0
    for index in range(len(batches)):
        inputs, targets, weights = batches[index]
        losses = model.losses(inputs, targets, weights > 0)
        total += float(losses.sum(dtype=np.float64))
        tokens += len(losses)
    return language_metrics(total, tokens, documents.counted_bytes() - _unpredicted_bytes(model, table))


def language_metrics(total: float, tokens: int, size: int) -> dict[str, Any]:
    """Return what metrics.json holds for a split of a language model.

    Args:
        total: sum of the tokens' losses in nats.
        tokens: how many tokens were predicted.
        size: bytes in UTF-8 of the text that they stand for.

    Returns:
        ``loss`` (nats a token), ``perplexity`` (its exponential), ``bits_per_byte`` (which does not depend on the
        tokenizer) and ``tokens``; None where there is no token or the number is too large.
    """
    if not tokens:
        return {"loss": None, "perplexity": None, "bits_per_byte": None, "tokens": 0}
    loss = total / tokens
    return {
        "loss": loss,
        "perplexity": math.exp(loss) if loss < 700 else None,
        "bits_per_byte": total / math.log(2) / size if size > 0 else None,
        "tokens": tokens,
    }


def _unpredicted_bytes(model: CausalLM, table: TokenTable) -> int:
    """Return the bytes of first tokens, which nothing predicts."""
    assert table.segments is not None
    starts = table.offsets[:-1][table.lengths > 0]
    first = table.ids[starts][table.segments[starts] > 0]
    return sum(model.tokenizer.byte_length(int(number)) for number in first)


@dataclass
class Sample:
    """A prompt and its continuations before and after training.

    Attributes:
        id: the text that the prompt comes from.
        prompt: what a person would read.
        before: continuation by the untouched model.
        after: continuation by the trained model, or None before it is made.
    """

    id: str
    prompt: str
    before: str | None = None
    after: str | None = None


def sample_prompts(documents: Documents, count: int) -> list[tuple[Sample, tuple[Part, ...]]]:
    """Choose prompts, spread evenly over the texts; of a text its beginning, or where there are few, its inside."""
    chosen: list[tuple[Sample, tuple[Part, ...]]] = []
    for number in range(count):
        place = number * len(documents) // count
        parts, identifier = documents.parts[place], documents.ids[place]
        if documents.form == "text":
            first = -(-place * count // len(documents))
            inside = (number - first) / max(1, math.ceil(count / len(documents)))
            prompt = _beginning(documents.texts[place], inside)
            parts = (Part(prompt, False, False),)
        else:
            parts = parts[: max(at for at, part in enumerate(parts) if part.counted)]
        shown = "\n".join(part.text.strip("\n") for part in parts)
        if shown.strip() and shown not in [sample.prompt for sample, _ in chosen]:
            chosen.append((Sample(identifier, shown), parts))
    return chosen


def _beginning(text: str, inside: float) -> str:
    """Return about `PROMPT_CHARACTERS` of a text from the line that begins at a share of it."""
    start = text.find("\n", int(inside * len(text))) + 1 if inside else 0
    start = min(start, max(0, len(text) - PROMPT_CHARACTERS))
    while start < len(text) and text[start].isspace():
        start += 1
    cut = text[start : start + PROMPT_CHARACTERS]
    # whole words only, and something must be left to go on with
    last_blank = max(cut.rfind(" "), cut.rfind("\n"))
    return cut[:last_blank].rstrip() if last_blank > 0 else cut[: max(1, len(cut) // 2)]


def continue_prompts(model: CausalLM, prompts: Sequence[Sequence[Part]], tokens: int) -> list[str]:
    """Return the greedy continuations of prompts."""
    ids = [model.prompt_ids(parts) for parts in prompts]
    return [row.text for row in TextGenerator(model).generate(ids, Sampling(max_tokens=tokens))] if ids else []


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write samples.json."""
    write_json(path, {"samples": [asdict(sample) for sample in samples]})


def read_samples(path: Path) -> list[Sample]:
    """Read samples.json; a missing file holds none.

    Raises:
        RunError: the file is damaged.
    """
    if not path.is_file():
        return []
    entries = read_json(path).get("samples")
    try:
        assert isinstance(entries, list)
        return [Sample(**_strings(entry)) for entry in entries]
    except (AssertionError, TypeError) as error:
        raise RunError(f"{path} is damaged: 'samples' must be a list of prompts. Train again or delete it.") from error


def _strings(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if value is None else str(value) for key, value in entry.items()}
