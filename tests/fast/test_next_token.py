"""The chunked loss against a direct computation in float64, its gradients, and its memory."""

import pytest
import torch

from kerora.fast import next_token
from kerora.fast.next_token import next_token_loss, token_losses

ROWS, LENGTH, WIDTH, TOKENS = 3, 11, 8, 37


def problem(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    hidden = (torch.randn(ROWS, LENGTH, WIDTH, generator=generator) * 2).to(dtype).requires_grad_()
    kernel = torch.randn(TOKENS, WIDTH, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(0, TOKENS, (ROWS, LENGTH), generator=generator)
    weights = (torch.rand(ROWS, LENGTH, generator=generator) > 0.4).float() * 0.7
    return hidden, kernel, targets, weights


def direct(hidden: torch.Tensor, kernel: torch.Tensor, targets: torch.Tensor, cap: float | None) -> torch.Tensor:
    logits = hidden.double() @ kernel.double().T
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")


@pytest.mark.parametrize("chunk", [1, TOKENS * 4, 1 << 20])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("cap", [None, 5.0])
def test_loss_and_gradients(chunk: int, transposed: bool, cap: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_token, "CHUNK_NUMBERS", chunk)
    hidden, kernel, targets, weights = problem()
    (direct(hidden, kernel, targets, cap) * weights).sum().backward()
    expected = [tensor.grad.clone() for tensor in (hidden, kernel)]
    wanted = (direct(hidden, kernel, targets, cap) * weights).sum()
    hidden.grad = kernel.grad = None
    given = kernel.detach().T.clone().requires_grad_() if transposed else kernel
    found = next_token_loss(hidden, given, targets, weights, transposed=transposed, soft_cap=cap)
    (3 * found).backward()
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(hidden.grad, 3 * expected[0], rtol=1e-4, atol=1e-5)
    got = given.grad.T if transposed else given.grad
    torch.testing.assert_close(got, 3 * expected[1], rtol=1e-4, atol=1e-5)


def test_a_frozen_kernel_gets_no_gradient() -> None:
    hidden, kernel, targets, weights = problem()
    kernel = kernel.detach()
    next_token_loss(hidden, kernel, targets, weights).backward()
    assert hidden.grad is not None and kernel.grad is None


def test_bfloat16_stays_near_float32() -> None:
    hidden, kernel, targets, weights = problem(torch.bfloat16)
    wanted = (direct(hidden, kernel, targets, None) * weights).sum()
    found = next_token_loss(hidden, kernel, targets, weights)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=2e-2, atol=0)


def test_nothing_counted() -> None:
    hidden, kernel, targets, weights = problem()
    loss = next_token_loss(hidden, kernel, targets, weights * 0)
    loss.backward()
    assert loss == 0 and not hidden.grad.any()


def test_losses_of_single_tokens() -> None:
    hidden, kernel, targets, _ = problem()
    found = token_losses(hidden[0], kernel, targets[0])
    torch.testing.assert_close(found.double(), direct(hidden, kernel, targets, None)[0], rtol=1e-5, atol=1e-5)
    assert not found.requires_grad


def test_peak_memory_does_not_hold_all_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest tensor is a chunk, for any number of tokens."""
    monkeypatch.setattr(next_token, "CHUNK_NUMBERS", TOKENS * 4)
    monkeypatch.setattr(next_token, "ALIGNED", 1)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest = max(largest, result.numel())
            return result

    hidden, kernel, targets, weights = problem()
    with Watch():
        next_token_loss(hidden, kernel.detach(), targets, weights).backward()
    assert largest <= max(TOKENS * 4, hidden.numel(), kernel.numel())
    assert largest < ROWS * LENGTH * TOKENS / 2
