"""Writes a classifier as an ONNX file with dynamic batch and length; needs the extra `onnx`."""

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from kerora.errors import ConfigError, PresetError
from kerora.models.classifier import TextClassifier
from kerora.models.task import Task

FILE = "model.onnx"
NOT_POSSIBLE = ("deberta_v3",)
"""Kinds, beside all decoders, whose attention torch's exporter cannot follow for any batch and length."""


class _Traced(torch.nn.Module):
    def __init__(self, model: TextClassifier) -> None:
        super().__init__()
        self.model = model
        self.names = list(model.input)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(dict(zip(self.names, tensors, strict=True)), training=False)
        return logits


def check_onnx(model: Task) -> None:
    """Check that the model can be exported and the packages are there.

    Raises:
        PresetError: the kind cannot be exported.
        ConfigError: a package is missing.
    """
    if not isinstance(model, TextClassifier):
        raise PresetError(
            "What is exported to ONNX is a classifier: a language model needs its cache of keys and values there. "
            "Export with --format transformers."
        )
    if model.preset.kind in NOT_POSSIBLE or model.preset.architecture.is_decoder:
        raise PresetError(
            f"{model.preset.architecture.title} cannot be exported to ONNX with dynamic batch and length. "
            "Export with --format transformers."
        )
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"The export to ONNX needs {', '.join(missing)}. Install them with: pip install 'kerora[onnx]'"
        )


def write_onnx(model: TextClassifier, directory: Path) -> None:
    """Write model.onnx: int32 inputs by name (batch, length), float32 output ``logits`` (batch, classes)."""
    names = list(model.input)
    examples = tuple(torch.ones(3, 11, dtype=torch.int32) for _ in names)
    batch = torch.export.Dim("batch", min=1, max=65_536)
    length = torch.export.Dim("length", min=2, max=model.max_length)
    for variable in model.variables:
        if variable.value.is_floating_point():
            variable.value.requires_grad_(False)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Traced(model).eval(),
            examples,
            str(directory / FILE),
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=(tuple({0: batch, 1: length} for _ in names),),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def onnx_logits(directory: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Run the file with onnxruntime, in two batches of other sizes and lengths; return logits (rows, classes)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(directory / FILE), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    rows = len(next(iter(inputs.values())))
    parts = []
    for start, end in ((0, 1), (1, rows)):
        part = {name: inputs[name][start:end] for name in names}
        longest = max(2, int(inputs["padding_mask"][start:end].sum(axis=1).max()))
        parts.append(session.run(None, {name: value[:, :longest] for name, value in part.items()})[0])
    return np.concatenate([np.asarray(part, np.float32) for part in parts])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
