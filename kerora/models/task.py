"""The contract of Kerora's task models: plain Keras models that know their tokenizer and preset."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import torch

from kerora.data.batches import Batches, padded_inputs
from kerora.data.rows import Rows
from kerora.data.tokens import cached_tokens, tokenize
from kerora.lora.adapters import Adapters
from kerora.lora.inject import merge_lora, unmerge_lora
from kerora.lora.names import TensorName
from kerora.models.peft_names import module_names, tensor_names
from kerora.models.presets import Preset
from kerora.models.tokenizer import TextTokenizer

TOKENS_A_ROW = 64
"""Tokens of the rows that an evaluation's batch size counts."""


class TrainingStep(Protocol):
    """Replaces Keras' own training step when given to `compile`."""

    def train_step(self, model: keras.Model, data: Any) -> Mapping[str, Any]:
        """Do one step on a batch as Keras' data adapters give it, and return the logs."""
        ...


class SteppedModel(keras.Model):
    """A Keras model whose training step can be replaced when it is compiled.

    It trains, measures and predicts by itself also where a process group exists. Keras 3.16 and later would wrap it in
    `DistributedDataParallel` then, whose hooks average gradients that the step has yet to weight by examples, and add
    the metrics up over the ranks at each step, which waits for ever where one rank has fewer steps.
    """

    _step: TrainingStep | None = None

    def compile(self, *args: Any, step: TrainingStep | None = None, **kwargs: Any) -> None:
        """Compile as Keras does.

        Args:
            step: object whose ``train_step(model, data)`` replaces Keras' own; None keeps Keras' own.
            *args: as in `keras.Model.compile`.
            **kwargs: as in `keras.Model.compile`.
        """
        super().compile(*args, **kwargs)
        self._step = step

    def train_step(self, data: Any) -> Any:
        """Do one training step; called by `fit`."""
        return super().train_step(data) if self._step is None else self._step.train_step(self, data)

    def get_metrics_result(self) -> dict[str, Any]:
        """Return the values of this process's metrics by name; called by `fit` and `evaluate`."""
        results: dict[str, Any] = {}
        for metric in self.metrics:
            result = metric.result()
            results.update(result if isinstance(result, dict) else {metric.name: result})
        return results

    def _initialize_ddp(self) -> None:
        """Wrap nothing; Keras 3.16 and later calls this before the first step of any kind."""


