"""Masked-language modelling on an encoder, with or without a teacher of sentence embeddings."""

from collections.abc import Mapping
from typing import Any

import keras
import torch

from kerora.backend import import_keras_hub
from kerora.models.task import SteppedModel

keras_hub = import_keras_hub()

INITIAL_SPREAD = 0.02
"""Standard deviation of a fresh head's kernels, as in transformers' `initializer_range`."""


class MaskedLanguageModel(SteppedModel):
    """An encoder with a masked-language-model head: a plain `keras.Model` from masked rows to logits.

    Build one with `build`. Inputs: those of the backbone, and ``mask_positions`` int32 (masked,), places in
    the flattened rows; only there are logits computed. Outputs: ``logits`` (masked, tokens), and with a teacher
    ``sentence``, the projected mean over the real tokens of the last hidden states, float32 (rows, teacher's width).
    Targets: the labels int64 (masked,), or the pair of labels and teacher embeddings (rows, teacher's width).
    Loss: mean cross entropy in nats + `distil_weight` * mean cosine distance.

    Attributes:
        backbone: the KerasHub backbone that is trained.
        distil_weight: weight of the cosine distance.
    """

    backbone: Any
    distil_weight: float
    _trackers: dict[str, Any]
    _parts: dict[str, Any]

    @classmethod
    def build_on(
        cls, backbone: Any, *, teacher_width: int | None = None, distil_weight: float = 1.0, seed: int = 0
    ) -> "MaskedLanguageModel":
        """Put a fresh head, and with a teacher a fresh projection, on a backbone.

        Args:
            backbone: KerasHub backbone with a `token_embedding` as wide as its hidden states.
            teacher_width: width of the teacher's embeddings; None for no teacher.
            distil_weight: weight of the cosine distance; default 1.
            seed: seed of the fresh weights; default 0.
        """
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in backbone.input}
        positions = keras.Input(batch_shape=(None,), dtype="int32", name="mask_positions")
        outputs = backbone(inputs)
        hidden = outputs["sequence_output"] if isinstance(outputs, Mapping) else outputs
        head = keras_hub.layers.MaskedLMHead(
            token_embedding=backbone.token_embedding,
            intermediate_activation="gelu",
            layer_norm_epsilon=1e-12,
            kernel_initializer=_spread(seed),
            dtype=backbone.dtype_policy,
            name="mlm_head",
        )
        flat = keras.ops.reshape(hidden, (1, -1, backbone.hidden_dim))
        logits = head(flat, keras.ops.reshape(positions, (1, -1)))
        results = {"logits": keras.ops.squeeze(logits, axis=0)}
        if teacher_width is not None:
            projection = keras.layers.Dense(
                teacher_width, kernel_initializer=_spread(seed + 1), dtype="float32", name="distillation"
            )
            results["sentence"] = projection(mean_of_tokens(hidden, inputs["padding_mask"]))
        if "pooled_dense" in {layer.name for layer in backbone.layers}:
            backbone.get_layer("pooled_dense").trainable = False  # nothing here looks at the pooler
        model = cls(inputs={**inputs, "mask_positions": positions}, outputs=results, name="masked_language_model")
        model.backbone = backbone
        model.distil_weight = distil_weight
        model._add_trackers(teacher_width is not None)
        return model

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the loss of a batch; called by the training step."""
        labels, teacher = split_targets(y)
        loss = masked_loss(y_pred["logits"], labels)
        self._parts = {"mlm_loss": loss.detach()}
        if teacher is None:
            return loss
        cosine = cosine_to_teacher(y_pred["sentence"], teacher).mean()
        self._parts["cosine"] = cosine.detach()
        return loss + self.distil_weight * (1.0 - cosine)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Update the running means of the epoch: ``mlm_loss``, ``accuracy`` and with a teacher ``cosine``."""
        labels, teacher = split_targets(y)
        values = {
            **self._parts,
            "accuracy": (y_pred["logits"].argmax(dim=-1).cpu() == torch.as_tensor(labels).cpu()).float().mean(),
        }
        for name, value in values.items():
            weight = len(teacher) if name == "cosine" and teacher is not None else len(labels)
            self._trackers[name].update_state(value, sample_weight=float(weight))
        return self.get_metrics_result()

    def _add_trackers(self, with_teacher: bool) -> None:
        names = ("mlm_loss", "accuracy", *(("cosine",) if with_teacher else ()))
        self._trackers = {name: keras.metrics.Mean(name=name) for name in names}


def mean_of_tokens(hidden: Any, padding_mask: Any) -> Any:
    """Return the mean hidden state of the real tokens, float32 (rows, width).

    Args:
        hidden: (rows, length, width).
        padding_mask: 1 for tokens, 0 for padding, (rows, length).
    """
    mask = keras.ops.expand_dims(keras.ops.cast(padding_mask, "float32"), -1)
    total = keras.ops.sum(keras.ops.cast(hidden, "float32") * mask, axis=1)
    return total / keras.ops.maximum(keras.ops.sum(mask, axis=1), 1.0)


def masked_loss(logits: Any, labels: Any) -> torch.Tensor:
    """Return the mean cross entropy in nats of logits (masked, tokens) and labels (masked,)."""
    return torch.nn.functional.cross_entropy(logits.float(), torch.as_tensor(labels).long().to(logits.device))


def cosine_to_teacher(sentence: Any, teacher: Any) -> torch.Tensor:
    """Return the cosine similarity of each row's vector to the teacher's, (rows,)."""
    target = torch.as_tensor(teacher).float().to(sentence.device)
    return torch.nn.functional.cosine_similarity(sentence.float(), target, dim=-1)


def split_targets(y: Any) -> tuple[Any, Any]:
    """Return labels and teacher embeddings; None for those without a teacher."""
    return (y[0], y[1]) if isinstance(y, tuple | list) else (y, None)


def _spread(seed: int) -> Any:
    return keras.initializers.RandomNormal(stddev=INITIAL_SPREAD, seed=seed)
