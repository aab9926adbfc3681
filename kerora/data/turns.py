"""Reads the turns of a conversation: who says what, and which of it the loss counts."""

import json
import re
from typing import Any

import numpy as np

from kerora.data.documents import Part, Parts, turn
from kerora.data.extract import text_problem
from kerora.settings.language import LanguageConfig

CONTENTS, ROLES = ("content", "value", "text"), ("role", "from", "speaker")
# The names of the model in common chat formats: OpenAI (assistant), ShareGPT (gpt), Gemini (model) and others.
MODEL_ROLES = ("assistant", "gpt", "model", "bot", "chatbot", "chatgpt", "ai")
USER_ROLES = ("user", "human", "prompter", "instruction")
TOOL_ROLES = ("tool", "function", "observation", "environment")
OTHER_ROLES = (*USER_ROLES, *TOOL_ROLES, "system", "developer")
_REPR = re.compile(r"\s*\[\s*(\{\s*'|'|\{[^\"]*\b(None|True|False)\b)")


def list_of_turns(value: Any) -> list[Any] | None:
    """Return the turns of a conversation: a list, or JSON text of a list. None for other values."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, np.ndarray):  # TFDS gives sequences as arrays
        value = value.tolist()
    return value if isinstance(value, list) and value else None


def turns_of(value: Any, name: str, learnt: bool = True, language: LanguageConfig | None = None) -> Parts | str:
    """Return the turns of a conversation, or a description of what is wrong with them.

    Args:
        value: the turns as a list, or as JSON text of a list.
        name: the column, for messages.
        learnt: whether the loss must count at least one turn. Then an unknown role is wrong. Default: True.
        language: the meaning of further roles. Default: None.
    """
    found = list_of_turns(value)
    if found is None:
        if isinstance(value, str) and _REPR.match(value):
            return f"has Python text and no JSON in '{name}' (write the column with json.dumps)"
        return f"has no list of turns in '{name}'"
    turns: list[Part] = []
    for number, message in enumerate(found, 1):
        part = _turn(message, number, name, language or LanguageConfig(), learnt)
        if isinstance(part, str):
            return f"{part}, turn {number}" if "(--roles " not in part else part
        turns.append(part)
    if learnt and not any(part.counted for part in turns):
        return f"has no turn in '{name}' that the model can learn: no turn of the assistant, or only one turn"
    return tuple(turns)


def role_of(message: Any) -> str | None:
    """Return who says a turn, in lower case, or None if it does not say."""
    role = next((message[key] for key in ROLES if key in message), None) if isinstance(message, dict) else None
    return None if role is None else str(role).strip().lower()


def _turn(message: Any, number: int, name: str, language: LanguageConfig, learnt: bool) -> Part | str:
    """Return a turn, or a description of what is wrong with it."""
    fields = message if isinstance(message, dict) else {"content": message}
    key = next((key for key in CONTENTS if key in fields), "content")
    text, foreign = _joined(fields.get(key))
    if foreign is not None:
        return f"has a part of the type '{foreign:.40}' in '{name}', and only text is read"
    details = _details(fields, key)
    if text is None and details.get("tool_calls"):
        text, details = "", {"content": None, **details}
    # A call of a tool says something without a text.
    problem = None if text == "" and details.get("tool_calls") else text_problem(text, name)
    if problem is not None:
        return problem
    role = role_of(message)
    # Turns without roles alternate, and the user has the first one.
    counted = number % 2 == 0 if role is None else _is_learnt(role, language)
    if counted is None and learnt:
        return (
            f"has the unknown role '{role:.40}' in '{name}', turn {number} (--roles {role:.40}=assistant learns "
            f"its turns, --roles {role:.40}=user does not)"
        )
    return turn(str(text), bool(counted), _template_role(role, bool(counted), language), details)


def _is_learnt(role: str, language: LanguageConfig) -> bool | None:
    """Tell whether the loss counts the turns of a role; None if the role is unknown."""
    named = language.is_learnt(role)
    known = True if role in MODEL_ROLES else False if role in OTHER_ROLES else None
    return known if named is None else named


def _template_role(role: str | None, counted: bool, language: LanguageConfig) -> str:
    """Return the name that chat templates have for a role."""
    if role is None or counted or role in USER_ROLES or language.is_learnt(role) is False:
        return "assistant" if counted else "user"
    return "tool" if role in TOOL_ROLES else role


def _joined(content: Any) -> tuple[Any, str | None]:
    """Return the text of a list of parts, one part a line, and the type of a part that is no text. Else the content."""
    parts = content.tolist() if isinstance(content, np.ndarray) else content
    if not isinstance(parts, list) or not parts:
        return content, None
    texts: list[Any] = [part.get("text") if isinstance(part, dict) else part for part in parts]
    for part, text in zip(parts, texts, strict=True):
        if not isinstance(text, str):
            return content, str(part.get("type", "without a type")) if isinstance(part, dict) else type(part).__name__
    return "\n".join(texts), None


def _details(message: dict[str, Any], content: str) -> dict[str, Any]:
    """Return the fields of a turn besides role and content. Tables give null for a field that a turn lacks."""
    role = next((key for key in ROLES if key in message), None)
    return {
        str(key): _plain(value) for key, value in message.items() if key not in (content, role) and value is not None
    }


def _plain(value: Any) -> Any:
    """Return a value of JSON."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)
