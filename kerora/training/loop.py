"""The training code that fine-tuning and pre-training share: optimizer, `model.fit`, signals and state."""

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
from kerora.training.soundness import Soundness
from kerora.training.step import TrainStep, row_parts
from kerora.training.stopping import EarlyStopping

Result = TypeVar("Result")


class LoraPlusAdamW(keras.optimizers.AdamW):
    """AdamW with a higher learning rate for the B matrices (LoRA+, Hayou et al. 2024, arXiv:2402.12354).

    Args:
        ratio: learning rate of B divided by the learning rate of A. Default: 16.
        *args: as in `keras.optimizers.AdamW`.
        **kwargs: as in `keras.optimizers.AdamW`.
    """

    def __init__(self, *args: Any, ratio: float = 16.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ratio = ratio

    # Keras calls this for each variable. Its fused update of all variables at once is used only for the class AdamW
    # itself and not for a subclass (`TorchOptimizer.__new__` in Keras 3.15).
    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        super().update_step(gradient, variable, learning_rate * self._factor(variable))

    def _apply_weight_decay(self, variables: Any) -> None:
        # AdamW multiplies the decay by the learning rate. Keras uses one rate for all variables, but B has its own.
        if self.weight_decay is None:
            return
        for variable in variables:
            if is_decayed(self, variable):
                rate = self.learning_rate * self._factor(variable)
                variable.assign(variable * (1 - self.weight_decay * rate))

    def _factor(self, variable: Any) -> float:
        return self.ratio if variable.name == "lora_b" else 1.0


def make_optimizer(config: OptimizerConfig, peak: float, total: int, ratio: float = 1.0) -> Any:
    """Return AdamW with schedule and clipping. Biases and norm layers have no weight decay.

    Args:
        config: warm-up, schedule, weight decay and clipping.
        peak: highest learning rate.
        total: number of updates of the whole run.
        ratio: learning rate of B divided by the learning rate of A (LoRA+). Default: 1.
    """
    warmup = warmup_updates(config.warmup, total) if config.warmup_steps is None else min(config.warmup_steps, total)
    rate = WarmupSchedule(peak, total, warmup, config.schedule)
    # epsilon as in torch and transformers: the default of Keras is 1e-7
    settings = {"weight_decay": config.weight_decay, "epsilon": 1e-8, "global_clipnorm": config.clip_norm or None}
    optimizer: Any = (
        keras.optimizers.AdamW(rate, **settings) if ratio == 1.0 else LoraPlusAdamW(rate, ratio=ratio, **settings)
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])  # gamma, beta: Keras' names in norm layers
    return optimizer


@dataclass
class Loop:
    """A training that is ready for `model.fit`: the compiled model's batches and callbacks.

    Attributes:
        batches: the training batches.
        step: the train step.
        epochs: passes over the batches.
        validation: measures the validation rows at the end of each epoch. None if there are no validation rows.
        stopping: early stopping, or None.
        callbacks: the first callbacks of the list. They include `validation` and not `stopping`.
    """

    batches: Batches
    step: TrainStep
    epochs: int
    validation: keras.callbacks.Callback | None
    stopping: EarlyStopping | None
    callbacks: list[Any]


def build_compiled(model: keras.Model, batches: Batches) -> None:
    """Build the loss and the metrics of a compiled model with one row of the first batch.

    Without this, Keras runs the whole model symbolically when `fit` begins. That imports torch's compiler, which takes
    as long as the import of torch itself. It also drops every exception inside, Ctrl-C included.
    """
    # None stands for missing weights and must stay None
    batch = keras.tree.map_structure(keras.ops.convert_to_tensor, batches[0], none_is_leaf=False)
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    # one row is enough: Keras builds them from structure and shapes, not from values
    x, y, weights = next(row_parts(x, y, weights, 1))
    with torch.no_grad():
        outputs = model(x, training=False)
        model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=weights, training=False)
        model.compute_metrics(x, y, outputs, sample_weight=weights)
    model.reset_metrics()


