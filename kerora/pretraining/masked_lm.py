"""Masked-language modelling on an encoder, with or without a teacher of its hidden states."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import torch

from kerora.backend import import_keras_hub
from kerora.models.task import SteppedModel

keras_hub = import_keras_hub()

INITIAL_SPREAD = 0.02
"""Standard deviation of a fresh head's kernels, as in transformers' `initializer_range`."""


@dataclass(frozen=True)
class LossWeights:
    """How much the parts of the loss count.

    Attributes:
        mlm: of the mean cross entropy in nats over the masked tokens.
        sentence: of the mean cosine distance of each row's first token to the teacher's sentence embedding.
        tokens: of the mean cosine distance of each token to the teacher's state for its word.
    """

    mlm: float = 1.0
    sentence: float = 1.0
    tokens: float = 1.0


class Start(NamedTuple):
    """First weights of a student that come from a teacher.

    Attributes:
        embeddings: token embeddings, float32 (student's tokens, student's width).
        kernel: of the projection to the teacher's states, float32 (student's width, teacher's width).
        bias: of the projection, float32 (teacher's width,).
    """

    embeddings: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray


class MaskedLanguageModel(SteppedModel):
    """An encoder with a masked-language-model head: a plain `keras.Model` from masked rows to logits.

    Build one with `build_on`. Inputs: those of the backbone, and ``mask_positions`` int32 (masked,), places in
    the flattened rows; only there are logits computed. Outputs: ``logits`` (masked, tokens), and with a teacher
    ``states``, the projected last hidden states (rows, length, teacher's width).
    Targets: the labels int64 (masked,), or the pair of labels and teacher's directions int8 (rows, length, teacher's
    width), zeros where there is none.

    Attributes:
        backbone: the KerasHub backbone that is trained.
        loss_weights: how much the parts of the loss count.
    """

    backbone: Any
    loss_weights: LossWeights
    _trackers: dict[str, Any]
    _parts: dict[str, Any]

    @classmethod
    def build_on(
        cls,
        backbone: Any,
        *,
        teacher_width: int | None = None,
        loss_weights: LossWeights | None = None,
        seed: int = 0,
    ) -> "MaskedLanguageModel":
        """Put a fresh head, and with a teacher a fresh projection, on a backbone.

        Args:
            backbone: KerasHub backbone with a `token_embedding` as wide as its hidden states.
            teacher_width: width of the teacher's states; None for no teacher.
            loss_weights: how much the parts of the loss count; default 1 each.
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
            results["states"] = keras.layers.Dense(
                teacher_width, kernel_initializer=_spread(seed + 1), dtype=backbone.dtype_policy, name="distillation"
            )(hidden)
        if "pooled_dense" in {layer.name for layer in backbone.layers}:
            backbone.get_layer("pooled_dense").trainable = False  # nothing here looks at the pooler
        model = cls(inputs={**inputs, "mask_positions": positions}, outputs=results, name="masked_language_model")
        model.backbone = backbone
        model.loss_weights = loss_weights or LossWeights()
        names = ("mlm_loss", "accuracy", *(() if teacher_width is None else ("cosine", "token_cosine")))
        model._trackers = {name: keras.metrics.Mean(name=name) for name in names}
        return model

    def start_at(self, start: Start) -> None:
        """Assign first weights that come from a teacher."""
        self.backbone.token_embedding.embeddings.assign(start.embeddings)
        projection = self.get_layer("distillation")
        projection.kernel.assign(start.kernel)
        projection.bias.assign(start.bias)

    def project_identically(self) -> None:
        """Let the projection to the teacher's states, of the student's width, begin as the identity."""
        projection = self.get_layer("distillation")
        projection.kernel.assign(np.eye(*projection.kernel.shape, dtype=np.float32))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the loss of a batch; called by the training step."""
        labels, teacher = split_targets(y)
        mlm = masked_loss(y_pred["logits"], labels)
        self._parts = {"mlm_loss": mlm.detach()}
        loss = self.loss_weights.mlm * mlm
        if teacher is None:
            return loss
        sentence, tokens = (value.mean() for value in cosines_to_teacher(y_pred["states"], teacher))
        self._parts |= {"cosine": sentence.detach(), "token_cosine": tokens.detach()}
        return loss + self.loss_weights.sentence * (1.0 - sentence) + self.loss_weights.tokens * (1.0 - tokens)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Update the epoch's running means: ``mlm_loss``, ``accuracy``, with a teacher the two cosines."""
        labels, teacher = split_targets(y)
        values = {
            **self._parts,
            "accuracy": (y_pred["logits"].argmax(dim=-1).cpu() == torch.as_tensor(labels).cpu()).float().mean(),
        }
        for name, value in values.items():
            weight = len(teacher) if "cosine" in name and teacher is not None else len(labels)
            self._trackers[name].update_state(value, sample_weight=float(weight))
        return self.get_metrics_result()


def masked_loss(logits: Any, labels: Any) -> torch.Tensor:
    """Return the mean cross entropy in nats of logits (masked, tokens) and labels (masked,)."""
    return torch.nn.functional.cross_entropy(logits.float(), torch.as_tensor(labels).long().to(logits.device))


def cosines_to_teacher(states: Any, teacher: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the cosine similarities of states to the teacher's directions.

    Args:
        states: (rows, length, width).
        teacher: int8 (rows, length, width), zeros where there is no target.

    Returns:
        those of the rows' first tokens (rows,), and those of all tokens with a target (targets,).
    """
    target = torch.as_tensor(teacher).to(states.device)
    known = target.any(dim=-1)
    cosine = torch.nn.functional.cosine_similarity(states[known].float(), target[known].float(), dim=-1)
    firsts = torch.zeros_like(known)
    firsts[:, 0] = True
    return cosine[firsts[known]], cosine


def split_targets(y: Any) -> tuple[Any, Any]:
    """Return labels and the teacher's directions; None for those without a teacher."""
    return (y[0], y[1]) if isinstance(y, tuple | list) else (y, None)


def _spread(seed: int) -> Any:
    return keras.initializers.RandomNormal(stddev=INITIAL_SPREAD, seed=seed)
