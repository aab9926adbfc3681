"""Base classes of the task models: Keras models with a tokenizer and a preset."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import torch

from kerora.data.batches import Batches, padded_inputs
from kerora.data.rows import Rows
from kerora.data.tokens import RowTokenizer, cached_tokens, tokenize
from kerora.errors import ConfigError
from kerora.lora.adapters import Adapters
from kerora.lora.inject import LoraSummary, enable_lora, merge_lora, unmerge_lora
from kerora.lora.names import TensorName
from kerora.models.checks import check_outputs
from kerora.models.compiling import settled
from kerora.models.long_texts import LongTexts
from kerora.models.peft_names import module_names, tensor_names
from kerora.models.presets import Preset
from kerora.models.raw_texts import RawRows, raw_rows
from kerora.models.saved_model import SavedModel
from kerora.models.text_fit import TextFit, keras_arguments
from kerora.models.tokenizer import TextTokenizer, checked_pairs
from kerora.settings.fit import ModelConfig, refuse_long

TOKENS_A_ROW = 64
"""Tokens that count as one row in the batch size of an evaluation."""


class TrainingStep(Protocol):
    """An object for `compile` that replaces the training step of Keras."""

    def train_step(self, model: keras.Model, data: Any) -> Mapping[str, Any]:
        """Do one step on a batch from the data adapters of Keras, and return the logs."""
        ...


class SteppedModel(keras.Model):
    """A Keras model whose training step can be replaced when it is compiled.

    The model never uses `DistributedDataParallel`, even if a process group exists. Keras 3.16 and later would wrap it.
    The hooks would then average the gradients before the step weights them by examples. Keras would also sum the
    metrics over the ranks in each step, and would wait forever if one rank has fewer steps.
    """

    _step: TrainingStep | None = None

    def compile(self, *args: Any, step: TrainingStep | None = None, **kwargs: Any) -> None:
        """Compile as Keras does.

        Args:
            step: object whose ``train_step(model, data)`` replaces the step of Keras. Default: None, the step of Keras.
            *args: as in `keras.Model.compile`.
            **kwargs: as in `keras.Model.compile`.
        """
        super().compile(*args, **kwargs)
        self._step = step

    def train_step(self, data: Any) -> Any:
        """Do one training step; called by `fit`."""
        return super().train_step(data) if self._step is None else self._step.train_step(self, data)

    def get_metrics_result(self) -> dict[str, Any]:
        """Return the metrics of this process by name; called by `fit` and `evaluate`."""
        results: dict[str, Any] = {}
        for metric in self.metrics:
            result = metric.result()
            # A metric such as the tracker of compiled metrics returns several values.
            results.update(result if isinstance(result, dict) else {metric.name: result})
        return results

    def _initialize_ddp(self) -> None:
        """Do nothing. Keras 3.16 and later calls this before the first step of any kind, to wrap the model."""


class TaskModel(TextFit, SavedModel, SteppedModel):
    """A functional Keras model on top of a pretrained backbone.

    Its inputs are a mapping of ``token_ids`` and ``padding_mask``, and ``segment_ids`` if the backbone takes them, each
    int32 of shape (batch, length). `fit`, `evaluate` and `predict` are those of Keras, and take texts too.

    Args:
        inputs: symbolic inputs by name.
        outputs: symbolic outputs.
        backbone: the KerasHub backbone.
        tokenizer: converts text to the inputs.
        preset: the source of the weights.
        max_length: longest row in tokens.
        head_layers: the layers that are trained from scratch.
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        outputs: Any,
        *,
        backbone: Any,
        tokenizer: TextTokenizer,
        preset: Preset,
        max_length: int,
        head_layers: Sequence[keras.layers.Layer],
        **kwargs: Any,
    ) -> None:
        super().__init__(inputs=dict(inputs), outputs=outputs, **kwargs)
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.preset = preset
        self.max_length = max_length
        # Names, because Keras would track a list of layers as an attribute of the model.
        self._head_names = tuple(layer.name for layer in head_layers)
        self.note_base()

    @property
    def head_layers(self) -> list[keras.layers.Layer]:
        """The layers that are trained from scratch, in the order of the forward pass."""
        return [self.get_layer(name) for name in self._head_names]

    task_name: str = ""
    """Name of the task in Kerora, as in the setting `task`."""
    task_type: str | None = None
    """Name of the task in PEFT."""

    def compile(self, *args: Any, step: TrainingStep | None = None, **kwargs: Any) -> None:
        """Compile as Keras does. Everything may be left out.

        Defaults: AdamW with gradient clipping and the learning rate of `kerora fit` for the weights that are trained,
        the loss of the task, and for a classifier the accuracy. Losses and metrics of Keras that would read the logits
        as probabilities read them as logits, and a notice says so.

        Args:
            step: object whose ``train_step(model, data)`` replaces the step of Keras. Default: None, the step of Keras.
            *args: as in `keras.Model.compile`.
            **kwargs: as in `keras.Model.compile`.

        Raises:
            ConfigError: the loss does not fit the model, or ``jit_compile=True``.
        """
        given = keras_arguments(keras.Model.compile, self, args, kwargs)
        super().compile(step=step, **settled(self, given, self.default_loss()))

    def default_loss(self) -> Any:
        """Return the loss that reads the logits of a classifier, or None for other models."""
        return None

    def enable_lora(
        self,
        rank: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.05,
        targets: Sequence[str] | str = ("query", "value"),
        **options: Any,
    ) -> LoraSummary:
        """Adapt the model with LoRA; see `kerora.enable_lora`. Compile the model after it.

        Args:
            rank: columns of A. Default: 8.
            alpha: numerator of the scale. Default: 16.
            dropout: fraction of the inputs of A that is dropped during training. Default: 0.05.
            targets: names of the layers to adapt, as a list or with commas. Default: query and value.
            **options: as in `kerora.enable_lora`.

        Returns:
            The counts, printable as ``trainable N (LoRA a + head b) of M (x %)``.

        Raises:
            ConfigError: see `kerora.enable_lora`.
        """
        return enable_lora(self, rank, alpha, dropout, targets, **options)

    @property
    def mask_share(self) -> float:
        """Fraction of the tokens that is masked during training."""
        return 0.0

    @property
    def truncate(self) -> str | None:
        """Side on which `encode` and `batches` cut long texts, left or right, or None if the task cuts otherwise."""
        return None

    @truncate.setter
    def truncate(self, side: str | None) -> None:
        if side == "left":
            raise ConfigError(
                f"--truncate {side} is for classifiers. A language model divides long texts, and of long prompts the "
                "start is cut. Leave out --truncate."
            )

    long_texts: LongTexts = LongTexts()
    """How the model reads texts that are longer than `max_length`."""

    def read_long(self, config: ModelConfig) -> None:
        """Read texts that are longer than `max_length` as the settings say.

        Raises:
            ConfigError: the task does not read whole texts.
        """
        self.truncate = config.truncate
        refuse_long(config)

    @property
    def length_settings(self) -> dict[str, Any]:
        """The settings of the group `model` about the length of a row, as the model has them."""
        long, windows = self.long_texts, self.long_texts.windows
        return {
            "max_length": self.max_length,
            "truncate": self.truncate,
            "long": long.long,
            "stride": long.overlap(self.tokenizer, self.max_length) if windows else None,
            "pool": long.pool if windows else None,
        }

    @property
    def row_tokenizer(self) -> RowTokenizer:
        """The tokenizer that makes the rows of the model, with the special tokens and the treatment of long texts."""
        return self.tokenizer

    def length_notes(self, dataset: Any) -> list[str]:
        """Return a line on the rows that are longer than `max_length`, if the model cuts or divides them."""
        return []

    def to_logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """Convert the outputs of the model to logits. Default: the outputs are the logits."""
        return outputs

    def fold_scale(self) -> None:
        """Write what scales the outputs into the weights of the head, as other tools know it. Default: nothing does."""

    @property
    def module_names(self) -> dict[str, str]:
        """Names of the layers in transformers: Keras path -> module path, such as ``h.0.attn.c_attn``."""
        return module_names(self.preset.architecture, self.backbone)

    @property
    def tensor_names(self) -> dict[str, TensorName]:
        """Names of the weights in transformers, with those of the head: Keras path -> name and form."""
        return tensor_names(self.preset.architecture, self.backbone, self.head_layers)

    @property
    def adapter_info(self) -> dict[str, Any]:
        """Entries that the description of an adapter holds about its model."""
        preset = self.preset
        info = {
            "task_type": self.task_type,
            "base_model_name_or_path": preset.location,
            **({"revision": preset.revision} if preset.revision else {}),
            "prefix": preset.architecture.prefix,
            "kind": preset.kind,
            "fingerprint": preset.fingerprint,
        }
        classes = getattr(self, "classes", None)
        return info if classes is None else {**info, "classes": list(classes)}

    @property
    def adapters(self) -> Adapters:
        """The adapters by name. The first adapter of the model is ``default``."""
        if "_adapters" not in self.__dict__:
            # An ordinary assignment would let Keras track the variables inside.
            self.__dict__["_adapters"] = Adapters(self)
        adapters: Adapters = self.__dict__["_adapters"]
        return adapters

    def load_adapter(self, path: str | Path, name: str) -> None:
        """Load another adapter of the same base model. The active adapter stays active.

        Args:
            path: a run folder, or an adapter folder of Kerora or PEFT.
            name: name of the adapter in the model.

        Raises:
            AdapterError: the files are damaged, or belong to another base model. Nothing is changed.
            ConfigError: the name is in use, or updates are merged.
        """
        self.adapters.load(path, name)

    def set_adapter(self, name: str | None) -> None:
        """Make the model compute with an adapter and its head, or, with None, as the base model.

        Only references change, so this is fast. Compile the model again before training.

        Raises:
            ConfigError: there is no such adapter.
        """
        self.adapters.activate(name)
        # The optimizer holds the weights of the adapter before.
        self.compiled = False

    @contextlib.contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Make the model compute as the base model inside the block."""
        before = self.adapters.active
        self.adapters.activate(None)
        try:
            yield
        finally:
            self.adapters.activate(before)

    def merge(self) -> None:
        """Add the LoRA updates to the kernels: the same outputs within rounding, as fast as the base model."""
        merge_lora(self)

    def unmerge(self) -> None:
        """Undo `merge`. The kernels are restored bit for bit."""
        unmerge_lora(self)

    def encode(self, texts: str | Sequence[str], pairs: str | Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Convert texts, or pairs of texts, to inputs of the model.

        Args:
            texts: the texts. A single string is one text.
            pairs: the second texts of pairs, or None.

        Raises:
            ConfigError: something other than texts was given, or the numbers of first and second texts differ.

        Returns:
            ``token_ids``, ``padding_mask`` (1 for tokens, 0 for padding), and ``segment_ids`` if the model takes them;
            int32, shape (rows, longest row rounded up to a multiple of 8, at most `max_length`).
        """
        first, second = checked_pairs(texts, pairs)
        table = self.tokenizer.encode(first, second, max_length=self.max_length)
        return padded_inputs(table, np.arange(len(table)), self.tokenizer.pad_id)

    def batches(
        self,
        rows: Any,
        labels: Any = None,
        *,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        class_weights: Any = None,
        balance_by: Any = None,
        cache: bool = True,
        max_tokens: int | None = None,
    ) -> Batches:
        """Make batches of rows for `fit`, `evaluate` and `predict`.

        Args:
            rows: labelled or unlabelled rows, such as ``kerora.load_dataset("tickets")["train"]``. Or texts: a list, an
                array or a column of a table, and for pairs of texts a tuple of two columns.
            labels: the labels of texts: class numbers or class names. None for prediction, and for rows, which hold
                their labels.
            batch_size: rows in a batch. Default: 32.
            shuffle: whether each epoch has a new random order, as training needs. Default: False, longest rows first.
            seed: seed of the order. Default: 0.
            class_weights: weight of each class (classes,), or None.
            balance_by: with `shuffle`, the number of each row (rows,) by which an epoch is balanced; see `Batches`.
            cache: whether to keep the tokens in the cache on disk. Default: True.
            max_tokens: without `shuffle`, tokens in a batch instead of rows; see `evaluation_tokens`.

        Raises:
            ConfigError: something other than texts was given, or the numbers of texts and labels differ.
            DataError: a label is no class.
        """
        if isinstance(rows, Rows) and labels is not None:
            raise ConfigError("Rows of a data set hold their labels. Leave the argument labels out.")
        raw = None if isinstance(rows, Rows) else raw_rows(rows, labels, several=self.several_labels)
        targets: Any = self.targets_of_rows(rows.targets) if raw is None else raw.labels
        if raw is not None:
            rows = Rows.numbered(raw.texts, pairs=raw.pairs)
            targets = None if targets is None else self.targets_of(targets)
        return Batches(
            (cached_tokens if cache else tokenize)(rows, self.row_tokenizer, self.max_length),
            targets,
            batch_size=batch_size,
            pad_id=self.tokenizer.pad_id,
            shuffle=shuffle,
            seed=seed,
            class_weights=class_weights,
            balance_by=balance_by,
            max_tokens=max_tokens,
        )

    def targets_of_rows(self, targets: Any) -> Any:
        """Return the targets that the loss takes, from the targets of `Rows`. Default: they are the same."""
        return targets

    def encode_rows(self, rows: RawRows) -> dict[str, np.ndarray]:
        """Return the inputs for texts; see `encode`."""
        return self.encode(rows.texts, rows.pairs)


