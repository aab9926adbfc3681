"""The shared loop: its optimizer against torch's in float64, what a guarded run leaves, and the end of a run."""

import signal
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from kerora.errors import Interrupted, RunError, TrainingError
from kerora.runfolder import PretrainFolder, RunFolder
from kerora.settings.fit import OptimizerConfig
from kerora.training.checkpoint import latest_checkpoint
from kerora.training.interrupt import InterruptFlag
from kerora.training.loop import build_compiled, guarded, is_out_of_memory, make_optimizer, run_fit
from tests.training.small import Training, equal

NAMES = ("kernel", "bias", "gamma", "lora_a", "lora_b")
SHAPES = ((4, 3), (3,), (3,), (4, 2), (2, 3))


def torch_steps(
    starts: list[np.ndarray],
    gradients: list[list[np.ndarray]],
    config: OptimizerConfig,
    rates: list[float],
    ratio: float,
) -> list[np.ndarray]:
    """AdamW as torch has it, in float64."""
    values = [torch.tensor(start, dtype=torch.float64, requires_grad=True) for start in starts]
    groups = [
        {
            "params": [value],
            "ratio": ratio if name == "lora_b" else 1.0,
            "weight_decay": 0.0 if name in ("bias", "gamma") else config.weight_decay,
        }
        for name, value in zip(NAMES, values, strict=True)
    ]
    optimizer = torch.optim.AdamW(groups, eps=1e-12)
    for rate, step in zip(rates, gradients, strict=True):
        for value, gradient in zip(values, step, strict=True):
            value.grad = torch.tensor(gradient, dtype=torch.float64)
        if config.clip_norm:
            torch.nn.utils.clip_grad_norm_(values, config.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["ratio"]
        optimizer.step()
    return [value.detach().numpy() for value in values]


@pytest.mark.parametrize("ratio", [1.0, 16.0])
@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_updates_equal_those_of_torch_s_adamw(ratio: float, clip: float) -> None:
    config = OptimizerConfig(weight_decay=0.1, clip_norm=clip, warmup=0.5, schedule="linear")
    generator = np.random.default_rng(0)
    starts = [generator.normal(size=shape) for shape in SHAPES]
    gradients = [[generator.normal(size=shape) for shape in SHAPES] for _ in range(6)]
    optimizer = make_optimizer(config, peak=0.01, total=6, ratio=ratio)
    variables = [keras.Variable(start, name=name) for start, name in zip(starts, NAMES, strict=True)]
    optimizer.build(variables)
    rates = [0.01 * share for share in (1 / 3, 2 / 3, 1.0, 1.0, 2 / 3, 1 / 3)]
    for rate, step in zip(rates, gradients, strict=True):
        assert float(optimizer.learning_rate) == pytest.approx(rate, rel=1e-6)
        optimizer.apply([torch.tensor(gradient, dtype=torch.float32) for gradient in step], variables)
    expected = torch_steps(starts, gradients, config, rates, ratio)
    for name, variable, wanted in zip(NAMES, variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), wanted, rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        ({"warmup": 0.5}, 1 / 5),
        ({"warmup": 2.0}, 1 / 2),
        ({"warmup": 0.5, "warmup_steps": 4}, 1 / 4),
        ({"warmup": 0.5, "warmup_steps": 0}, 1.0),
        ({"warmup_steps": 99}, 1 / 10),  # no more updates than there are
    ],
)
def test_warm_up_steps_take_precedence(settings: dict[str, Any], first: float) -> None:
    optimizer = make_optimizer(OptimizerConfig(**settings), peak=1.0, total=10)
    assert float(optimizer.learning_rate) == pytest.approx(first)


def test_building_leaves_weights_metrics_and_random_state(tmp_path: Path) -> None:
    training = Training(tmp_path / "run")
    before, state = training.weights(), torch.get_rng_state()
    build_compiled(training.model, training.batches)
    assert equal(training.weights(), before) and torch.equal(torch.get_rng_state(), state)
    assert all(float(variable.numpy()) == 0 for metric in training.model.metrics for variable in metric.variables)
    assert {metric.name for metric in training.model.metrics} == {"loss", "compile_metrics"} and not training.updates