def run_fit(
    model: keras.Model, batches: Batches, epochs: int, checkpoint: Checkpoint | None, callbacks: list[Any]
) -> None:
    """Call `model.fit`. It starts at the position of the checkpoint, if there is one."""
    build_compiled(model, batches)
    first = 0 if checkpoint is None else checkpoint.epoch
    # A done training runs no more epoch: `fit` then only calls the callbacks, which restore the best weights.
    last = first if checkpoint is not None and checkpoint.state["done"] else epochs
    with warnings.catch_warnings():
        # a resumed epoch has fewer batches than Keras expects, and Keras ends it early with this warning
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        # shuffle=False: Keras would shuffle the batches with Python's random numbers, which a resume could not repeat
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
    """Train with checkpoints and progress. Start from a checkpoint, if there is one.

    Args:
        run: the folder of the checkpoints.
        model: the compiled model.
        loop: batches and callbacks.
        config: the settings of the optimizer and the checkpoints.
        history: the history callback. `loop.callbacks` does not include it.
        checkpoint: the state to continue from, or None.
        progress: shows the progress.
        flag: is raised by signals.

    Raises:
        NotFiniteError: loss, gradient or weights are not finite.
        Interrupted: a signal came, and a checkpoint was written.
    """
    batches, stopping = loop.batches, loop.stopping
    saver = Checkpointer(
        run.checkpoints,
        loop.step,
        history,
        stopping,
        config.save_steps,
        flag,
        run.command,
        save_minutes=config.save_minutes or None,
        keep=config.keep,
    )
    progress.follow(batches, min(loop.epochs * len(batches), (config.max_steps or sys.maxsize) * config.accumulate))
    # The order matters. Validation adds its results to the logs, which are checked before anything is kept, early
    # stopping and the history read them, the saver stores the state of both, and the progress shows the complete logs.
    own = (Soundness(), stopping, history, saver, progress)
    # twice: before the validation there are only weights to check, and metrics of nan would be an error of their own
    callbacks = [Soundness(), *loop.callbacks, *(item for item in own if item is not None)]
    if checkpoint is not None:
        checkpoint.restore_model(model)
        restore_callbacks(checkpoint, model, history, stopping, saver)
    try:
        with flag.hold():
            run_fit(model, batches, loop.epochs, checkpoint, callbacks)
    finally:
        # first, because `finish` may raise an error, and the bar must not stay on the screen
        progress.close()
        saver.finish()


def guarded(run: RunFolder, work: Callable[[InterruptFlag], Result]) -> Result:
    """Do the work while signals are recorded, and write the final state of the run to the manifest.

    Host and process id are removed from it then: they mean nothing any more, and people share run folders.

    Raises:
        Interrupted: a signal came. The run can continue from its last saved state.
        TrainingError: there was not enough memory.
    """
    started = time.perf_counter()
    try:
        with interrupt_flag() as flag:
            result = work(flag)
    except Interrupted:
        run.update_manifest(state="stopped", finished=now(), process={})
        raise
    except KeyboardInterrupt as error:
        # what follows the end of a training, such as the baseline, does not make it a stopped one
        if run.manifest.is_file() and run.read_manifest().get("state") == "finished":
            message = f"Interrupted after the end of the training. {run.path} is finished."
            raise Interrupted(message, flag.signal_number or signal.SIGINT) from error
        run.update_manifest(state="stopped", finished=now(), process={})
        message = f"Interrupted. Continue from the last saved state with: kerora {run.command} --resume {run.path}"
        # outside of the main thread the flag is never raised, so it has no number
        raise Interrupted(message, flag.signal_number or signal.SIGINT) from error
    except BaseException as error:  # SystemExit too: no run may stay "running" after its process
        with contextlib.suppress(RunError):  # on a full disk this write fails too, but the first error is the cause
            reason = " ".join(str(error).split())
            run.update_manifest(state="failed", finished=now(), process={}, error=reason)
        if is_out_of_memory(error):
            remedy = (
                f"Lower --batch-size (and raise --accumulate) or --max-length. The state of {run.path} is 'failed'."
            )
            raise TrainingError(f"There is not enough memory for this run. {remedy}") from error
        raise
    run.update_manifest(seconds=time.perf_counter() - started, process={})
    return result


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that there was not enough memory."""
    # torch has an error class only for the memory of a GPU: on a CPU it raises a RuntimeError
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