def evaluation_tokens(batch_size: int) -> int | None:
    """Return the number of tokens in a batch of evaluation: `batch_size` rows of `TOKENS_A_ROW` tokens.

    On a CPU, the memory then does not depend on the length of the rows, and batches of short rows are not too small. On
    a GPU the result is None, for batches of `batch_size` rows: a GPU needs large batches.
    """
    return None if torch.cuda.is_available() else batch_size * TOKENS_A_ROW


def computed_in_row_order(
    batches: Batches, width: int, compute: Callable[[Any], Any], progress: Callable[[int], None] | None = None
) -> np.ndarray:
    """Compute a vector for each row of batches, float32 (rows, width), in the order of the rows, without gradients.


    Args:
        batches: the rows, each once, in any order.
        width: length of a vector.
        compute: takes the inputs of a batch and returns a tensor (rows of the batch, width).
        progress: called with the number of rows done after each batch.

    Raises:
        NotFiniteError: a vector holds values that are not finite.
    """
    order = batches.order
    vectors = np.zeros((len(order), width), dtype=np.float32)
    done = 0
    with torch.no_grad():
        for index in range(len(batches)):
            part = compute(batches[index][0]).float().cpu().numpy()
            check_outputs(part)
            # `order` gives the row of each place in the batches. The windows of a text give one vector.
            vectors[order[done : done + len(part)]] = part
            done += len(part)
            if progress is not None:
                progress(done)
    return vectors
