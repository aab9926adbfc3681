"""Learning-rate schedules against transformers' and by hand."""

import pytest
import torch

from kerora.training.schedules import WarmupSchedule, warmup_updates


@pytest.mark.parametrize("shape", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_course_after_warmup_equals_transformers(shape: str, warmup: int) -> None:
    transformers = pytest.importorskip("transformers")
    total, peak = 50, 2e-3
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    name = {"constant": "constant_with_warmup"}.get(shape, shape)
    reference = transformers.get_scheduler(name, optimizer, warmup, total)
    schedule = WarmupSchedule(peak, total, warmup, shape)
    for step in range(total):
        # transformers wastes its first update at rate zero; during warm-up ours is one update ahead
        ahead = peak / warmup if step < warmup else 0.0
        assert schedule(step) == pytest.approx(reference.get_last_lr()[0] + ahead, abs=1e-12)
        optimizer.step()
        reference.step()


def test_every_update_learns_and_the_last_ones_fade() -> None:
    rates = [WarmupSchedule(1.0, 100, 10)(step) for step in range(100)]
    assert min(rates) > 0 and max(rates) == rates[9] == rates[10] == 1.0
    assert rates[-1] < 0.001


def test_past_the_end_and_without_updates() -> None:
    assert WarmupSchedule(1.0, 10, 0, "linear")(25) == 0.0
    assert WarmupSchedule(1.0, 0, 0, "linear")(0) == 1.0
    assert WarmupSchedule(1.0, 3, 3)(3) == 1.0


@pytest.mark.parametrize(("warmup", "updates"), [(0, 0), (0.1, 20), (0.06, 12), (1, 1), (500, 200), (12.0, 12)])
def test_warmup_is_a_share_below_one_and_updates_from_one(warmup: float, updates: int) -> None:
    assert warmup_updates(warmup, 200) == updates


def test_config_round_trip() -> None:
    schedule = WarmupSchedule(1e-3, 30, 3, "linear")
    assert WarmupSchedule.from_config(schedule.get_config())(7) == schedule(7)
