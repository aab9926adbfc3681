"""Continues texts with a language model: greedy or by sampling, with a cache of keys and values.

All rows of a batch are at the same position. A prompt that is longer than the others is still read while the others are
continued. No padding before the text is needed, and each row gets the same result as alone.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from kerora.backend import import_keras_hub
from kerora.compat import build_cache, flatten_layers, state_of
from kerora.errors import ConfigError
from kerora.fast.decoder_weights import DecoderWeights
from kerora.fast.decoding import FastDecoder, decoder_weights
from kerora.models.causal_lm import CausalLM
from kerora.models.checks import check_outputs
from kerora.settings.language import Sampling

keras_hub = import_keras_hub()


@dataclass
class Continuation:
    """A text that is being continued.

    Attributes:
        prompt: its token ids, truncated to what the model takes.
        cut: number of tokens that were cut from the start of the prompt.
        ids: new token ids, without the end-of-text token.
        text: the new text, up to a stop text.
        shown: number of characters of `text` that can no longer change.
        finish: why it ended: ``end`` (the model ended it), ``stop`` (a stop text) or ``length``; None before its end.
        settled: the text of the first tokens, which no new token changes.
        decoded: which tokens are decoded again to know where the text of the new ones begins, as (start, end).
    """

    prompt: list[int]
    cut: int = 0
    ids: list[int] = field(default_factory=list)
    text: str = ""
    shown: int = 0
    finish: str | None = None
    settled: str = field(default="", repr=False)
    decoded: tuple[int, int] = field(default=(0, 0), repr=False)


class TextGenerator:
    """Continues texts with a `CausalLM`.

    Args:
        model: the model. It is faster after its LoRA is merged.
        laid_out: whether the kernels of the model get the layout that is fastest for generation. The model is then not
            for training. Default: False.
    """

    def __init__(self, model: CausalLM, *, laid_out: bool = False) -> None:
        self._laid_out = laid_out
        self.model = model
        self.context: int | None = getattr(model.backbone, "max_sequence_length", None)
        self.ends = model.tokenizer.text_ends()
        self._weights: DecoderWeights | None = None
        self._states: list[tuple[int, int]] | None = None

    def stream(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, numbers: Sequence[int] | None = None
    ) -> Iterator[list[Continuation]]:
        """Continue a batch of prompts. Yield all continuations after each token.

        The start of a prompt that fills the context is cut, to leave room for new tokens: at most half the context.

        Args:
            prompts: token ids. An empty prompt starts from the end-of-text token.
            sampling: settings of sampling.
            numbers: number of each prompt, part of the seed of its samples. Default: None, the position in `prompts`.
        """
        rows = [self._begin(list(prompt), sampling) for prompt in prompts]
        # Each prompt has its own random stream, so that a result does not depend on the batch.
        seeds = [sampling.seed * 1_000_003 + number for number in (numbers or range(len(rows)))]
        # manual_seed takes 64 bits. The mask keeps a large seed inside and positive.
        draws = [torch.Generator().manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF) for seed in seeds]
        longest = max(len(row.prompt) for row in rows) + sampling.max_tokens
        decoder = self._decoder(len(rows), min(longest, self.context or longest))
        # All rows can read the length of the shortest prompt in one pass.
        place = min(len(row.prompt) for row in rows)
        ids = torch.tensor([row.prompt[:place] for row in rows])
        with torch.no_grad():
            logits = decoder.advance(ids, 0)
            while True:
                # The most probable tokens of all rows in one pass.
                best = logits.argmax(-1).tolist() if is_greedy(sampling) else None
                chosen = [
                    self._next(
                        row, logits[number], sampling, draws[number], place, None if best is None else best[number]
                    )
                    for number, row in enumerate(rows)
                ]
                yield rows
                place += 1
                if all(row.finish for row in rows):
                    return
                logits = decoder.advance(torch.tensor(chosen)[:, None], place - 1)

    def _decoder(self, rows: int, length: int) -> "_Cached | FastDecoder":
        # A training, a merge or another adapter changes the weights, which are then read again.
        if _states(self.model) != self._states:
            self._weights = decoder_weights(self.model, self._laid_out)
            self._states = _states(self.model)
        if self._weights is None:
            return _Cached(self.model, rows, length)
        return FastDecoder(self.model, self._weights, rows, length, self._laid_out)

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, batch_size: int = 16, first: int = 0
    ) -> list[Continuation]:
        """Continue prompts and return the finished continuations, in their order.

        Args:
            prompts: token ids.
            sampling: settings of sampling.
            batch_size: prompts in a batch. Prompts of similar length share a batch. Default: 16.
            first: number of the first prompt, for the seeds. Default: 0.
        """
        order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
        results: dict[int, Continuation] = {}
        for start in range(0, len(order), batch_size):
            numbers = order[start : start + batch_size]
            seeded = [first + number for number in numbers]
            steps = self.stream([prompts[number] for number in numbers], sampling, seeded)
            # Every step yields the same objects, so only the last one counts.
            rows = deque(steps, maxlen=1).pop()
            results.update(zip(numbers, rows, strict=True))
        return [results[number] for number in range(len(prompts))]

    def _begin(self, prompt: list[int], sampling: Sampling) -> Continuation:
        end = self.model.tokenizer.end_id
        prompt = prompt or [0 if end is None else end]
        if self.context is None or len(prompt) < self.context:
            return Continuation(prompt)
        # The end of a prompt matters more for its continuation than the start.
        room = self.context - min(sampling.max_tokens, self.context // 2)
        return Continuation(prompt[-room:], cut=len(prompt) - room)

    def _next(
        self,
        row: Continuation,
        logits: torch.Tensor,
        sampling: Sampling,
        draw: torch.Generator,
        place: int,
        best: int | None,
    ) -> int:
        """Return the next token of the prompt of a row, or choose one if the prompt has ended. `best` is the choice."""
        if place < len(row.prompt):
            return row.prompt[place]
        end = self.model.tokenizer.end_id
        if row.finish is not None:
            # The batch stays rectangular, so a finished row reads a token that has no effect.
            return end or 0
        chosen = choose(logits, [*row.prompt, *row.ids], sampling, draw) if best is None else best
        if chosen in self.ends:
            row.finish = "end"
        else:
            row.ids.append(chosen)
            if len(row.ids) >= sampling.max_tokens or place + 1 == self.context:
                # The model has no position for a token after the context.
                row.finish = "length"
        self._read_out(row, sampling.stop)
        return chosen

    def _read_out(self, row: Continuation, stops: Sequence[str]) -> None:
        self._decode(row)
        found = [place for stop in stops if (place := row.text.find(stop)) >= 0]
        if found:
            row.text, row.finish = row.text[: min(found)], "stop"
        # A streamed text must not show characters that a stop text later removes.
        row.shown = len(row.text) if row.finish else len(row.text) - _unsettled(row.text, stops)

    def _decode(self, row: Continuation) -> None:
        """Add the text of the new tokens. Tokens before them are decoded again, because the new text depends on them.

        A new token may complete a character, and a tokenizer writes the first token of a text without its space.
        """
        begin, end = row.decoded
        decode = self.model.tokenizer.decode
        known, new = decode(row.ids[begin:end]), decode(row.ids[begin:])
        row.text = row.settled + new[len(known) :]
        if not new.endswith("\ufffd") and len(new) > len(known):
            row.settled, row.decoded = row.text, (end, len(row.ids))


def _states(model: CausalLM) -> list[tuple[int, int]]:
    updates = (getattr(layer, "update", None) for layer in flatten_layers(model))
    switches = [(id(update), int(update.enabled)) for update in updates if update is not None]
    return [*(state_of(variable) for variable in model.variables), *switches]


def is_greedy(sampling: Sampling) -> bool:
    """Return whether the next token is always that of the largest logit."""
    return sampling.temperature == 0 and sampling.repetition_penalty == 1.0


def choose(logits: torch.Tensor, seen: Sequence[int], sampling: Sampling, draw: torch.Generator) -> int:
    """Choose the next token from logits (tokens,). Settings mean the same as in transformers."""
    logits = logits.float()
    check_outputs(logits.cpu().numpy())
    if sampling.repetition_penalty != 1.0:
        # A token that occurs several times is penalised once, as in transformers.
        places = torch.tensor(sorted(set(seen)))
        old = logits[places]
        logits = logits.clone()
        # Dividing a negative logit would make its token more probable.
        logits[places] = torch.where(old < 0, old * sampling.repetition_penalty, old / sampling.repetition_penalty)
    if sampling.temperature == 0:
        return int(logits.argmax())
    logits = logits / sampling.temperature
    if sampling.top_k is not None:
        least = torch.topk(logits, min(sampling.top_k, len(logits))).values[-1]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p is not None:
        # From the least probable token up, the same order of sums as in transformers.
        ascending, order = torch.sort(logits)
        outside = ascending.softmax(-1).cumsum(-1) <= 1 - sampling.top_p
        outside[-1] = False  # The most probable token always stays.
        logits = logits.masked_fill(torch.zeros_like(outside).scatter(0, order, outside), -torch.inf)
    # Sampling on the CPU gives a seed the same random numbers on every device.
    return int(torch.multinomial(logits.softmax(-1).cpu(), 1, generator=draw))


def _unsettled(text: str, stops: Sequence[str]) -> int:
    """Return the number of last characters that may still change or become part of a stop text."""
    # The bytes of an incomplete character decode to U+FFFD.
    half_character = len(text) - len(text.rstrip("\ufffd"))
    lengths = (length for stop in stops for length in range(1, len(stop)) if text.endswith(stop[:length]))
    return max(half_character, max(lengths, default=0))


class _Cached:
    """Decoding with the cache of KerasHub, for all of its language models."""

    def __init__(self, model: CausalLM, rows: int, length: int) -> None:
        self.model = model
        # The inputs are token ids already, so no preprocessor is needed.
        self.task = _task_class(model.backbone)(backbone=model.backbone, preprocessor=None)
        self.shape = (rows, length)
        self.cache: Any = None

    def advance(self, ids: torch.Tensor, place: int) -> torch.Tensor:
        """Read tokens (rows, count) at position `place`. Return the logits after the last one, (rows, tokens)."""
        if self.cache is None:
            # Reading the prompt with padding after it creates a cache of the whole length.
            padded = torch.zeros(self.shape, dtype=torch.int64)
            padded[:, : ids.shape[1]] = ids
            self.cache = build_cache(self.task, padded)
            # `build_cache` gives no logits, so the last token of the prompt is read again.
            ids, place = ids[:, -1:], ids.shape[1] - 1
        # The layers of KerasHub accept the position only as a tensor.
        logits, _, self.cache = self.task.call_with_cache(ids, self.cache, torch.tensor(place))
        last: torch.Tensor = logits[:, -1].float()
        return last


def _task_class(backbone: Any) -> Any:
    for name in dir(keras_hub.models):
        task = getattr(keras_hub.models, name)
        if name.endswith("CausalLM") and getattr(task, "backbone_cls", None) is type(backbone):
            return task
    raise ConfigError(f"KerasHub has no language model on {type(backbone).__name__}. Choose another model.")