def test_a_checkpoint_of_the_end_trains_nothing_more(tmp_path: Path) -> None:
    first = Training(tmp_path / "run", epochs=1, max_steps=3)
    expected = first.go()
    found = latest_checkpoint(first.run.checkpoints)
    assert found is not None and found.state["done"] and found.epoch == 1
    again = Training(tmp_path / "run", epochs=5)
    found.restore_model(again.model)
    seen = again.batches.tokens_served
    run_fit(again.model, again.batches, 5, found, [])
    assert equal(again.weights(), expected) and again.updates == 3
    # the one row that builds the metrics is a batch of the loop's own
    assert again.batches.tokens_served - seen <= int(again.batches.lengths.max()) * 2


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.update_manifest(state="running", seed=42)
    return run


def left(run: RunFolder) -> dict[str, Any]:
    manifest = run.read_manifest()
    assert manifest.pop("seed") == 42  # nothing that stood there is lost
    return manifest


def raising(error: BaseException) -> Any:
    def work(flag: InterruptFlag) -> None:
        raise error

    return work


def test_a_run_that_succeeds_gets_its_seconds_and_keeps_its_state(run: RunFolder) -> None:
    assert guarded(run, lambda flag: ("result", flag.raised)) == ("result", False)
    manifest = left(run)
    assert 0 <= manifest.pop("seconds") < 5 and manifest == {"state": "running", "process": {}}


def test_ctrl_c_becomes_a_line_that_says_how_to_go_on(run: RunFolder) -> None:
    with pytest.raises(Interrupted) as caught:
        guarded(run, raising(KeyboardInterrupt()))
    assert str(caught.value) == f"Interrupted. Continue from the last saved state with: kerora fit --resume {run.path}"
    assert caught.value.exit_code == 130 and left(run)["state"] == "stopped"


def test_the_exit_code_is_that_of_the_signal_and_the_command_that_of_the_folder(tmp_path: Path) -> None:
    folder = PretrainFolder(tmp_path / "out")

    def work(flag: InterruptFlag) -> None:
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"kerora pretrain --resume .*out$") as caught:
        guarded(folder, work)
    assert caught.value.exit_code == 143 and folder.read_manifest()["state"] == "stopped"


def test_an_interrupt_that_saved_its_state_passes_as_it_is(run: RunFolder) -> None:
    error = Interrupted("saved", signal.SIGTERM)
    with pytest.raises(Interrupted) as caught:
        guarded(run, raising(error))
    assert caught.value is error and left(run)["state"] == "stopped"


def test_a_failure_is_noted_on_one_line_and_raised_as_it_was(run: RunFolder) -> None:
    with pytest.raises(ValueError, match="two\n  lines"):
        guarded(run, raising(ValueError("two\n  lines")))
    manifest = left(run)
    assert (manifest["state"], manifest["error"]) == ("failed", "two lines") and "seconds" not in manifest


def test_a_full_disk_does_not_hide_what_went_wrong_first(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: RunFolder, **values: Any) -> None:
        raise RunError("Cannot write run.json")

    monkeypatch.setattr(RunFolder, "update_manifest", full)
    with pytest.raises(TrainingError, match="not a number"):
        guarded(run, raising(TrainingError("The loss is not a number")))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_too_little_memory_is_told_with_the_settings_that_help(run: RunFolder, error: BaseException) -> None:
    with pytest.raises(TrainingError) as caught:
        guarded(run, raising(error))
    assert str(caught.value) == (
        "There is not enough memory for this run. Lower --batch-size (and raise --accumulate) or --max-length. "
        f"The state of {run.path} is 'failed'."
    )
    assert caught.value.__cause__ is error and left(run)["state"] == "failed"


def test_what_torch_raises_for_a_tensor_that_is_too_large_is_told_apart() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.int8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
