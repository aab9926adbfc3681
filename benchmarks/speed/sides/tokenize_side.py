"""Tokenising: Kerora with its cache, the first and the second time, and the Rust tokenizer alone."""

import time
from typing import Any

from tokenizers import Tokenizer

from benchmarks.speed.work import Job
from kerora.data.rows import Rows
from kerora.data.tokens import cached_tokens
from kerora.models.presets import find_preset


def kerora(job: Job) -> dict[str, Any]:
    """Tokenise twice. The second time reads the cache."""
    rows = Rows(_texts(job), [""] * job.texts)
    tokenizer = find_preset(job.preset).load_tokenizer()
    first, table = _timed(lambda: cached_tokens(rows, tokenizer, job.max_length))
    second, _ = _timed(lambda: cached_tokens(rows, tokenizer, job.max_length))
    return {"first_seconds": first, "second_seconds": second, "tokens": int(table.offsets[-1])}


def rust(job: Job) -> dict[str, Any]:
    """Tokenise only with `tokenizers`."""
    texts = _texts(job)
    tokenizer = Tokenizer.from_file(f"{job.preset}/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(job.max_length)
    seconds, encodings = _timed(lambda: tokenizer.encode_batch_fast(texts))
    return {"first_seconds": seconds, "tokens": sum(len(encoding.ids) for encoding in encodings)}


def _texts(job: Job) -> list[str]:
    return (job.path / "reviews.txt").read_text(encoding="utf-8").splitlines()[: job.texts]


def _timed(work: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result
