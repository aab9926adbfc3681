"""Language model on a pretrained decoder: each token is predicted from the tokens before it."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

from kerora.data.documents import Documents, Part, plain_text
from kerora.data.language_batches import LanguageBatches
from kerora.data.language_tokens import check_texts, document_tokens, lay_out
from kerora.data.tokens import TokenTable
from kerora.errors import ConfigError, DataError, PresetError
from kerora.models.checks import check_outputs, check_sizes, check_vocabulary
from kerora.models.decoders import documents_in_rows
from kerora.models.next_token import logits_of, next_token_loss, token_losses
from kerora.models.presets import Preset, find_preset
from kerora.models.raw_texts import RawRows, is_raw
from kerora.models.task import TaskModel
from kerora.models.text_fit import keras_arguments
from kerora.models.tokenizer import TextTokenizer

DOCUMENTS = "document_ids"
"""Name of the input with the document number of each token."""


@keras.saving.register_keras_serializable("kerora")
class CausalLM(TaskModel):
    """A pretrained decoder as a language model: a plain `keras.Model` from token ids to hidden states.

    Build one with `from_preset`.

    Inputs: ``token_ids`` and ``padding_mask``, int32 (batch, length), with padding after the text. If rows hold several
    documents that are hidden from each other, also ``document_ids``, int32 (batch, length).
    Output: the final hidden states (batch, length, width). The loss computes the logits of a few tokens at a time, and
    only of tokens that it counts, because all logits need much memory; `logits` returns all.
    Targets: the next token at each position, int (batch, length). Sample weights: float (batch, length), 0 where the
    loss does not count the token.

    The output layer is that of the backbone, which most models tie to their token embeddings. Only LoRA weights are
    trained.

    Attributes:
        preset: the source of the weights.
        backbone: the KerasHub backbone.
        tokenizer: converts text to tokens.
        max_length: longest row in tokens, at most the maximum of the backbone.
    """

    task_name = "causal-lm"
    task_type = "CAUSAL_LM"

    @classmethod
    def from_preset(cls, preset: str | Path | Preset, *, max_length: int = 256, dtype: str = "float32") -> "CausalLM":
        """Build a language model on a pretrained decoder.

        Args:
            preset: a value of `--preset`, or an open preset.
            max_length: longest row in tokens, limited to the maximum of the backbone. Default: 256.
            dtype: weights and arithmetic: float32, bfloat16 or float16. Default: float32.

        Raises:
            PresetError: the preset is not found, is damaged, is not a decoder, or has no end-of-text token.
            ConfigError: a setting is out of range.
        """
        opened = preset if isinstance(preset, Preset) else find_preset(preset)
        check_sizes(dtype, max_length)
        if not opened.architecture.is_decoder:
            raise PresetError(
                f"{opened.spec} is {opened.architecture.title}, an encoder: it cannot continue a text. "
                "Give a decoder such as gpt2_base_en, or leave out --task causal-lm."
            )
        tokenizer = opened.load_tokenizer()
        if tokenizer.end_id is None:
            raise PresetError(
                f"The tokenizer of {opened.directory} has no token that ends a text. "
                "Name it as eos_token in tokenizer_config.json."
            )
        backbone = opened.load_backbone(dtype)
        check_vocabulary(opened, backbone, tokenizer)
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in backbone.input}
        # Most decoders with rotary positions have no maximum.
        longest = getattr(backbone, "max_sequence_length", None) or max_length
        return cls(
            inputs,
            backbone(inputs),
            backbone=backbone,
            tokenizer=tokenizer,
            preset=opened,
            max_length=min(max_length, longest),
            # The output layer is part of the backbone.
            head_layers=(),
            name="causal_lm",
        )

    @classmethod
    def build_on(cls, backbone: Any, tokenizer: TextTokenizer, max_length: int) -> "CausalLM":
        """Make a language model of a backbone for full training. It has no preset yet.

        Args:
            backbone: KerasHub backbone of a decoder.
            tokenizer: its tokenizer.
            max_length: longest row in tokens.
        """
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in backbone.input}
        nothing: Any = None
        parts = {"backbone": backbone, "tokenizer": tokenizer, "preset": nothing, "max_length": max_length}
        return cls(inputs, backbone(inputs), **parts, head_layers=(), name="causal_lm")

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return the final hidden states."""
        # The graph of the model has no input for document numbers, so they go to the layers through the layout.
        inputs = dict(inputs)
        with documents_in_rows(self.backbone, inputs.pop(DOCUMENTS, None)):
            return super().call(inputs, training=training, mask=mask)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the mean cross entropy in nats over the counted tokens; called by the training step."""
        weights = torch.ones_like(y, dtype=torch.float32) if sample_weight is None else sample_weight
        total = next_token_loss(y_pred, targets=y, weights=weights, **self.output_layer())
        # A batch may count no token. Its loss is then 0 and not NaN.
        return total / weights.sum().clamp_min(1e-12)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Return the running loss and perplexity of the epoch, over all counted tokens."""
        result: dict[str, Any] = self.get_metrics_result()
        # The exponential of the mean loss. The mean of the perplexities of batches would be larger.
        return {**result, "perplexity": torch.exp(torch.as_tensor(result["loss"]))}

    def token_table(self, documents: Documents) -> TokenTable:
        """Return the tokens of texts through the cache, with marks for those that the loss counts."""
        return document_tokens(documents, self.tokenizer)

    def text_batches(
        self,
        documents: Documents,
        *,
        pack: str = "auto",
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
    ) -> LanguageBatches:
        """Make batches of texts for `fit`.

        Args:
            documents: the texts.
            pack: ``blocks``, ``docs``, ``none`` or ``auto``, as the setting of that name.
            batch_size: rows in a batch. Default: 32.
            shuffle: whether each epoch has a new random order. Default: False, longest rows first.
            seed: seed of the order. Default: 0.

        Raises:
            DataError: the loss counts no token of the texts.
        """
        table = self.token_table(documents)
        rows = lay_out(table, documents, pack, self.max_length)
        # In a text of one token nothing is predicted.
        if len(rows) == 0 or not np.any(table.counts()):
            raise DataError("The texts hold no token that can be predicted from a token before it. Give more text.")
        options = {"batch_size": batch_size, "pad_id": self.tokenizer.pad_id, "shuffle": shuffle, "seed": seed}
        return LanguageBatches(table, rows, separate=pack == "docs", **options)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile as Keras does. The optimizer may be left out; see `TaskModel.compile`.

        Raises:
            ConfigError: a loss or metrics are given.
        """
        given = keras_arguments(keras.Model.compile, self, args, {k: v for k, v in kwargs.items() if k != "step"})
        refused = next((name for name in ("loss", "metrics", "weighted_metrics") if given.get(name)), None)
        if refused:
            raise ConfigError(
                f"A language model computes its loss and its perplexity itself. Leave {refused}= out of compile."
            )
        super().compile(*args, **kwargs)

    def build_options(self) -> dict[str, Any]:
        """Return the arguments of `from_preset`."""
        return {"max_length": self.max_length, "dtype": self.backbone.dtype_policy.name}

    def raw_batches(
        self, rows: RawRows, *, batch_size: int, shuffle: bool, by_length: bool, seed: int
    ) -> LanguageBatches:
        """Make batches of plain texts, of which the model learns every token."""
        for name in ("pairs", "labels", "weights"):
            if getattr(rows, name) is not None:
                raise ConfigError(
                    f"A language model learns the texts themselves, without {name}: model.fit(texts). For prompts with "
                    "completions use model.text_batches or kerora.fit."
                )
        documents = Documents()
        for number, text in enumerate(rows.texts, 1):
            documents.append(plain_text(text), str(number))
        return self.text_batches(documents, batch_size=batch_size, shuffle=shuffle, seed=seed)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the final hidden states, as `predict` of Keras does.

        Raises:
            ConfigError: texts were given.
        """
        if is_raw(keras_arguments(keras.Model.predict, self, args, kwargs).get("x")):
            raise ConfigError(
                "predict of a language model returns hidden states. For logits use model.logits(model.encode(texts)), "
                "for new text `kerora generate` or kerora.PromptRunner."
            )
        return super().predict(*args, **kwargs)

    def prompt_ids(self, parts: Sequence[Part]) -> list[int]:
        """Return the tokens of a prompt, in the form in which training texts begin.

        Raises:
            DataError: the chat template of the tokenizer refuses the conversation.
        """
        if parts and parts[0].role and self.tokenizer.chat is not None:
            return self.tokenizer.chat_prompt(parts)
        check_texts(parts)
        end = self.tokenizer.end_id
        ids = list(self.tokenizer.start_ids)
        for part, encoded in zip(parts, self.tokenizer.plain_ids([part.text for part in parts]), strict=True):
            ids += [*encoded, end] if part.ends and end is not None else encoded
        return ids

    def logits(self, inputs: Mapping[str, Any], *, adapter: Sequence[str | None] | None = None) -> torch.Tensor:
        """Return the logits at every position, float32 (batch, length, tokens). They need much memory for long texts.

        Args:
            inputs: see the class.
            adapter: name of the adapter of each row (see `load_adapter`), None for the base model. Rows of different
                adapters share one forward pass. Default: the active adapter for all rows.

        Raises:
            ConfigError: there is no such adapter, or the number of names is not the number of rows.
        """
        with torch.no_grad(), self._adapted(adapter, len(inputs["token_ids"])):
            return self.to_logits(self(inputs, training=False))

    def _adapted(self, adapter: Sequence[str | None] | None, rows: int) -> contextlib.AbstractContextManager[None]:
        if adapter is None:
            return contextlib.nullcontext()
        if len(adapter) != rows:
            raise ConfigError(f"adapter needs a name for each of the {rows} rows. Received: {len(adapter)}")
        return self.adapters.mixed(adapter)

    def to_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits of final hidden states (..., width), float32 (..., tokens)."""
        return logits_of(hidden, **self.output_layer())

    def losses(self, inputs: Mapping[str, np.ndarray], targets: np.ndarray, counted: np.ndarray) -> np.ndarray:
        """Return the cross entropies in nats at the counted positions, row by row, float32 (counted positions,).

        Args:
            inputs: see the class.
            targets: the next tokens, int (batch, length).
            counted: the positions to compute, bool (batch, length).
        """
        with torch.no_grad():
            hidden = self(inputs, training=False)
            chosen = torch.as_tensor(counted, device=hidden.device)
            # Selecting before the output layer avoids logits at positions that are not counted.
            wanted = torch.as_tensor(targets, device=hidden.device)[chosen]
            values: np.ndarray = token_losses(hidden[chosen], targets=wanted, **self.output_layer()).cpu().numpy()
            check_outputs(values)
            return values

    def output_layer(self) -> dict[str, Any]:
        """Return the kernel of the output layer, whether it is (width, tokens), and the cap of the logits."""
        embedding = self.backbone.token_embedding
        tied = getattr(embedding, "tie_weights", True)
        kernel = embedding.embeddings if tied else embedding.reverse_embeddings
        # Gemma 2 limits its logits in the output layer.
        cap = getattr(embedding, "logit_soft_cap", None)
        return {"kernel": kernel.value, "transposed": not tied, "soft_cap": cap}
