"""Compares an export, freshly loaded by the tool that it is for, with the run that it came from."""

import importlib.metadata
import importlib.util
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kerora.config import FitConfig
from kerora.data.rows import Rows
from kerora.data.sources import load_dataset
from kerora.errors import DataError, KeroraError
from kerora.models.classifier import TextClassifier

ROWS = 32


@dataclass(frozen=True)
class Verification:
    """What the comparison came to.

    Attributes:
        tool: what loaded the export, with its version; None where it is not installed.
        rows: number of rows, and where they are from.
        source: name of the data set.
        largest_difference: of any logit.
        agreement: share of the rows with the same label.
        tolerance: largest difference that is let pass.
        text_agreement: share with the same label when the export's own tokenizer reads the text, where it has one.
        note: what to know.
    """

    tool: str | None
    rows: int
    source: str
    largest_difference: float | None
    agreement: float | None
    tolerance: float
    text_agreement: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        if self.tool is None:
            return f"Not verified: {self.note}"
        own = "" if self.text_agreement is None else f", from text {self.text_agreement:.0%}"
        note = f". {self.note}" if self.note else ""
        return (
            f"Verified with {self.tool} on {self.rows} rows of {self.source}: largest logit difference "
            f"{self.largest_difference:.1e}, same label {self.agreement:.0%}{own}{note}"
        )


def real_rows(config: FitConfig) -> tuple[Rows, str]:
    """Return 32 rows of the run's own data, or where they are not here any more of the bundled tickets."""
    try:
        dataset = load_dataset(config.data, config.training.seed)
    except (KeroraError, OSError):
        dataset = load_dataset("tickets", 0)
    for split in ("test", "validation", "train"):
        if split in dataset.splits:
            rows = dataset.splits[split]
            pairs = None if rows.pairs is None else rows.pairs[:ROWS]
            return Rows(rows.texts[:ROWS], rows.ids[:ROWS], pairs=pairs), dataset.name
    raise DataError("There are no rows to verify the export with.")


def encoded(model: TextClassifier, rows: Rows) -> dict[str, np.ndarray]:
    """Return the rows as the model's inputs, one padded batch."""
    return model.encode(rows.texts, rows.pairs)


def version_of(name: str) -> str | None:
    """Return ``name version`` of an installed package, or None."""
    module = {"keras-hub": "keras_hub"}.get(name, name)
    return f"{name} {importlib.metadata.version(name)}" if importlib.util.find_spec(module) is not None else None


def transformers_logits(directory: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Load a model folder with transformers and return its logits, float32 (rows, classes)."""
    return _their_logits(_their_model(directory), inputs)


def peft_logits(base: Path, adapter: Path, classes: int, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Put an adapter on a base model with transformers and PEFT and return its logits, float32 (rows, classes)."""
    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it names the keys of adapter_config.json that only Kerora reads
        return _their_logits(
            peft.PeftModel.from_pretrained(_their_model(base, num_labels=classes), str(adapter)), inputs
        )


def transformers_labels(directory: Path, texts: list[str], pairs: list[str] | None, max_length: int) -> np.ndarray:
    """Return the class numbers that transformers gives texts with the folder's own tokenizer."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    found = tokenizer(texts, pairs, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    with torch.no_grad():
        return np.asarray(_their_model(directory)(**found).logits.float().numpy().argmax(axis=1))


def _their_model(directory: Path, **settings: Any) -> Any:
    import transformers

    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # a head that is about to be replaced is no fault
    transformers.logging.disable_progress_bar()
    try:
        return transformers.AutoModelForSequenceClassification.from_pretrained(
            str(directory), local_files_only=True, dtype="float32", **settings
        ).eval()
    finally:
        transformers.logging.set_verbosity(before)


def _their_logits(model: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = int(inputs["token_ids"][inputs["padding_mask"] == 0].max(initial=0))
    named = {"input_ids": "token_ids", "attention_mask": "padding_mask", "token_type_ids": "segment_ids"}
    tensors = {theirs: torch.as_tensor(inputs[ours]).long() for theirs, ours in named.items() if ours in inputs}
    with torch.no_grad():
        return np.asarray(model(**tensors).logits.float().numpy())
