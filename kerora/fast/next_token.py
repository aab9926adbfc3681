"""The loss of a language model, computed in chunks, so that the logits of only a few positions exist at a time.

The logits of all positions, their softmax and their gradient need much memory. Here one chunk of positions gets its
logits, loss and gradient before the next chunk starts. The memory then depends little on the number of positions, and
positions that the loss does not count cost nothing.

The logits are stored as (tokens, positions). The size of a vocabulary is often odd. With rows of that length, most rows
would start inside a cache line, which makes the matrix product much slower.
"""

from collections.abc import Iterator
from typing import Any

import torch

CHUNK_NUMBERS = 20_000_000
"""Logits in a chunk: 80 MB in float32, about 400 positions with the vocabulary of GPT-2."""
ALIGNED = 16
"""The positions of a chunk are a multiple of this. Products are faster if rows are multiples of 64 bytes."""


def next_token_loss(
    hidden: torch.Tensor,
    kernel: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    *,
    transposed: bool = False,
    soft_cap: float | None = None,
) -> torch.Tensor:
    """Return the weighted sum of cross entropies; see `kerora.models.next_token.next_token_loss`."""
    counted = weights.reshape(-1) > 0
    rows = _pad(hidden.reshape(-1, hidden.shape[-1])[counted])
    right = _pad(targets.reshape(-1)[counted].long())
    shares = _pad(weights.reshape(-1)[counted].float())
    result: torch.Tensor = _ChunkedCrossEntropy.apply(rows, kernel, right, shares, transposed, soft_cap)
    return result


def token_losses(
    hidden: torch.Tensor,
    kernel: torch.Tensor,
    targets: torch.Tensor,
    *,
    transposed: bool = False,
    soft_cap: float | None = None,
) -> torch.Tensor:
    """Return the cross entropy at each position; see `kerora.models.next_token.token_losses`."""
    rows, right = _pad(hidden), _pad(targets.long())
    losses = torch.zeros(len(rows), device=hidden.device)
    with torch.no_grad():
        for part, logits in _logits_in_chunks(rows, _matrix(kernel, hidden.dtype, transposed), soft_cap):
            chosen = logits[_places(right[part])]
            _, log_sums = _exponentials_in_place(logits)
            losses[part] = log_sums - chosen
    return losses[: len(hidden)]


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Loss and gradients in one pass over the chunks. `backward` only scales the gradients that `forward` stored."""

    @staticmethod
    def forward(
        context: Any,
        hidden: torch.Tensor,
        kernel: torch.Tensor,
        targets: torch.Tensor,
        weights: torch.Tensor,
        transposed: bool,
        soft_cap: float | None,
    ) -> torch.Tensor:
        matrix = _matrix(kernel, hidden.dtype, transposed)
        needs_hidden, needs_kernel = context.needs_input_grad[:2]
        hidden_gradient = torch.empty_like(hidden) if needs_hidden else None
        # Float32, because bfloat16 would round the sum at each chunk.
        kernel_gradient = torch.zeros(matrix.shape, device=hidden.device) if needs_kernel else None
        total = torch.zeros((), device=hidden.device)
        for part, logits in _logits_in_chunks(hidden, matrix, soft_cap):
            # These two read the logits, which `_exponentials_in_place` overwrites.
            right = logits[_places(targets[part])]
            # The slope of cap * tanh(x / cap), from its value y: 1 - (y / cap)^2.
            slope = None if soft_cap is None else 1 - (logits / soft_cap) ** 2
            sums, log_sums = _exponentials_in_place(logits)
            total += ((log_sums - right) * weights[part]).sum()
            if not needs_hidden and not needs_kernel:
                continue
            gradient = _gradient_in_place(logits, sums, targets[part], weights[part], slope).to(hidden.dtype)
            if hidden_gradient is not None:
                # The gradient is (tokens, positions), like the logits.
                hidden_gradient[part] = gradient.T @ matrix
            if kernel_gradient is not None:
                kernel_gradient += gradient @ hidden[part]
        context.save_for_backward(hidden_gradient, kernel_gradient)
        context.kernel_like = (kernel.dtype, transposed)
        return total

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_gradient, kernel_gradient = context.saved_tensors
        dtype, transposed = context.kernel_like
        if hidden_gradient is not None:
            hidden_gradient = hidden_gradient * gradients[0].to(hidden_gradient.dtype)
        if kernel_gradient is not None:
            kernel_gradient = (kernel_gradient * gradients[0]).to(dtype)
            kernel_gradient = kernel_gradient.T if transposed else kernel_gradient
        return hidden_gradient, kernel_gradient, None, None, None, None


def _matrix(kernel: torch.Tensor, dtype: torch.dtype, transposed: bool) -> torch.Tensor:
    matrix = kernel.detach().to(dtype)
    return matrix.T if transposed else matrix


def _pad(values: torch.Tensor) -> torch.Tensor:
    """Append zeros to (positions, ...) up to a multiple of `ALIGNED` positions. Their weight is zero too."""
    missing = -len(values) % ALIGNED
    return torch.nn.functional.pad(values, (0, 0) * (values.ndim - 1) + (0, missing))


def _logits_in_chunks(
    hidden: torch.Tensor, matrix: torch.Tensor, soft_cap: float | None
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield chunks of positions with their logits, float32 (tokens, positions). All chunks use the same memory."""
    tokens, places = len(matrix), len(hidden)
    chunks = max(1, -(-tokens * places // CHUNK_NUMBERS))
    size = max(1, -(-places // (chunks * ALIGNED))) * ALIGNED  # Chunks of similar size.
    memory = torch.empty(tokens * min(size, places), device=hidden.device)
    for start in range(0, places, size):
        part = slice(start, min(start + size, places))
        logits = memory[: tokens * (part.stop - start)].view(tokens, -1)
        # torch.mm writes only into a tensor of its own dtype.
        if hidden.dtype == logits.dtype:
            torch.mm(matrix, hidden[part].T, out=logits)
        else:
            logits.copy_(matrix @ hidden[part].T)
        if soft_cap is not None:
            logits.div_(soft_cap).tanh_().mul_(soft_cap)
        yield part, logits


def _places(targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return targets, torch.arange(len(targets), device=targets.device)


def _exponentials_in_place(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Replace logits (tokens, positions) by multiples of the probabilities. Return their sums, and the log-sum-exp."""
    # Subtracting the largest logit avoids an overflow of the exponential.
    largest = logits.amax(0)
    sums = logits.sub_(largest).exp_().sum(0)
    return sums, sums.log() + largest


def _gradient_in_place(
    exponentials: torch.Tensor,
    sums: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    slope: torch.Tensor | None,
) -> torch.Tensor:
    """Replace exponentials (tokens, positions) by the gradient of the loss by the logits before the cap."""
    # softmax - one_hot = (exponentials - sums * one_hot) / sums, times the weight of the position.
    exponentials[_places(targets)] -= sums
    exponentials *= weights / sums
    return exponentials if slope is None else exponentials.mul_(slope)