class TaskModel(SteppedModel):
    """A functional Keras model on top of a pretrained backbone.

    Its inputs are a mapping of ``token_ids`` and ``padding_mask``, and ``segment_ids`` where the backbone takes
    them, each int32 of shape (batch, length). `fit`, `evaluate` and `predict` are Keras' own.

    Args:
        inputs: symbolic inputs by name.
        outputs: symbolic outputs.
        backbone: the KerasHub backbone.
        tokenizer: turns text into the inputs.
        preset: where the weights came from.
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
        self._head_names = tuple(layer.name for layer in head_layers)

    @property
    def head_layers(self) -> list[keras.layers.Layer]:
        """The layers that are trained from scratch, in the order of the forward pass."""
        return [self.get_layer(name) for name in self._head_names]

    task_name: str = ""
    """What Kerora calls the task, as in the setting `task`."""
    task_type: str | None = None
    """What PEFT calls the task."""

    @property
    def mask_share(self) -> float:
        """Share of the tokens that are hidden from the model while it trains."""
        return 0.0

    def to_logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """Turn the model's outputs into logits; here they are logits."""
        return outputs

    @property
    def module_names(self) -> dict[str, str]:
        """What transformers calls the backbone's layers: Keras path -> module path, such as ``h.0.attn.c_attn``."""
        return module_names(self.preset.architecture, self.backbone)

    @property
    def tensor_names(self) -> dict[str, TensorName]:
        """What transformers calls the weights, those of the head too: Keras path -> name and form."""
        return tensor_names(self.preset.architecture, self.backbone, self.head_layers)

    @property
    def adapter_info(self) -> dict[str, Any]:
        """What an adapter's description says of the model that it belongs to."""
        preset = self.preset
        info = {
            "task_type": self.task_type,
            "base_model_name_or_path": preset.location,
            "prefix": preset.architecture.prefix,
            "kind": preset.kind,
            "fingerprint": preset.fingerprint,
        }
        classes = getattr(self, "classes", None)
        return info if classes is None else {**info, "classes": list(classes)}

    @property
    def adapters(self) -> Adapters:
        """The adapters by name; what the model was loaded with is ``default``."""
        if "_adapters" not in self.__dict__:
            self.__dict__["_adapters"] = Adapters(self)  # past Keras, which would track what is inside
        adapters: Adapters = self.__dict__["_adapters"]
        return adapters

    def load_adapter(self, path: str | Path, name: str) -> None:
        """Load another adapter on the same base; the active one stays active.

        Args:
            path: a run folder, or an adapter folder of Kerora or PEFT.
            name: what to call it.

        Raises:
            AdapterError: the files are damaged, or belong to another base; nothing is changed.
            ConfigError: the name is taken, or updates are merged.
        """
        self.adapters.load(path, name)

    def set_adapter(self, name: str | None) -> None:
        """Let the model compute with an adapter and its head, or with None as the base; takes under a millisecond.

        Compile again before training.

        Raises:
            ConfigError: there is no such adapter.
        """
        self.adapters.activate(name)
        self.compiled = False

    @contextlib.contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Inside the block the model computes as the base."""
        before = self.adapters.active
        self.adapters.activate(None)
        try:
            yield
        finally:
            self.adapters.activate(before)

    def merge(self) -> None:
        """Add the LoRA updates to the kernels: the same output within rounding, at the base's cost."""
        merge_lora(self)

    def unmerge(self) -> None:
        """Undo `merge`; the kernels are restored bit for bit."""
        unmerge_lora(self)

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Turn texts, or pairs of texts, into the model's inputs.

        Returns:
            ``token_ids``, ``padding_mask`` (1 for tokens, 0 for padding) and where the model takes them
            ``segment_ids``; int32, shape (rows, longest row rounded up to a multiple of 8, at most `max_length`).
        """
        table = self.tokenizer.encode(texts, pairs, max_length=self.max_length)
        return padded_inputs(table, np.arange(len(table)), self.tokenizer.pad_id)

    def batches(
        self,
        rows: Rows,
        *,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        class_weights: Any = None,
        cache: bool = True,
        max_tokens: int | None = None,
    ) -> Batches:
        """Turn rows into batches for `fit`, `evaluate` and `predict`.

        Args:
            rows: labelled or unlabelled rows, such as ``kerora.load_dataset("tickets")["train"]``.
            batch_size: rows in a batch; default 32.
            shuffle: draw a new order each epoch, as training wants; default False, longest rows first.
            seed: seed of the order; default 0.
            class_weights: weight of each class (classes,), or None.
            cache: keep the tokens in the cache on disk; default True.
            max_tokens: without `shuffle`, tokens in a batch instead of rows; see `evaluation_tokens`.
        """
        return Batches(
            (cached_tokens if cache else tokenize)(rows, self.tokenizer, self.max_length),
            rows.targets,
            batch_size=batch_size,
            pad_id=self.tokenizer.pad_id,
            shuffle=shuffle,
            seed=seed,
            class_weights=class_weights,
            max_tokens=max_tokens,
        )

    def get_config(self) -> dict[str, Any]:
        """Refuse: the model is rebuilt from its preset and an adapter, not from a Keras config.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no Keras config. Save a run folder, or the weights with save_weights, and "
            f"build the model with {type(self).__name__}.from_preset."
        )


def evaluation_tokens(batch_size: int) -> int | None:
    """Return how many tokens make up a batch of evaluation: those of `batch_size` rows of `TOKENS_A_ROW`.

    On a CPU the memory of a pass then does not grow with the rows' length, nor do short rows leave it idle. None,
    which means so many rows, where there is a GPU: it wants large batches.
    """
    return None if torch.cuda.is_available() else batch_size * TOKENS_A_ROW


def computed_in_row_order(
    batches: Batches, width: int, compute: Callable[[Any], Any], progress: Callable[[int], None] | None = None
) -> np.ndarray:
    """Compute a vector for each row of unlabelled or labelled batches, float32 (rows, width), in the rows' order.

    Nothing is recorded for gradients.

    Args:
        batches: the rows, each once, in any order.
        width: length of a vector.
        compute: takes the inputs of a batch and returns a tensor (rows of the batch, width).
        progress: called with the number of rows done after each batch.
    """
    order = batches.order
    vectors = np.zeros((len(order), width), dtype=np.float32)
    done = 0
    with torch.no_grad():
        for index in range(len(batches)):
            part = compute(batches[index][0]).float().cpu().numpy()
            vectors[order[done : done + len(part)]] = part
            done += len(part)
            if progress is not None:
                progress(done)
    return vectors
