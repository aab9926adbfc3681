"""Decoding with a cache of keys and values, without the layers of Keras.

Each call of a Keras layer costs Python time, and a forward pass of one token has some hundreds of them. KerasHub also
copies its whole cache for each token and computes the logits of all places. Here a token costs a dozen operations of
torch in each block, keys and values are written into the cache in place, and only the last place gets logits.
"""

from typing import Any

import torch

from kerora.fast.decoder_weights import Block, DecoderWeights, read_decoder, rotate
from kerora.fast.switch import is_plain


def decoder_weights(model: Any, laid_out: bool = False) -> DecoderWeights | None:
    """Return the weights of a language model for `FastDecoder`, or None if its layers must compute it.

    The result is None with ``KERORA_PLAIN``, for kinds without an entry in the table, for quantised kernels, and for
    DoRA and PiSSA that are not merged.

    Args:
        model: a `kerora.models.causal_lm.CausalLM`.
        laid_out: see `kerora.fast.decoder_weights`.
    """
    names = model.preset.architecture.decoding
    return None if names is None or is_plain() else read_decoder(model.backbone, names, laid_out)


class FastDecoder:
    """Decoding of a batch of texts.

    Args:
        model: a `kerora.models.causal_lm.CausalLM`.
        weights: its weights, from `decoder_weights`.
        rows: number of texts that are continued together.
        length: largest number of tokens of a text.
        laid_out: whether one row may cost a copy of the output embeddings, for speed.
    """

    def __init__(self, model: Any, weights: DecoderWeights, rows: int, length: int, laid_out: bool = False) -> None:
        self.model, self.weights = model, weights
        device = weights.embeddings.device
        # Keys and values of each block, (rows, groups, places, size).
        self.caches = [
            [torch.empty(rows, block.groups, length, block.size, dtype=weights.dtype, device=device) for _ in range(2)]
            for block in weights.blocks
        ]
        self.head = self._fast_head() if rows == 1 and laid_out else None
        self.turns = [None if block.rope is None else block.rope(length) for block in weights.blocks]

    def _fast_head(self) -> torch.Tensor | None:
        """Return the output embeddings as (width, tokens), which a CPU multiplies with one row in half the time."""
        weights = self.weights
        layer = self.model.output_layer()
        plain = weights.dtype == torch.float32 and weights.embeddings.device.type == "cpu"
        if not plain or layer["transposed"] or layer["soft_cap"] is not None:
            return None
        if not weights.head:
            weights.head.append(layer["kernel"].detach().T.contiguous())
        return weights.head[0]

    def advance(self, ids: torch.Tensor, place: int) -> torch.Tensor:
        """Read tokens (rows, count) at position `place`. Return the logits after the last one, (rows, tokens)."""
        with torch.inference_mode():
            weights, (rows, count) = self.weights, ids.shape
            states = torch.nn.functional.embedding(ids.to(weights.embeddings.device), weights.embeddings)
            if weights.factor != 1:
                states = states * torch.tensor(weights.factor, dtype=weights.dtype)
            if weights.positions is not None:
                states = states + weights.positions[place : place + count]
            states = states.reshape(rows * count, -1)
            for block, cache, turns in zip(weights.blocks, self.caches, self.turns, strict=True):
                states = self._block(block, states, cache, turns, place, count)
            last = states.view(rows, count, -1)[:, -1]
            states = weights.last_norm(last)
            if self.head is not None:
                return states @ self.head
            logits: torch.Tensor = self.model.to_logits(states)
            return logits

    def _block(
        self, block: Block, states: torch.Tensor, cache: list[torch.Tensor], turns: Any, place: int, count: int
    ) -> torch.Tensor:
        """Return the states after a block, (rows * count, width)."""
        attended = block.output(_attention(block, block.before(states), cache, turns, place, count))
        states = states + (attended if block.after_attention is None else block.after_attention(attended))
        normed = block.between(states)
        inner = block.inner(normed)
        if block.gated:
            gate, inner = inner.chunk(2, dim=-1)
            inner = block.activation(gate).mul_(inner)
        elif block.gate is None:
            inner = block.activation(inner)
        else:
            inner = inner.mul_(block.activation(block.gate(normed)))
        fed = block.outer(inner)
        return states + (fed if block.after_feed_forward is None else block.after_feed_forward(fed))


def _attention(
    block: Block, states: torch.Tensor, cache: list[torch.Tensor], turns: Any, place: int, count: int
) -> torch.Tensor:
    """Write the keys and values of new tokens into the cache, and return what the tokens attend to."""
    heads, groups, size = block.heads, block.groups, block.size
    end = place + count
    joined = block.projections(states).view(-1, count, heads + 2 * groups, size)
    queries, keys, values = joined.split([heads, groups, groups], dim=2)
    if block.query_norm is not None and block.key_norm is not None:
        queries, keys = block.query_norm(queries), block.key_norm(keys)
        if turns is not None:
            queries, keys = (rotate(part, *_turns(turns, place, end)) for part in (queries, keys))
    elif turns is not None:
        # Query and key are neighbours, so both turn in one pass.
        turned = rotate(joined[:, :, : heads + groups], *_turns(turns, place, end))
        queries, keys = turned.split([heads, groups], dim=2)
    cache[0][:, :, place:end] = keys.transpose(1, 2)
    cache[1][:, :, place:end] = values.transpose(1, 2)
    return _attended(block, queries, cache, place, count).reshape(-1, heads * size)


def _turns(turns: tuple[torch.Tensor, torch.Tensor], place: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosines and sines of places, (places, 1, size)."""
    return turns[0][place:end, None], turns[1][place:end, None]


def _attended(block: Block, queries: torch.Tensor, cache: list[torch.Tensor], place: int, count: int) -> torch.Tensor:
    """Return the attention output (rows, count, heads, size) of queries of the same shape."""
    heads, groups, size = block.heads, block.groups, block.size
    end = place + count
    # One new token sees the last tokens of the window, and needs no mask.
    start = max(0, end - block.window) if block.window is not None and count == 1 else 0
    keys, values = (part[:, :, start:end] for part in cache)
    if count == 1:
        # The heads that share a key are the rows of one product.
        queries = queries.view(-1, groups, heads // groups, size)
        return _products(block, queries, keys, values, None)
    keys, values = (part.repeat_interleave(heads // groups, dim=1) for part in (keys, values))
    seen = _seen(place, count, block.window)
    return _products(block, queries.transpose(1, 2), keys, values, seen).transpose(1, 2)


def _seen(place: int, count: int, window: int | None) -> torch.Tensor:
    """Return which tokens each of `count` new tokens sees, bool (count, place + count)."""
    new = torch.arange(place, place + count)[:, None]
    every = torch.arange(place + count)
    seen = every <= new
    return seen if window is None else seen & (every > new - window)


def _products(
    block: Block, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, seen: torch.Tensor | None
) -> torch.Tensor:
    if block.cap is None:
        mask = None if seen is None else seen.to(queries.device)
        return torch.nn.functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, scale=block.scale
        )
    scores = (queries * block.scale) @ keys.transpose(-1, -2)
    scores = torch.tanh(scores / block.cap) * block.cap
    if seen is not None:
        scores = scores.masked_fill(~seen.to(scores.device), -torch.inf)
    return scores.float().softmax(-1).to(values.dtype) @ values
