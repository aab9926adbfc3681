"""Writes a model as an ONNX file with dynamic batch and length. Needs the extra `onnx`."""

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch

from kerora.errors import ConfigError
from kerora.exchange.onnx_layers import traceable
from kerora.models.task import TaskModel
from kerora.runfolder import write_bytes
from kerora.tasks.probe import COLUMNS, Probe
from kerora.tasks.registry import Task

FILE = "model.onnx"
TOKENIZER = "tokenizer.json"
LARGEST_FILE = 1_900_000_000
"""Maximum bytes of weights in the ONNX file, as a protobuf holds 2 GiB. More weights go into a second file."""


class _Traced(torch.nn.Module):
    def __init__(self, model: TaskModel) -> None:
        super().__init__()
        self.model = model
        self.names = list(model.input)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.model(dict(zip(self.names, tensors, strict=True)), training=False)
        return self.model.to_logits(outputs)


def check_onnx() -> None:
    """Check that the packages are installed.

    Raises:
        ConfigError: a package is missing.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"The export to ONNX needs {', '.join(missing)}. Install them with: pip install {' '.join(missing)}"
        )


def write_onnx(model: TaskModel, directory: Path) -> None:
    """Write model.onnx and tokenizer.json.

    The inputs are int32 (batch, length) and have the names of the inputs of the model. The output ``logits`` is
    float32 (batch, classes), or (batch, length, tokens) for a language model. The tokenizer truncates and pads like
    the run.

    Args:
        model: a model without LoRA, float32.
        directory: an existing folder.
    """
    names = list(model.input)
    # no size is 1: torch.export would fix such a size in the file
    examples = tuple(torch.ones(3, min(11, model.max_length - 1), dtype=torch.int32) for _ in names)
    batch = torch.export.Dim("batch", min=1, max=65_536)
    length = torch.export.Dim("length", min=2, max=model.max_length)
    for variable in model.variables:
        if variable.value.is_floating_point():
            variable.value.requires_grad_(False)
    with _quiet(), traceable(model, model.max_length):
        torch.onnx.export(
            _Traced(model).eval(),
            examples,
            str(directory / FILE),
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=(tuple({0: batch, 1: length} for _ in names),),
            dynamo=True,
            external_data=_size(model) > LARGEST_FILE,
            verbose=False,
        )
    # before the check, so that the file that is shared is the file that is compared
    _remove_paths(directory / FILE)
    write_bytes(directory / TOKENIZER, _whole_tokenizer(model).to_str().encode())


def _remove_paths(path: Path) -> None:
    """Remove the stack traces that torch writes beside each node: they hold paths of this machine."""
    import onnx

    # the weights of a large model lie in a file of their own, which stays as it is
    model = onnx.load(str(path), load_external_data=False)
    for holder in (model.graph, *model.functions):
        for entry in (*holder.node, *holder.value_info):
            del entry.metadata_props[:]
            entry.doc_string = ""
    write_bytes(path, model.SerializeToString())


def onnx_session(directory: Path) -> Any:
    """Load the file with onnxruntime."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(directory / FILE), providers=["CPUExecutionProvider"])


def onnx_logits(session: Any, probe: Probe) -> np.ndarray:
    """Run the loaded file in batches of different sizes and lengths, and return its logits. See `Probe`."""
    names = [item.name for item in session.get_inputs()]

    def compute(inputs: dict[str, np.ndarray]) -> np.ndarray:
        rows, width = inputs["token_ids"].shape
        parts = []
        # one row, then all others: this shows that batch and length are really dynamic in the file
        for start, end in ((0, 1), (1, rows)):
            # `write_onnx` allows rows of two tokens and more
            longest = max(2, int(inputs["padding_mask"][start:end].sum(axis=1).max(initial=0)))
            values = session.run(None, {name: inputs[name][start:end, :longest] for name in names})[0]
            # back to the width of the probe, so that the parts can be joined
            parts.append(np.pad(values, ((0, 0), (0, width - longest), (0, 0))) if probe.per_token else values)
        return np.concatenate(parts)

    return probe.logits(compute)


def onnx_agreement(session: Any, directory: Path, task: Task, probe: Probe, reference: np.ndarray) -> float:
    """Return the agreement if the tokenizer of the folder reads the texts. See `Verification.text_agreement`."""
    tokenizer = tokenizers.Tokenizer.from_file(str(directory / TOKENIZER))
    texts, pairs = probe.rows.texts, probe.rows.pairs
    encodings = tokenizer.encode_batch(texts if pairs is None else list(zip(texts, pairs, strict=True)))

    def logits() -> np.ndarray:
        inputs = {
            item.name: np.array([getattr(row, COLUMNS[item.name]) for row in encodings], np.int32)
            for item in session.get_inputs()
        }
        values: np.ndarray = session.run(None, inputs)[0]
        return values

    return task.exchange.text_agreement(probe, reference, lambda: [row.ids for row in encodings], logits)


def _whole_tokenizer(model: TaskModel) -> tokenizers.Tokenizer:
    """Return the tokenizer of the model, which also truncates to the maximum length and pads."""
    own = model.tokenizer
    # a copy: truncation and padding would otherwise change the tokenizer of the model
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(own.definition))
    tokenizer.enable_truncation(model.max_length, strategy="longest_first", direction=model.truncate or "right")
    tokenizer.enable_padding(pad_id=own.pad_id, pad_token=own.pieces[own.pad_id])
    return tokenizer


def _size(model: TaskModel) -> int:
    return sum(variable.value.numel() * variable.value.element_size() for variable in model.variables)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # The exporter prints its progress and many warnings. The comparison after the export is the check that counts.
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
