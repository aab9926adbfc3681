"""The part of training that fine-tuning and pre-training share: optimizer, `model.fit`, signals and state."""

import contextlib
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import keras
import torch

from kerora.compat import is_decayed
from kerora.data.batches import Batches
from kerora.errors import Interrupted, RunError, TrainingError
from kerora.runfolder import RunFolder
from kerora.settings.fit import OptimizerConfig
from kerora.training.callbacks import History
from kerora.training.checkpoint import Checkpoint, Checkpointer, restore_callbacks
from kerora.training.interrupt import InterruptFlag, interrupt_flag
from kerora.training.manifest import now
from kerora.training.progress import Progress
from kerora.training.schedules import WarmupSchedule, warmup_updates
from kerora.training.step import TrainStep, row_parts
from kerora.training.stopping import EarlyStopping

Result = TypeVar("Result")


class LoraPlusAdamW(keras.optimizers.AdamW):
    """AdamW with a higher learning rate for the B matrices (LoRA+, Hayou et al. 2024, arXiv:2402.12354).

    Args:
        ratio: learning rate of B as a multiple of A's.
        *args: as in `keras.optimizers.AdamW`.
        **kwargs: as in `keras.optimizers.AdamW`.
    """

    def __init__(self, *args: Any, ratio: float = 16.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ratio = ratio

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        super().update_step(gradient, variable, learning_rate * self._factor(variable))

    def _apply_weight_decay(self, variables: Any) -> None:
        if self.weight_decay is None:
            return
        for variable in variables:
            if is_decayed(self, variable):
                rate = self.learning_rate * self._factor(variable)
                variable.assign(variable * (1 - self.weight_decay * rate))

    def _factor(self, variable: Any) -> float:
        return self.ratio if variable.name == "lora_b" else 1.0


def make_optimizer(config: OptimizerConfig, peak: float, total: int, ratio: float = 1.0) -> Any:
    """Return AdamW with schedule and clipping; biases and norms are not decayed.

    Args:
        config: warm-up, schedule, weight decay and clipping.
        peak: highest learning rate.
        total: updates of the whole run.
        ratio: learning rate of LoRA's B as a multiple of A's.
    """
    warmup = warmup_updates(config.warmup, total) if config.warmup_steps is None else min(config.warmup_steps, total)
    rate = WarmupSchedule(peak, total, warmup, config.schedule)
    settings = {"weight_decay": config.weight_decay, "epsilon": 1e-8, "global_clipnorm": config.clip_norm or None}
    optimizer: Any = (
        keras.optimizers.AdamW(rate, **settings) if ratio == 1.0 else LoraPlusAdamW(rate, ratio=ratio, **settings)
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


@dataclass
class Loop:
    """A training that is ready for `model.fit`: the compiled model's batches and callbacks.

    Attributes:
        batches: the training batches.
        step: the train step.
        epochs: passes over the batches.
        validation: measures the validation part at each epoch's end; None where there is none.
        stopping: early stopping, or None.
        callbacks: what must stand first in the list of callbacks, `validation` included and `stopping` not.
    """

    batches: Batches
    step: TrainStep
    epochs: int
    validation: keras.callbacks.Callback | None
    stopping: EarlyStopping | None
    callbacks: list[Any]


def build_compiled(model: keras.Model, batches: Batches) -> None:
    """Build a compiled model's loss and metrics on one row of the first batch.

    Keras' own way is to run the whole model symbolically when `fit` begins. That imports torch's compiler, which takes
    as long as torch itself, and whatever is raised in it, Ctrl-C too, is taken for a failed attempt and dropped.
    """
    batch = keras.tree.map_structure(keras.ops.convert_to_tensor, batches[0], none_is_leaf=False)
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    x, y, weights = next(row_parts(x, y, weights, 1))
    with torch.no_grad():
        outputs = model(x, training=False)
        model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=weights, training=False)
        model.compute_metrics(x, y, outputs, sample_weight=weights)
    model.reset_metrics()


def run_fit(
    model: keras.Model, batches: Batches, epochs: int, checkpoint: Checkpoint | None, callbacks: list[Any]
) -> None:
    """Call `model.fit`, from the checkpoint's place where there is one."""
    build_compiled(model, batches)
    first = 0 if checkpoint is None else checkpoint.epoch
    last = first if checkpoint is not None and checkpoint.state["done"] else epochs
    with warnings.catch_warnings():
        # a resumed epoch is shorter than Keras was told: that is how it ends where it should
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        model.fit(batches, initial_epoch=first, epochs=last, callbacks=callbacks, verbose=0, shuffle=False)


def run_loop(
    run: RunFolder,
    model: keras.Model,
    loop: Loop,
    config: OptimizerConfig,
    history: History,
    checkpoint: Checkpoint | None,
    progress: Progress,
    flag: InterruptFlag,
) -> None:
    """Train, from a checkpoint where there is one, with checkpoints and progress.

    Args:
        run: the folder of the checkpoints.
        model: the compiled model.
        loop: batches and callbacks.
        config: the optimisation.
        history: the record, which `loop.callbacks` does not hold.
        checkpoint: the state to go on from.
        progress: shows what happens.
        flag: tells of signals.

    Raises:
        TrainingError: the loss is no longer a number.
        Interrupted: a signal came; a checkpoint was written.
    """
    batches, stopping = loop.batches, loop.stopping
    saver = Checkpointer(run.checkpoints, loop.step, history, stopping, config.save_steps, flag, run.command)
    progress.follow(batches, min(loop.epochs * len(batches), (config.max_steps or sys.maxsize) * config.accumulate))
    callbacks = loop.callbacks + [item for item in (stopping, history, saver, progress) if item is not None]
    if checkpoint is not None:
        checkpoint.restore_model(model)
        restore_callbacks(checkpoint, model, history, stopping, saver)
    try:
        with flag.hold():
            run_fit(model, batches, loop.epochs, checkpoint, callbacks)
    finally:
        progress.close()
        saver.finish()


def guarded(run: RunFolder, work: Callable[[InterruptFlag], Result]) -> Result:
    """Do the work with signals collected, and leave the run's true state in the manifest.

    Raises:
        Interrupted: a signal came; the last saved state is there to go on from.
        TrainingError: the memory was not enough.
    """
    started = time.perf_counter()
    try:
        with interrupt_flag() as flag:
            result = work(flag)
    except Interrupted:
        run.update_manifest(state="stopped", finished=now())
        raise
    except KeyboardInterrupt as error:
        run.update_manifest(state="stopped", finished=now())
        message = f"Interrupted. Go on from the last saved state with: kerora {run.command} --resume {run.path}"
        raise Interrupted(message, flag.signal_number or signal.SIGINT) from error
    except BaseException as error:
        with contextlib.suppress(RunError):  # a full disk must not hide what went wrong first
            run.update_manifest(state="failed", finished=now(), error=" ".join(str(error).split()))
        if is_out_of_memory(error):
            remedy = (
                f"Lower --batch-size (and raise --accumulate) or --max-length. The state of {run.path} is 'failed'."
            )
            raise TrainingError(f"There is not enough memory for this run. {remedy}") from error
        raise
    run.update_manifest(seconds=time.perf_counter() - started)
    return result


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that the memory was not enough."""
    # torch has no error class of its own for the memory of the CPU
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
