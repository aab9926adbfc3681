"""Reads from a model folder how its conversations are written and which tokens end a text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerora.errors import PresetError
from kerora.models.chat_template import ChatTemplate
from kerora.models.json_files import read_json_object
from kerora.models.tokenizer import TextTokenizer

TEMPLATE_FILE = "chat_template.jinja"


def with_template(
    tokenizer: TextTokenizer, directory: Path, options: Mapping[str, Any], tokens: Mapping[str, str]
) -> TextTokenizer:
    """Give a tokenizer the chat template of its folder, and the special tokens that templates name.

    Args:
        tokenizer: the tokenizer.
        directory: the folder.
        options: content of tokenizer_config.json.
        tokens: special tokens by role, such as ``eos``. Those that `options` names take precedence.

    Raises:
        PresetError: the file of the template cannot be read.
    """
    known = {role: options.get(f"{role}_token", token) for role, token in tokens.items()}
    # An entry is a text, an object, or null for no token.
    named = {role: token.get("content") if isinstance(token, dict) else token for role, token in known.items()}
    tokenizer.special_names = {f"{role}_token": str(token) for role, token in named.items() if token}
    tokenizer.chat = find_template(directory, options, tokenizer.special_names)
    return tokenizer


def generation_ends(directory: Path, size: int) -> frozenset[int]:
    """Return the ids of the tokens that end a text in `generate` of transformers.

    Args:
        directory: the folder.
        size: number of tokens of the vocabulary.

    Raises:
        PresetError: generation_config.json is damaged.
    """
    path = directory / "generation_config.json"
    ends = read_json_object(path).get("eos_token_id") if path.is_file() else None
    listed = ends if isinstance(ends, list) else [ends]
    return frozenset(number for number in listed if isinstance(number, int) and 0 <= number < size)


def find_template(directory: Path, options: Mapping[str, Any], tokens: Mapping[str, str]) -> ChatTemplate | None:
    """Return the chat template of a model folder, or None. Like transformers, a file of its own takes precedence.

    Args:
        directory: the folder.
        options: content of tokenizer_config.json.
        tokens: see `ChatTemplate`.

    Raises:
        PresetError: the file of the template cannot be read.
    """
    file = directory / TEMPLATE_FILE
    if file.is_file():
        return ChatTemplate(read_template(file), tokens, str(file))
    source = options.get("chat_template")
    place = directory / "tokenizer_config.json"
    if source is None and (directory / "chat_template.json").is_file():
        # Folders of models that also read pictures keep it here.
        place = directory / "chat_template.json"
        source = read_json_object(place).get("chat_template")
    if isinstance(source, list):
        # Several templates by name. The others are for tools and documents.
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    return ChatTemplate(source, tokens, str(place)) if isinstance(source, str) and source.strip() else None


def read_template(path: Path) -> str:
    """Read a file with a chat template.

    Raises:
        PresetError: the file is missing or no text in UTF-8.
    """
    try:
        # transformers reads and writes these files in the text mode too.
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise PresetError(f"Cannot read the chat template {path}: {error.strerror}. Check --chat-template.") from error
    except UnicodeDecodeError as error:
        raise PresetError(f"The chat template {path} is not UTF-8. Save it as UTF-8.") from error
