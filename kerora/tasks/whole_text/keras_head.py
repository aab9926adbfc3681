"""Export of a model with a head whose architecture has no classifier in KerasHub: a preset, and the head in Keras.

The module is the `PlainHead` of the tasks that read a whole text.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.data.batches import padded_inputs
from kerora.data.tokens import TokenTable
from kerora.models.heads import ClassifierHead
from kerora.models.keras_presets import HEAD_FILE
from kerora.models.whole_text import WholeTextModel

keras_hub = import_keras_hub()
# ids * 0 + 1 is a mask of ones in the shape of ids, because a single text has no padding
HEAD_LOADING = """import keras, keras_hub
backbone, head = keras_hub.models.Backbone.from_preset("DIR"), keras.saving.load_model("DIR/head.keras")
ids = keras.ops.array([{ids}], "int32")
print(head([backbone({{{inputs}}}){states}, ids * 0 + 1]))"""
"""Code that loads such a preset and its head."""


def write(model: WholeTextModel, directory: Path) -> None:
    """Write the head as a Keras model from final hidden states (batch, length, width) and padding mask to logits."""
    width = model.backbone.hidden_dim
    shape = model.preset.architecture.head
    # a new head without the backbone; the seed has no effect, as the weights are copied below
    head = ClassifierHead(shape, width, model.output_count, dropout=model.head.dropout.rate, use_pooler=False, seed=0)
    states = keras.Input((None, width), dtype="float32", name="hidden_states")
    # a decoder's head needs the mask to find the last token
    mask = keras.Input((None,), dtype="int32", name="padding_mask")
    written = keras.Model([states, mask], head(states, mask), name="head")
    for mine, its in zip(model.head_layers, head.layers, strict=True):
        its.set_weights(mine.get_weights())
    written.save(directory / HEAD_FILE)


def load(directory: Path) -> Any:
    """Load preset and head with plain KerasHub. Return a function from inputs to logits (batch, classes)."""
    with without_tensorflow():
        backbone = keras_hub.models.Backbone.from_preset(str(directory))
        head = keras.saving.load_model(directory / HEAD_FILE)

    def compute(inputs: dict[str, Any]) -> Any:
        outputs = backbone({name: inputs[name] for name in inputs if name in backbone.input}, training=False)
        # backbones of KerasHub with a pooler, such as BERT, return a mapping, the others the hidden states alone
        states = outputs["sequence_output"] if isinstance(outputs, Mapping) else outputs
        return head([states, keras.ops.convert_to_tensor(inputs["padding_mask"])], training=False)

    return compute


def special_ids(model: WholeTextModel) -> tuple[list[int], list[int]]:
    """Return the ids of the special tokens before and after the tokens of a text."""
    # decoders put nothing behind a text of a classifier
    if model.preset.architecture.is_decoder:
        return list(model.tokenizer.start_ids), []
    first, last = model.tokenizer.wrapping
    return [first], [last]


def plain_inputs(directory: Path, texts: Sequence[str], model: WholeTextModel) -> dict[str, np.ndarray]:
    """Tokenize texts with plain KerasHub and pack them as the code in the model card does. Return the inputs."""
    with without_tensorflow():
        tokenizer = keras_hub.models.Tokenizer.from_preset(str(directory))
        tokens = [np.asarray(tokenizer(text)).tolist() for text in texts]
    front, back = special_ids(model)
    # the special tokens are kept, so a long text loses tokens of its own
    rows = [[*front, *ids[: model.max_length - len(front) - len(back)], *back] for ids in tokens]
    ids, offsets = np.concatenate(rows).astype(np.int32), np.cumsum([0, *map(len, rows)])
    segments = np.zeros(len(ids), np.uint8) if "segment_ids" in model.input else None
    # the table and padding of a fit, so that only the tokenizer differs from the run
    table = TokenTable(ids, offsets, segments, model.max_length)
    return padded_inputs(table, np.arange(len(rows)), model.tokenizer.pad_id)


def loading(model: WholeTextModel) -> str:
    """Return the lines of Python that load preset and head, and classify a text."""
    front, back = special_ids(model)
    longest = model.max_length - len(front) - len(back)
    parts = [*map(str, front), f'*keras_hub.models.Tokenizer.from_preset("DIR")("a text")[:{longest}]', *map(str, back)]
    values = {"token_ids": "ids", "padding_mask": "ids * 0 + 1", "segment_ids": "ids * 0"}
    inputs = ", ".join(f'"{name}": {values[name]}' for name in model.input)
    states = '["sequence_output"]' if isinstance(model.backbone.output, Mapping) else ""
    return HEAD_LOADING.format(ids=f"[{', '.join(parts)}]", inputs=inputs, states=states)
