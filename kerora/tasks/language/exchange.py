"""Language models in other tools: names, code snippets, and the comparison of an export with its run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.data.documents import Documents
from kerora.data.rows import Dataset, Rows
from kerora.errors import AdapterError
from kerora.models.causal_lm import CausalLM
from kerora.models.chat_files import TEMPLATE_FILE
from kerora.models.presets import Preset
from kerora.settings.fit import FitConfig
from kerora.tasks.exchange_contract import HubNames
from kerora.tasks.language.model import take_template
from kerora.tasks.language.rows import load
from kerora.tasks.probe import ROWS, Probe, dataset_or_tickets, probed_rows
from kerora.tasks.probe import compare as compare

keras_hub = import_keras_hub()
NAMES = HubNames(
    pipeline="text-generation",
    keras_class="CausalLM",
    auto_class="AutoModelForCausalLM",
    suffix="LMHeadModel",  # GPT2LMHeadModel
    decoder_suffix="ForCausalLM",  # LlamaForCausalLM and others
    compared="same next token",
    text_compared="rows with the same tokens",
    scores=("perplexity", "loss", "bits_per_byte"),
)
# the output layer of the base is part of the model: there is no new head
KEEPS_OUTPUT = True
ONNX_NOTE = "The file gives the logits of all positions and has no cache of keys and values"
PLAIN_HEAD = None
CHARACTERS = 400
"""Maximum length of a piece of text for the comparison, in characters."""
FEWEST_CHARACTERS = 24
"""Minimum length of a piece if the texts must be divided to give enough rows."""
LONGEST = 64
"""Maximum length of a row for the comparison, in tokens."""
# 256 MiB in float32
VALUES = 1 << 26
"""Maximum number of logits of all rows together. With a large vocabulary the rows are shorter."""
# for str.format: a doubled brace becomes a single one
LOADING = {
    "peft": """from transformers import AutoModelForCausalLM
from peft import PeftModel
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({base!r}), "DIR")""",
    "keras": """import keras_hub
model = keras_hub.models.CausalLM.from_preset("DIR")
print(model.generate("It was", max_length=32))""",
    "transformers": """from transformers import pipeline
generate = pipeline("text-generation", model="DIR")
print(generate("It was"))""",
    "onnx": """import numpy as np, onnxruntime, tokenizers
row = tokenizers.Tokenizer.from_file("DIR/tokenizer.json").encode("It was")
logits = onnxruntime.InferenceSession("DIR/model.onnx").run(None, {{{inputs}}})[0]  # of each next token""",
    "kerora": """import kerora
runner = kerora.PromptRunner("DIR", {base!r})  # or on the command line: kerora generate DIR --prompt "It was"
print(runner.complete("It was"))""",
}


def loading(form: str, model: CausalLM, base: str, inputs: str) -> str:
    """Return the lines of Python that load an export."""
    return LOADING[form].format(base=base, inputs=inputs)


def classes(model: CausalLM) -> tuple[str, ...]:
    """Return nothing: there are no classes."""
    return ()


def labels(model: CausalLM) -> dict[str, Any]:
    """Return nothing: a language model has no classes."""
    return {}


def decision(form: str, model: CausalLM) -> str:
    """Return nothing: nothing is fitted after the training."""
    return ""


def hub_config(model: CausalLM) -> dict[str, Any]:
    """Return nothing: config.json of the base model is complete."""
    return {}


def logits(model: CausalLM, probe: Probe) -> np.ndarray:
    """Return the logits of the model for each next token, (tokens without padding, vocabulary)."""
    return probe.logits(model.logits)


def probe(model: CausalLM, config: FitConfig) -> Probe:
    """Return pieces of the texts of the run, beginnings first. If its data is gone, return texts of the tickets."""
    dataset = dataset_or_tickets(load, config)
    rows = _pieces(probed_rows(dataset))
    # logits are (rows, length, vocabulary); with fewer than 8 tokens a row would say little
    length = min(model.max_length, LONGEST, max(8, VALUES // (ROWS * model.backbone.token_embedding.input_dim)))
    inputs = {name: value[:, :length] for name, value in model.encode(rows.texts).items()}
    return Probe(rows, dataset.name, inputs, per_token=True)


def text_agreement(
    probe: Probe,
    reference: np.ndarray,
    tokens: Callable[[], Sequence[Sequence[int]]],
    logits: Callable[[], np.ndarray],
) -> float:
    """Return the share of the rows with the same tokens."""
    # tokens are enough: the logits of equal tokens are compared already
    return probe.share_of_same_tokens(tokens())


def keras_agreement(plain: Any, directory: Path, probe: Probe, reference: np.ndarray, model: CausalLM) -> float:
    """Return the share of the rows with the same tokens, if the tokenizer of the preset reads the text."""
    with without_tensorflow():
        tokenizer = keras_hub.models.Tokenizer.from_preset(str(directory))
        theirs = [np.asarray(tokenizer(text)).tolist() for text in probe.rows.texts]
    # KerasHub adds the start token in its preprocessor, not in the tokenizer
    own = [ids[1:] if ids[:1] == [tokenizer.start_token_id] else ids for ids in probe.tokens()]
    # the rows of the run are cut to `length` tokens, those of the preset are not
    return float(np.mean([other[: len(ids)] == ids for ids, other in zip(own, theirs, strict=True)]))


def imported(folder: Path, config: FitConfig, preset: Preset, dataset: Dataset[Documents] | None) -> CausalLM:
    """Build the language model of a decoder."""
    # here and not in `CausalLM`, so that the message names the adapter
    if not preset.architecture.is_decoder:
        raise AdapterError(
            f"{folder} holds the adapter of a language model, but {preset.spec} is {preset.architecture.title}, an "
            "encoder. Give the base model of the adapter with --preset."
        )
    model = CausalLM.from_preset(preset, max_length=config.model.max_length)
    own = folder / TEMPLATE_FILE
    # PEFT's trainers save the template beside the adapter. It may differ from that of the base.
    take_template(model, config.language.chat_template or (own if own.is_file() else None))
    return model


def _pieces(found: Documents) -> Rows[Any]:
    """Return up to `ROWS` pieces: the first piece of each text, then the second of each, and so on."""
    rows: Rows[Any] = Rows([], [])
    # With few texts, shorter pieces give enough rows. The + len(found) allows for the short last piece of each text.
    share = CHARACTERS if len(found) >= ROWS else sum(map(len, found.texts)) // (ROWS + len(found))
    size = max(FEWEST_CHARACTERS, min(CHARACTERS, share))
    for start in range(0, max(map(len, found.texts)), size):
        # the outer loop is the place in the text, so that every text comes in before any comes twice
        for text, identifier in zip(found.texts, found.ids, strict=True):
            piece = text[start : start + size].strip()
            # a piece of blanks has no tokens
            if piece:
                rows.texts.append(piece)
                rows.ids.append(identifier)
            if len(rows.texts) == ROWS:
                return rows
    return rows
