"""The loss of a language model, computed in chunks: logits for the whole vocabulary exist for a few tokens at a time.

The logits of 8 rows of 256 tokens over GPT-2's 50,257 tokens take 412 MB in float32, and their softmax and gradient
as much again. Here a chunk of tokens is taken through logits, loss and gradient before the next one is begun, so
that the memory does not depend on the number of tokens, and tokens that the loss does not count cost nothing.

Peak above hidden states and kernel, forward and backward of 8 x 256 tokens, width 768, 50,257 tokens, float32, on a
CPU: 232 MB in chunks, 1,251 MB from all logits; of 16 x 256 tokens 243 MB in chunks (benchmarks/causal_lm_memory.py).
"""

from typing import Any

import torch

CHUNK_NUMBERS = 1 << 24
"""Logits in a chunk: 67 MB in float32, 333 tokens of GPT-2's vocabulary."""


def next_token_loss(
    hidden: torch.Tensor,
    kernel: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    *,
    transposed: bool = False,
    soft_cap: float | None = None,
) -> torch.Tensor:
    """Return the weighted sum of cross entropies in nats, a float32 scalar, differentiable in `hidden` and `kernel`.

    Args:
        hidden: final hidden states, (..., width).
        kernel: output embeddings, (tokens, width), or (width, tokens) if `transposed`; used in the dtype of `hidden`.
        targets: the right token of each place, int, (...).
        weights: weight of each place, float, (...); places of weight 0 are left out of all computation.
        transposed: whether the kernel lies the other way round.
        soft_cap: logits are ``cap * tanh(logits / cap)``, as in Gemma 2; None for none.
    """
    counted = weights.reshape(-1) > 0
    rows = hidden.reshape(-1, hidden.shape[-1])[counted]
    arguments = rows, kernel, targets.reshape(-1)[counted].long(), weights.reshape(-1)[counted].float()
    result: torch.Tensor = _ChunkedCrossEntropy.apply(*arguments, transposed, soft_cap)
    return result


def token_losses(
    hidden: torch.Tensor,
    kernel: torch.Tensor,
    targets: torch.Tensor,
    *,
    transposed: bool = False,
    soft_cap: float | None = None,
) -> torch.Tensor:
    """Return the cross entropy of each place in nats, float32 (places,), without a gradient.

    Args:
        hidden: final hidden states, (places, width).
        kernel: see `next_token_loss`.
        targets: the right tokens, int (places,).
        transposed: see `next_token_loss`.
        soft_cap: see `next_token_loss`.
    """
    losses = torch.zeros(len(hidden), device=hidden.device)
    with torch.no_grad():
        matrix = _matrix(kernel, hidden.dtype, transposed)
        size = _chunk_size(matrix)
        for start in range(0, len(hidden), size):
            part = slice(start, start + size)
            logits = _logits(hidden[part], matrix, soft_cap)
            losses[part] = -torch.log_softmax(logits, 1).gather(1, targets[part].long()[:, None])[:, 0]
    return losses


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Loss and gradients in one pass over the chunks; backward only scales what forward left."""

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
        kernel_gradient = torch.zeros(matrix.shape, device=hidden.device) if needs_kernel else None
        total = torch.zeros((), device=hidden.device)
        size = _chunk_size(matrix)
        for start in range(0, len(hidden), size):
            part = slice(start, start + size)
            logits = _logits(hidden[part], matrix, soft_cap)
            slope = None if soft_cap is None else 1 - (logits / soft_cap) ** 2
            chances = torch.log_softmax(logits, 1)
            del logits
            total -= (chances.gather(1, targets[part, None])[:, 0] * weights[part]).sum()
            if not needs_hidden and not needs_kernel:
                continue
            gradient = _gradient_in_place(chances, targets[part], weights[part], slope).to(hidden.dtype)
            if hidden_gradient is not None:
                hidden_gradient[part] = gradient @ matrix
            if kernel_gradient is not None:
                kernel_gradient += (gradient.T @ hidden[part]).float()
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


def _chunk_size(matrix: torch.Tensor) -> int:
    return max(1, CHUNK_NUMBERS // len(matrix))


def _logits(hidden: torch.Tensor, matrix: torch.Tensor, soft_cap: float | None) -> torch.Tensor:
    logits = (hidden @ matrix.T).float()
    return logits if soft_cap is None else soft_cap * torch.tanh(logits / soft_cap)


def _gradient_in_place(
    chances: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, slope: torch.Tensor | None
) -> torch.Tensor:
    """Turn log probabilities (places, tokens) into the gradient of the loss by the logits before the cap."""
    gradient = chances.exp_()
    gradient[torch.arange(len(targets), device=targets.device), targets] -= 1
    gradient *= weights[:, None]
    return gradient if slope is None else gradient * slope
