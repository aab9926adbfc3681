"""The feed-forward part as a whole against plain autograd in float64, and which activations it knows."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import keras
import pytest
import torch

from kerora.fast import feed_forward
from kerora.fast.feed_forward import frozen_feed_forward, known_activation
from kerora.fast.products import Projection

ROWS, WIDTH, FEATURES = 9, 6, 640
ACTIVATIONS = {
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda values: torch.nn.functional.gelu(values, approximate="tanh"),
    "relu": torch.relu,
}


def projection(inputs: int, outputs: int, adapted: bool, bias: bool, dropout: float) -> Projection:
    generator = torch.Generator().manual_seed(inputs)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * shape[0] ** -0.5

    a, b = (SimpleNamespace(value=value.requires_grad_()) for value in (draw(inputs, 3), draw(3, outputs)))
    update: Any = SimpleNamespace(a=a, b=b, scale=1.7, dropout=dropout) if adapted else None
    return Projection(draw(inputs, outputs), draw(1, outputs)[0] if bias else None, update)


def expected(
    rows: torch.Tensor, projections: list[Projection], activation: Any, kept: list[torch.Tensor], share: float
) -> torch.Tensor:
    for number, one in enumerate(projections):
        result = rows @ one.kernel.double() + (0 if one.bias is None else one.bias.double())
        if one.update is not None:
            low = (rows * kept[number] / share) @ one.update.a.value.double()
            result = result + one.update.scale * low @ one.update.b.value.double()
        rows = activation(result) if number == 0 else result
    return rows


def draws(kept: list[torch.Tensor], share: float) -> Callable[..., Any]:
    """Stand in for `draw_dropped`: hand out the masks of the input and, part by part, of the features."""
    start = [0]

    def draw(values: torch.Tensor, rate: float) -> tuple[torch.Tensor, float]:
        if values.shape[1] == WIDTH:
            return ~kept[0], share
        start[0] += values.shape[1]
        return ~kept[1][:, start[0] - values.shape[1] : start[0]], share

    return draw


@pytest.mark.parametrize("name", list(ACTIVATIONS))
@pytest.mark.parametrize("adapted", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize(("dropout", "bias", "numbers"), [(0.0, True, 1), (0.3, True, 1), (0.3, False, 10**6)])
def test_outputs_and_gradients(
    name: str,
    adapted: tuple[bool, bool],
    dropout: float,
    bias: bool,
    numbers: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_forward, "PART_NUMBERS", numbers)
    generator = torch.Generator().manual_seed(5)
    rows = torch.randn(ROWS, WIDTH, generator=generator).requires_grad_()
    kept = [torch.rand(ROWS, size, generator=generator) >= dropout for size in (WIDTH, FEATURES)]
    monkeypatch.setattr(feed_forward, "draw_dropped", draws(kept, 1 - dropout))
    inner = projection(WIDTH, FEATURES, adapted[0], bias, dropout)
    outer = projection(FEATURES, WIDTH, adapted[1], bias, dropout)
    known = known_activation(ACTIVATIONS[name])
    assert known is not None
    found = frozen_feed_forward(rows, inner, outer, known, training=True)
    wanted = expected(rows.double(), [inner, outer], ACTIVATIONS[name], kept, 1 - dropout)
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)
    leaves = [rows, *(v.value for one in (inner, outer) if one.update for v in (one.update.a, one.update.b))]
    weights = torch.randn(ROWS, WIDTH, generator=generator)
    sides = [torch.autograd.grad((side * weights).sum(), leaves) for side in (found, wanted)]
    for left, right in zip(*sides, strict=True):
        torch.testing.assert_close(left, right, atol=2e-5, rtol=1e-4)


def test_parts_cover_every_feature_once_and_only_float32_is_cut() -> None:
    inner = projection(WIDTH, 3000, False, True, 0.0)
    plan = feed_forward._Plan(inner, inner, feed_forward._KNOWN[0], 0.0, 0.0, False)
    for rows in (1, 100, 1024, 10**6):
        parts = list(plan.parts(torch.empty(rows, 0)))
        assert [index for part in parts for index in range(3000)[part]] == list(range(3000))
        assert len(parts) == 1 or parts[0].stop % feed_forward.FEATURE_MULTIPLE == 0
    assert len(list(plan.parts(torch.empty(1024, 0)))) > 1
    assert len(list(plan.parts(torch.empty(1024, 0, dtype=torch.bfloat16)))) == 1


def test_nothing_is_kept_without_gradients() -> None:
    inner, outer = projection(WIDTH, FEATURES, True, True, 0.0), projection(FEATURES, WIDTH, True, True, 0.0)
    rows = torch.randn(ROWS, WIDTH)
    with torch.no_grad():
        found = frozen_feed_forward(rows, inner, outer, feed_forward._KNOWN[1])
    assert not found.requires_grad
    torch.testing.assert_close(found, frozen_feed_forward(rows, inner, outer, feed_forward._KNOWN[1]).detach())


@pytest.mark.parametrize(
    ("function", "place"),
    [
        (lambda values: keras.activations.gelu(values, approximate=True), 0),
        (lambda values: keras.activations.gelu(values, approximate=False), 1),
        (keras.activations.relu, 2),
        (keras.activations.tanh, None),
        (keras.activations.silu, None),
        (lambda values: keras.activations.leaky_relu(values, 1e-3), None),
    ],
)
def test_activations_are_recognised_by_what_they_compute(function: Any, place: int | None) -> None:
    assert known_activation(function) == (None if place is None else feed_forward._KNOWN[place])
