"""Trains all trials on one copy of each base model. Each trial gets a new adapter and a new head."""

import contextlib
import dataclasses
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import keras
import numpy as np
import torch

from kerora.backend import set_random_seed
from kerora.data.rows import Dataset
from kerora.errors import ConfigError, TrainingError
from kerora.fast.allocator import release_freed
from kerora.lora.inject import lora_layers, remove_lora
from kerora.lora.quantize import quantize
from kerora.models.heads import reset_head
from kerora.models.precision import backbone_dtype, resolve_precision
from kerora.models.presets import Preset, find_preset
from kerora.models.shared import checksum
from kerora.models.task import TaskModel
from kerora.settings.fit import DataConfig, FitConfig
from kerora.tasks.found import with_task
from kerora.tasks.registry import Task, task_named, tasks
from kerora.tracking.tracking import check_tools
from kerora.training.adapt import adapt, check_quantize
from kerora.training.callbacks import Observer, updates_of
from kerora.training.defaults import settle_for_data, settle_for_model
from kerora.training.fit import Setup, make_loop, start
from kerora.training.loop import Loop, run_fit

T = TypeVar("T")
SEARCHED_PARTS_WITHOUT = ("test",)
OnEpoch = Callable[[int, float, bool], None]
"""Called with the number of an epoch (from 1), the metric after it, and whether it is the last epoch. It may raise an
exception to end the training."""


@dataclass(frozen=True)
class Outcome:
    """The result of the training of one seed, with the weights that `kerora fit` would have kept.

    Attributes:
        config: the settled settings.
        metrics: the single-number metrics of the validation rows.
        predictions: what the task stores about the validation rows; see `SearchFace.predictions`.
        epochs: number of trained epochs.
        kept_epoch: the epoch whose weights were kept, from 1.
        training_seconds: time from the first training step to the last validation.
        seconds: total time.
    """

    config: FitConfig
    metrics: dict[str, float]
    predictions: dict[str, np.ndarray]
    epochs: int
    kept_epoch: int
    training_seconds: float
    seconds: float


