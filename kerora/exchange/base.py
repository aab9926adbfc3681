"""Writes a base model without an adapter as a transformers folder, and compares it with transformers."""

from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

from kerora.errors import RunError
from kerora.exchange.export import TOLERANCE, check_free, staged
from kerora.exchange.huggingface_folder import check_huggingface, write_huggingface_folder
from kerora.exchange.verify import transformers_states, version_of
from kerora.models.architectures import Architecture
from kerora.models.causal_lm import CausalLM
from kerora.models.classifier import TextClassifier
from kerora.models.json_files import read_json_object
from kerora.models.presets import find_preset
from kerora.models.task import TaskModel
from kerora.models.tensor_files import SAFETENSORS
from kerora.runfolder import write_bytes, write_json

TEXTS = ("My parcel is late again.", "It was a dark night, and the rain fell.", "good", "1, 2 and 3")
"""Texts for the comparison with transformers."""


def export_base(preset: str | Path, output: str | Path) -> str:
    """Write a base model for transformers: backbone and tokenizer, without a classification head.

    An adapter in the format of PEFT needs its base in this form.

    Args:
        preset: a value of ``--preset``.
        output: folder to write. It must be new or empty.

    Returns:
        A line that says what was compared.

    Raises:
        PresetError: there is no such preset, or its kind cannot be written for transformers.
        RunError: the output exists or cannot be written, or differs from the preset in transformers.
    """
    # first: a target that cannot be used is refused before a large model is loaded
    target = check_free(output)
    opened = find_preset(preset)
    is_decoder = opened.architecture.is_decoder
    # a language model, because it has the output layer of a decoder, or a classifier, whose new head is left out
    model: TaskModel = CausalLM.from_preset(opened) if is_decoder else TextClassifier.from_preset(opened, 2)
    # nothing is trained here: "lora" stands for a model whose other weights are those of the base
    check_huggingface(model, "lora")
    with staged(target) as work:
        write_huggingface_folder(model, work)
        if not is_decoder:
            _leave_out_head(work, opened.architecture)
        tool = version_of("transformers")
        if tool is None:
            return "Not compared: transformers is not installed (pip install transformers)."
        inputs = model.encode(list(TEXTS))
        theirs = transformers_states(work, inputs)
        with torch.no_grad():
            ours = model.backbone(inputs)
        # backbones with a pooler, such as that of BERT, return a mapping
        ours = ours["sequence_output"] if isinstance(ours, dict) else ours
        # no head reads the states of padding, so they need not be equal
        kept = inputs["padding_mask"].astype(bool)
        difference = float(np.abs(theirs - ours.float().cpu().numpy())[kept].max())
        # not >, because every comparison with NaN is False
        if not difference <= TOLERANCE:
            raise RunError(
                f"The base differs by {difference:.2g} (at most {TOLERANCE:g}) when transformers loads it. Nothing was "
                "written."
            )
    return f"Compared with {tool} on {len(TEXTS)} texts: largest difference of the hidden states {difference:.1e}"


def _leave_out_head(directory: Path, architecture: Architecture) -> None:
    """Turn the folder of a classifier into that of the encoder alone."""
    path = directory / SAFETENSORS
    tensors = safetensors.numpy.load(path.read_bytes())
    kept = {name: value for name, value in tensors.items() if name.startswith(f"{architecture.prefix}.")}
    write_bytes(path, safetensors.numpy.save(kept, metadata={"format": "pt"}))
    config = read_json_object(directory / "config.json")
    # these keys describe the head that is left out
    config = {key: value for key, value in config.items() if key not in ("id2label", "label2id", "problem_type")}
    write_json(directory / "config.json", {**config, "architectures": [f"{architecture.class_stem}Model"]})
