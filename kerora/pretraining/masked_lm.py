"""Masked-language modelling on an encoder, with or without a teacher for the hidden states."""

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
"""Standard deviation of the initial kernels of a new head, as `initializer_range` in transformers."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts of the loss.

    Attributes:
        mlm: weight of the mean cross entropy in nats over the masked tokens.
        sentence: weight of the mean cosine distance between the first token of a row and the sentence embedding of
            the teacher.
        tokens: weight of the mean cosine distance between each token and the state of the teacher for its word.
    """

    mlm: float = 1.0
    sentence: float = 1.0
    tokens: float = 1.0


class Start(NamedTuple):
    """Initial weights of a student that come from a teacher.

    Attributes:
        embeddings: token embeddings, float32 (tokens of the student, width of the student).
        kernel: kernel of the projection to the teacher's states, float32 (width of the student, width of the teacher).
        bias: bias of the projection, float32 (width of the teacher,).
    """

    embeddings: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray


class MaskedLanguageModel(SteppedModel):
    """An encoder with a masked-language-model head: a plain `keras.Model` from masked rows to logits.

    Build one with `build_on`. Inputs: those of the backbone, and ``mask_positions`` int32 (masked,). These are
    positions in the flattened rows, and logits are computed only for them. Outputs: ``logits`` (masked, tokens), and
    with a teacher ``states``, the projected last hidden states (rows, length, width of the teacher).
    Targets: the labels int64 (masked,). With a teacher: the pair of labels and directions of the teacher's states, int8
    (rows, length, width of the teacher). A token without a target has zeros.

    Attributes:
        backbone: the KerasHub backbone that is trained.
        loss_weights: weights of the parts of the loss.
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
        """Put a new head on a backbone, and with a teacher a new projection.

        Args:
            backbone: KerasHub backbone. The width of its `token_embedding` is the width of its hidden states.
            teacher_width: width of the teacher's states. None means no teacher.
            loss_weights: weights of the parts of the loss. Default: 1 each.
            seed: seed of the new weights. Default: 0.
        """
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in backbone.input}
        # one axis: (masked,) counts the masks of the whole batch
        positions = keras.Input(batch_shape=(None,), dtype="int32", name="mask_positions")
        outputs = backbone(inputs)
        hidden = outputs["sequence_output"] if isinstance(outputs, Mapping) else outputs
        head = keras_hub.layers.MaskedLMHead(
            token_embedding=backbone.token_embedding,
            intermediate_activation="gelu",
            layer_norm_epsilon=1e-12,  # as in BERT
            kernel_initializer=_spread(seed),
            dtype=backbone.dtype_policy,
            name="mlm_head",
        )
        # The head of KerasHub needs the same number of masks in each row. As one long row, rows may differ.
        # (rows, length, width) -> (1, rows x length, width)
        flat = keras.ops.reshape(hidden, (1, -1, backbone.hidden_dim))
        logits = head(flat, keras.ops.reshape(positions, (1, -1)))
        results = {"logits": keras.ops.squeeze(logits, axis=0)}
        if teacher_width is not None:
            # another seed, because both kernels would otherwise start from the same random numbers
            results["states"] = keras.layers.Dense(
                teacher_width, kernel_initializer=_spread(seed + 1), dtype=backbone.dtype_policy, name="distillation"
            )(hidden)
        if "pooled_dense" in {layer.name for layer in backbone.layers}:
            backbone.get_layer("pooled_dense").trainable = False  # no output uses the pooler
        model = cls(inputs={**inputs, "mask_positions": positions}, outputs=results, name="masked_language_model")
        model.backbone = backbone
        model.loss_weights = loss_weights or LossWeights()
        names = ("mlm_loss", "accuracy", *(() if teacher_width is None else ("cosine", "token_cosine")))
        model._trackers = {name: keras.metrics.Mean(name=name) for name in names}
        return model

    def start_at(self, start: Start) -> None:
        """Assign initial weights that come from a teacher."""
        self.backbone.token_embedding.embeddings.assign(start.embeddings)
        projection = self.get_layer("distillation")
        projection.kernel.assign(start.kernel)
        projection.bias.assign(start.bias)

    def project_identically(self) -> None:
        """Initialise the projection to the teacher's states as the identity. Both models have the same width."""
        projection = self.get_layer("distillation")
        # the bias is zero already, the start value of Dense
        projection.kernel.assign(np.eye(*projection.kernel.shape, dtype=np.float32))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the loss of a batch. The training step calls this."""
        labels, teacher = split_targets(y)
        mlm = masked_loss(y_pred["logits"], labels)
        # kept for `compute_metrics`, which the step calls next with the same batch
        self._parts = {"mlm_loss": mlm.detach()}
        loss = self.loss_weights.mlm * mlm
        if teacher is None:
            return loss
        sentence, tokens = (value.mean() for value in cosines_to_teacher(y_pred["states"], teacher))
        self._parts |= {"cosine": sentence.detach(), "token_cosine": tokens.detach()}
        return loss + self.loss_weights.sentence * (1.0 - sentence) + self.loss_weights.tokens * (1.0 - tokens)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Update the running means of the epoch: ``mlm_loss``, ``accuracy``, and with a teacher the two cosines."""
        labels, teacher = split_targets(y)
        values = {
            **self._parts,
            "accuracy": (y_pred["logits"].argmax(dim=-1).cpu() == torch.as_tensor(labels).cpu()).float().mean(),
        }
        for name, value in values.items():
            # items behind each mean: masked tokens, and rows for the cosines (for `token_cosine` about right)
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
        teacher: int8 (rows, length, width). A token without a target has zeros.

    Returns:
        The similarities of the first tokens of the rows (rows,), and of all tokens with a target (targets,).
    """
    target = torch.as_tensor(teacher).to(states.device)
    # (rows, length): False at padding and at tokens without a state of the teacher
    known = target.any(dim=-1)
    # in float32, and only where there is a target: the cosine to zeros is not defined
    cosine = torch.nn.functional.cosine_similarity(states[known].float(), target[known].float(), dim=-1)
    # cosine has one number per known token, so the first tokens must be found among those
    firsts = torch.zeros_like(known)
    firsts[:, 0] = True
    return cosine[firsts[known]], cosine


def split_targets(y: Any) -> tuple[Any, Any]:
    """Return labels and the directions of the teacher. Without a teacher the second value is None."""
    return (y[0], y[1]) if isinstance(y, tuple | list) else (y, None)


def _spread(seed: int) -> Any:
    return keras.initializers.RandomNormal(stddev=INITIAL_SPREAD, seed=seed)
