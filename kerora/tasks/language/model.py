"""Build language models: new ones, those of runs, and their base models."""

from pathlib import Path
from typing import Any

from kerora.models.causal_lm import CausalLM
from kerora.models.chat_files import TEMPLATE_FILE, read_template
from kerora.models.chat_template import NO_TEMPLATE, ChatTemplate
from kerora.models.precision import backbone_dtype
from kerora.models.presets import Preset
from kerora.places import expanded
from kerora.runfolder import RunFolder, write_text
from kerora.settings.fit import FitConfig


def build(config: FitConfig, preset: Preset, dataset: Any) -> CausalLM:
    """Build the language model. It has no head of its own."""
    model = CausalLM.from_preset(preset, max_length=config.model.max_length, dtype=backbone_dtype(config))
    take_template(model, config.language.chat_template)
    model.truncate = config.model.truncate  # an error if it is left
    return model


def take_template(model: CausalLM, given: str | Path | None) -> None:
    """Give a model the chat template of a file, or none for `NO_TEMPLATE`. None keeps that of the model.

    Raises:
        PresetError: the file cannot be read, or holds no Jinja.
    """
    if given is None:
        return
    tokenizer = model.tokenizer
    tokenizer.chat = None
    if str(given) != NO_TEMPLATE:
        tokenizer.chat = ChatTemplate(read_template(expanded(given)), tokenizer.special_names, str(given))
        tokenizer.chat.compile()


def of_run(config: FitConfig, preset: Preset, head: str | None, dtype: str) -> CausalLM:
    """Build the language model of a run, without its adapter."""
    model = CausalLM.from_preset(preset, max_length=config.model.max_length, dtype=dtype)
    tokenizer = model.tokenizer
    # Not that of the preset: earlier versions trained without a template, and a file could be given.
    tokenizer.chat = None if head is None else ChatTemplate(head, tokenizer.special_names, "the run")
    return model


def read_head(run: RunFolder) -> str | None:
    """Read the chat template of a run, None if it was trained without one."""
    path = run.adapter / TEMPLATE_FILE
    return read_template(path) if path.is_file() else None


def head_of(model: CausalLM) -> str | None:
    """Return the chat template of a model, or None."""
    return None if model.tokenizer.chat is None else model.tokenizer.chat.source


def write_head(run: RunFolder, model: CausalLM) -> None:
    """Write the chat template beside the adapter."""
    source = head_of(model)
    if source is not None:
        write_text(run.adapter / TEMPLATE_FILE, source)


def plain_copy(model: CausalLM, seed: int | None = None) -> CausalLM:
    """Return the base model in float32. It has no head, so `seed` has no effect."""
    copy = CausalLM.from_preset(model.preset, max_length=model.max_length)
    copy.tokenizer.chat = model.tokenizer.chat
    return copy


def of_folder(directory: Path, like: CausalLM) -> CausalLM:
    """Load an exported preset."""
    return CausalLM.from_preset(str(directory), max_length=like.max_length)


def shape(model: CausalLM) -> str:
    """Return that there are no classes, and which chat template there is."""
    chat = model.tokenizer.chat
    template = "" if chat is None else f" with the chat template {chat.fingerprint[:12]}"
    return f"no classes (a language model{template})"
