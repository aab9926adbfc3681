"""Compares an export, freshly loaded by the tool that it is for, with the run that it came from."""

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
    """What the comparison came to.

    Attributes:
        tool: what loaded the export, with its version; None where it is not installed.
        rows: number of rows, and where they are from.
        source: name of the data set.
        largest_difference: of any logit.
        agreement: share of the rows, or of the tokens, for which the largest logit is the same.
        tolerance: largest difference that is let pass.
        tokens: number of tokens that were compared; None where rows were.
        text_agreement: share of the rows that lead to the same when the export's own tokenizer reads the text, where
            it has one.
        note: what to know.
        compared: what `agreement` counts, in words.
        text_compared: what `text_agreement` counts, in words.
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

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, without the words."""
        return {name: value for name, value in asdict(self).items() if name not in ("compared", "text_compared")}

    def __str__(self) -> str:
        if self.tool is None:
            return f"Not verified: {self.note}"
        tokens = "" if self.tokens is None else f" ({self.tokens:,} tokens)"
        own = ""
        if self.text_agreement is not None:
            own = f", {self.text_compared} {self.text_agreement:.0%}"
        note = f". {self.note}" if self.note else ""
        return (
            f"Verified with {self.tool} on {self.rows} rows of {self.source}{tokens}: largest logit difference "
            f"{self.largest_difference:.1e}, {self.compared} {self.agreement:.0%}{own}{note}"
        )


def version_of(name: str) -> str | None:
    """Return ``name version`` of an installed package, or None."""
    module = {"keras-hub": "keras_hub"}.get(name, name)
    return f"{name} {importlib.metadata.version(name)}" if importlib.util.find_spec(module) is not None else None


def transformers_logits(directory: Path, auto_class: str, probe: Probe) -> np.ndarray:
    """Load a model folder with one of transformers' automatic classes and return its logits; see `Probe.logits`."""
    return _their_logits(_their_model(directory, auto_class), probe)


def peft_logits(base: Path, adapter: Path, auto_class: str, classes: int, probe: Probe) -> np.ndarray:
    """Put an adapter on a base model with transformers and PEFT and return its logits; see `Probe.logits`."""
    import peft

    settings = {"num_labels": classes} if classes else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it names the keys of adapter_config.json that only Kerora reads
        model = _their_model(base, auto_class, **settings)
        return _their_logits(peft.PeftModel.from_pretrained(model, str(adapter)), probe)


def transformers_agreement(directory: Path, task: Task, probe: Probe, reference: np.ndarray, max_length: int) -> float:
    """Return how far a folder's own tokenizer leads to the same: see `Verification.text_agreement`."""
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    except Exception as error:  # the Rust library raises bare Exception
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

    return task.exchange.text_agreement(probe, reference, lambda: tokenizer(texts)["input_ids"], logits)


def _their_model(directory: Path, auto_class: str, **settings: Any) -> Any:
    import transformers

    kind = getattr(transformers, auto_class)
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # a head that is about to be replaced is no fault
    transformers.logging.disable_progress_bar()
    try:
        return kind.from_pretrained(str(directory), local_files_only=True, dtype="float32", **settings).eval()
    finally:
        transformers.logging.set_verbosity(before)


def _their_logits(model: Any, probe: Probe) -> np.ndarray:
    inputs = probe.inputs
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = int(inputs["token_ids"][inputs["padding_mask"] == 0].max(initial=0))
    named = {"input_ids": "token_ids", "attention_mask": "padding_mask", "token_type_ids": "segment_ids"}

    def compute(part: dict[str, np.ndarray]) -> Any:
        tensors = {theirs: torch.as_tensor(part[ours]).long() for theirs, ours in named.items() if ours in part}
        return model(**tensors).logits.float()

    return probe.logits(compute)