class Watch(keras.callbacks.Callback):
    """Keep the validation results of the kept epoch, and report the metric of every epoch.

    Args:
        task: the task of the model.
        rows: the validation rows.
        loop: the training. Put this callback after `loop.stopping`.
        metric: name of the metric, without prefix.
        on_epoch: called after each epoch.
        observer: called with each epoch's values, as that of `History`.
    """

    def __init__(
        self,
        task: Task,
        rows: Any,
        loop: Loop,
        metric: str,
        on_epoch: OnEpoch | None,
        observer: Observer | None = None,
    ) -> None:
        super().__init__()
        self.task = task
        self.rows = rows
        self.loop = loop
        self.metric = metric
        self.on_epoch = on_epoch
        self.observer = observer
        self.metrics: dict[str, float] = {}
        self.predictions: dict[str, np.ndarray] = {}
        self.epochs = self.kept_epoch = 0
        self.seconds = 0.0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Take the results of the epoch if its weights are kept so far."""
        stopping, face = self.loop.stopping, self.task.search
        found = {name: (logs or {}).get(f"val_{name}") for name in face.METRICS}
        self.epochs = epoch + 1
        self.seconds = time.perf_counter() - self._started
        value = found[self.metric]
        if value is None or not np.isfinite(value):
            raise TrainingError(
                f"The metric {self.metric} is undefined on the validation {self.rows.noun} ({value}). Choose another "
                "--metric, or give other validation rows."
            )
        # `stopping` ran before this callback, so it has judged this epoch already
        if stopping is None or stopping.best_epoch == epoch:
            self.kept_epoch = epoch + 1
            self.metrics = {name: float(number) for name, number in found.items() if number is not None}
            assert self.loop.validation is not None
            self.predictions = face.predictions(self.loop.validation, self.rows)
        if self.observer is not None:
            self.observer("epoch", {"epoch": epoch + 1, **(logs or {})}, updates_of(self.model))
        if self.on_epoch is not None:
            last = epoch + 1 >= self.loop.epochs or bool(self.model.stop_training)
            self.on_epoch(epoch + 1, float(value), last)


@dataclass
class _Base:
    """A base model, and the checksum of its original weights."""

    model: TaskModel
    checksum: tuple[int, ...]
    touched: list[tuple[Any, torch.Tensor]]


def searched_task(config: FitConfig) -> Task:
    """Return the task of settings, if they can be searched. See `kerora.tasks.found` for settings without a task.

    Raises:
        ConfigError: its settings cannot be searched.
    """
    task = task_named(with_task(config).task)
    if not task.searchable:
        known = ", ".join(other.name for other in tasks() if other.searchable)
        raise ConfigError(f"kerora tune searches the settings of --task {known}. Received: --task {task.name}")
    return task


class Workbench:
    """Trains many settings on data and base models that are loaded once.

    A data set is loaded without its test rows, so no trial can read them.

    Args:
        config: the settings that are not searched. Its seed determines the splits of every trial.
        dataset: the rows, for `trained`. Default: None, the rows that the settings name.

    Raises:
        KeroraError: the data or the base model cannot be used, or there are no validation rows.
    """

    def __init__(self, config: FitConfig, dataset: Dataset | None = None) -> None:
        config = with_task(config)
        self.task = searched_task(config)
        check_tools(config.log)
        precision = resolve_precision(config.model.precision)
        self.config = dataclasses.replace(config, model=dataclasses.replace(config.model, precision=precision))
        self._datasets: dict[DataConfig, Dataset] = {}
        self._presets: dict[str, Preset] = {}
        # by preset, dtype and quantisation: the space may search all three
        self._bases: dict[tuple[str, str, str], _Base] = {}
        self.data = self.dataset(config.data) if dataset is None else dataset
        self.preset = self._preset(config.model.preset)

    def dataset(self, data: DataConfig) -> Dataset:
        """Return the training and validation rows of a data setting."""
        if data not in self._datasets:
            found = self.task.rows.load(dataclasses.replace(self.config, data=data), without=SEARCHED_PARTS_WITHOUT)
            if "validation" not in found.splits:
                raise ConfigError(
                    "A search needs validation rows. Give --validation, or a --validation-split greater than 0."
                )
            first = next(iter(self._datasets.values()), found)
            # the same rows in the same order: the bootstrap compares the predictions row by row
            if _scored(found) != _scored(first):
                raise ConfigError(
                    "The searched data settings change the validation rows, so scores cannot be compared."
                )
            self._datasets[data] = found
        return self._datasets[data]

    def moved(self, data: DataConfig) -> None:
        """Take other paths for the rows of the settings: their files were moved, and the loaded rows stay."""
        self._datasets[data] = self._datasets.pop(self.config.data)
        self.config = dataclasses.replace(self.config, data=data)

    def settled(self, config: FitConfig) -> FitConfig:
        """Return a config with the settled values of a fit. This needs the base model."""
        dataset = self.dataset(config.data)
        config = settle_for_data(config, self.task, dataset)
        model = self._base(config).model
        _set_length(model, config)
        self.task.training.prepare(config, dataset, model)
        return settle_for_model(config, model, self.task.training.training_batches(config, dataset, model))

    def concerns(self) -> list[str]:
        """Return what a fit would say about the data; see `TrainingFace.concerns`."""
        return self.task.training.concerns(self.config, self.data, self.base_model())

    def release(self) -> None:
        """Free the memory of the base models. Use this if other processes train."""
        self._bases.clear()
        gc.collect()

    def train(
        self, config: FitConfig, metric: str, on_epoch: OnEpoch | None = None, observer: Observer | None = None
    ) -> Outcome:
        """Train like `kerora fit`, with a new adapter and a new head, and leave the base model unchanged.

        Raises:
            KeroraError: the settings do not fit the model, or training failed.
        """
        started = time.perf_counter()
        with self._assembled(config, self.dataset(config.data)) as setup:
            loop = make_loop(setup)
            start(setup)
            watch = Watch(self.task, setup.dataset["validation"], loop, metric, on_epoch, observer)
            callbacks = [*loop.callbacks, *([loop.stopping] if loop.stopping else []), watch]
            run_fit(setup.model, loop.batches, loop.epochs, None, callbacks)
        seconds = time.perf_counter() - started
        return Outcome(
            setup.config, watch.metrics, watch.predictions, watch.epochs, watch.kept_epoch, watch.seconds, seconds
        )

    def trained(self, config: FitConfig, dataset: Dataset, look: Callable[[TaskModel], T]) -> T:
        """Train on other rows, look at the trained model, and leave the base model unchanged.

        Args:
            config: the settings. Without early stopping, the training needs no validation rows.
            dataset: the rows. Its classes are those of `data`.
            look: called with the trained model.

        Raises:
            KeroraError: the settings do not fit the model, or training failed.
        """
        with self._assembled(config, dataset) as setup:
            loop = make_loop(setup)
            start(setup)
            callbacks = [*loop.callbacks, *([loop.stopping] if loop.stopping else [])]
            run_fit(setup.model, loop.batches, loop.epochs, None, callbacks)
            return look(setup.model)

    def base_model(self) -> TaskModel:
        """Return the base model of the settings, without an adapter. Do not change it."""
        model = self._base(self.config).model
        _set_length(model, self.config)
        return model

    @contextlib.contextmanager
    def _assembled(self, config: FitConfig, dataset: Dataset) -> Iterator[Setup]:
        """Give a model with a new adapter and a new head, and restore the base model after the block."""
        base: _Base | None = None
        try:
            setup, base = self._assemble(config, dataset)
            yield setup
        finally:
            # also after an error or a pruned trial: the next trial needs the base as it was
            if base is not None:
                _restore(base)
            gc.collect()
            # freed memory would otherwise stay with the process, see `keep_heap`
            release_freed()

    def _assemble(self, config: FitConfig, dataset: Dataset) -> tuple[Setup, _Base]:
        seed = config.training.seed
        set_random_seed(seed)
        config = settle_for_data(config, self.task, dataset)
        self.task.training.check(config, dataset)
        base = self._base(config)
        model = base.model
        # the seed of the run, as in a separate fit: both start from the same head, bit for bit
        reset_head(model.head_layers, seed)
        for layer in model.layers:
            # a layer that was built with rate 0 works without random numbers: its task has no dropout in the head
            if isinstance(layer, keras.layers.Dropout) and hasattr(layer, "seed_generator"):
                layer.rate = config.model.head_dropout
        _set_length(model, config)
        summary = adapt(model, config.lora, seed)
        # trained weights of the base, such as biases, to be restored after the trial
        base.touched = [(weight, weight.value.detach().clone()) for weight in _trained_of_base(model)]
        self.task.training.prepare(config, dataset, model)
        batches = self.task.training.training_batches(config, dataset, model)
        return Setup(self.task, settle_for_model(config, model, batches), dataset, model, summary, batches), base

    def _base(self, config: FitConfig) -> _Base:
        if config.lora.method != "lora":
            raise ConfigError(
                f"A search trains adapters on one base model, but --method {config.lora.method} trains its weights. "
                "Leave --method out."
            )
        key = (config.model.preset, backbone_dtype(config), config.model.quantize or "")
        if key not in self._bases:
            # A model that is built with rate 0 has no working dropout layer, and later trials may set another rate.
            live = dataclasses.replace(config, model=dataclasses.replace(config.model, head_dropout=0.5))
            model = self.task.models.build(live, self._preset(config.model.preset), self.data)
            check_quantize(config)
            if config.model.quantize:
                quantize(model, config.model.quantize)
            self._bases[key] = _Base(model, checksum(model.backbone), [])
        return self._bases[key]

    def _preset(self, spec: str) -> Preset:
        if spec not in self._presets:
            self._presets[spec] = find_preset(spec)
        return self._presets[spec]


def _set_length(model: TaskModel, config: FitConfig) -> None:
    """Set what a trial may search: the longest row, and how longer texts are read."""
    # most decoders with rotary positions have no maximum
    longest = getattr(model.backbone, "max_sequence_length", None) or config.model.max_length
    model.max_length = min(config.model.max_length, longest)
    model.read_long(config.model)


def _trained_of_base(model: TaskModel) -> list[Any]:
    """Return the trained weights that belong to the base model, such as biases."""
    # by id, because Keras variables compare by value
    updates = {id(weight) for layer in lora_layers(model) for weight in layer.update.variables}
    inside = {id(weight) for weight in model.backbone.weights}
    return [weight for weight in model.trainable_variables if id(weight) in inside and id(weight) not in updates]


def _restore(base: _Base) -> None:
    model = base.model
    for weight, value in base.touched:
        weight.assign(value)
    base.touched = []
    remove_lora(model)
    # the optimizer and the gradients hold memory as large as the trained weights
    model.optimizer = None
    for weight in model.weights:
        weight.value.grad = None
    if checksum(model.backbone) != base.checksum:
        raise RuntimeError("A trial changed the base model, but every trial must leave it unchanged.")


def _scored(dataset: Dataset) -> tuple[Any, ...]:
    """Return what two data settings must have in common: the rows, and what is to be predicted."""
    rows = dataset["validation"]
    targets = getattr(rows, "targets", None)
    # rows without targets are learned as they are, so their texts are what is predicted
    return tuple(rows.ids), rows.fingerprint() if targets is None else list(targets), dataset.classes
