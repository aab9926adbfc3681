"""Compares an export with its run. The tool that the export is for loads it."""

import importlib.metadata
import importlib.util
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kerora.errors import RunError
from kerora.tasks.probe import Probe
from kerora.tasks.registry import Task


@dataclass(frozen=True)
class Verification:
    """The result of the comparison.

    Attributes:
        tool: the tool that loaded the export, with its version. None if it is not installed.
        rows: number of rows.
        source: name of the data set of the rows.
        largest_difference: largest absolute difference of a logit. For numbers it is relative.
        agreement: share of the rows, or of the tokens, for which the largest logit is the same.
        tolerance: largest difference that is accepted.
        tokens: number of compared tokens. None if rows were compared.
        text_agreement: share of the rows with the same result if the tokenizer of the export reads the text. None
            if the export has no tokenizer.
        note: a note about the export. May be empty.
        compared: what `agreement` counts, in words.
        text_compared: what `text_agreement` counts, in words.
        measured: what `largest_difference` is, in words.
    """

    tool: str | None
    rows: int
    source: str
    largest_difference: float | None
    agreement: float | None
    tolerance: float
    tokens: int | None = None
    text_agreement: float | None = None
    note: str = ""
    compared: str = ""
    text_compared: str = ""
    measured: str = "largest logit difference"

    def to_dict(self) -> dict[str, Any]:
        """Return the values as plain values, without the words."""
        words = ("compared", "text_compared", "measured")
        return {name: value for name, value in asdict(self).items() if name not in words}

    def __str__(self) -> str:
        if self.tool is None:
            return f"Not verified: {self.note}"
        tokens = "" if self.tokens is None else f" ({self.tokens:,} tokens)"
        own = ""
        if self.text_agreement is not None:
            own = f", {self.text_compared} {self.text_agreement:.0%}"
        note = f". {self.note}" if self.note else ""
        return (
            f"Verified with {self.tool} on {self.rows} rows of {self.source}{tokens}: {self.measured} "
            f"{self.largest_difference:.1e}, {self.compared} {self.agreement:.0%}{own}{note}"
        )


def version_of(name: str) -> str | None:
    """Return ``name version`` of a package. None if it is not installed."""
    module = {"keras-hub": "keras_hub"}.get(name, name)
    # find_spec does not import the package, which takes seconds for transformers
    return f"{name} {importlib.metadata.version(name)}" if importlib.util.find_spec(module) is not None else None


def transformers_logits(directory: Path, auto_class: str, probe: Probe) -> np.ndarray:
    """Load a model folder with an automatic class of transformers and return its logits. See `Probe.logits`."""
    return _their_logits(_their_model(directory, auto_class), probe)


def transformers_states(directory: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Load a model folder with transformers and return its last hidden states, float32 (rows, length, width).

    Args:
        directory: the folder.
        inputs: inputs of a model of Kerora.
    """
    model = _their_model(directory, "AutoModel")
    with torch.no_grad():
        states: np.ndarray = model(**_their_inputs(inputs)).last_hidden_state.float().numpy()
    return states


def peft_logits(base: Path, adapter: Path, auto_class: str, classes: int, probe: Probe) -> np.ndarray:
    """Load a base model and an adapter with transformers and PEFT, and return the logits. See `Probe.logits`."""
    import peft

    settings = {"num_labels": classes} if classes else {}
    with warnings.catch_warnings():
        # the comparison finds faults; warnings between the packages are not for the user
        warnings.simplefilter("ignore")
        model = _their_model(base, auto_class, **settings)
        return _their_logits(peft.PeftModel.from_pretrained(model, str(adapter)), probe)


def transformers_agreement(directory: Path, task: Task, probe: Probe, reference: np.ndarray, max_length: int) -> float:
    """Return the agreement if the tokenizer of a folder reads the texts. See `Verification.text_agreement`."""
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    except Exception as error:  # the package tokenizers raises plain Exception
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"transformers cannot load the tokenizer of the base model: {reason}. Nothing was written. Choose another "
            "format."
        ) from error
    texts, pairs = probe.rows.texts, probe.rows.pairs

    def logits() -> np.ndarray:
        found = tokenizer(texts, pairs, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
        with torch.no_grad():
            values: np.ndarray = _their_model(directory, task.exchange.NAMES.auto_class)(**found).logits.float().numpy()
        return values

    # tokens without truncation, because the probe compares the start of each row only
    return task.exchange.text_agreement(probe, reference, lambda: tokenizer(texts)["input_ids"], logits)


def _their_model(directory: Path, auto_class: str, **settings: Any) -> Any:
    import transformers

    kind = getattr(transformers, auto_class)
    before, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()  # it would warn of an untrained head, which the adapter replaces
    transformers.logging.disable_progress_bar()
    try:
        # float32 whatever config.json says, and never a download
        return kind.from_pretrained(str(directory), local_files_only=True, dtype="float32", **settings).eval()
    finally:
        transformers.logging.set_verbosity(before)
        if bars:
            transformers.logging.enable_progress_bar()


def _their_logits(model: Any, probe: Probe) -> np.ndarray:
    inputs = probe.inputs
    # A classifier of a decoder reads the last token before the padding, so it must know the padding token.
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = int(inputs["token_ids"][inputs["padding_mask"] == 0].max(initial=0))

    def compute(part: dict[str, np.ndarray]) -> Any:
        return model(**_their_inputs(part)).logits.float()

    return probe.logits(compute)


def _their_inputs(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    named = {"input_ids": "token_ids", "attention_mask": "padding_mask", "token_type_ids": "segment_ids"}
    return {theirs: torch.as_tensor(inputs[ours]).long() for theirs, ours in named.items() if ours in inputs}
