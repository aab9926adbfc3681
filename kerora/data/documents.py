"""Texts for language models: each a sequence of parts, some of which the loss counts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from kerora.data.rows import Rows

Form = Literal["text", "completion", "turns"]


class Part(NamedTuple):
    """A piece of a text.

    Attributes:
        text: the characters.
        counted: whether the loss counts its tokens.
        ends: whether the end-of-text token follows.
    """

    text: str
    counted: bool
    ends: bool


@dataclass
class Documents(Rows):
    """One split of a language model's data; `texts` are what a person would read.

    Attributes:
        parts: the parts of each text.
        form: plain texts, prompts with completions, or turns of a conversation.
        files: the texts are whole files, which may be divided.
    """

    parts: list[tuple[Part, ...]] = field(default_factory=list)
    form: Form = "text"
    files: bool = False

    def append(self, parts: Sequence[Part], identifier: str) -> None:
        """Add a text."""
        self.parts.append(tuple(parts))
        self.texts.append("\n".join(part.text.strip("\n") for part in parts) if len(parts) > 1 else parts[0].text)
        self.ids.append(identifier)

    def take(self, indices: Sequence[int]) -> "Documents":
        """Return the texts at `indices`, in that order."""
        rows = super().take(indices)
        return Documents(rows.texts, rows.ids, None, None, [self.parts[at] for at in indices], self.form, self.files)

    def fingerprint(self) -> str:
        """Return the sha256 of all parts, in order."""
        digest = hashlib.sha256()
        for parts in self.parts:
            for part in parts:
                digest.update(f"{part.counted:d}{part.ends:d}\x1f{part.text}\x1e".encode("utf-8", "surrogatepass"))
            digest.update(b"\x1d")
        return digest.hexdigest()

    def counted_bytes(self) -> int:
        """Return the bytes in UTF-8 of the counted parts."""
        return sum(len(part.text.encode("utf-8", "surrogatepass")) for parts in self.parts for part in parts
                   if part.counted)  # fmt: skip


def plain_text(text: str) -> tuple[Part, ...]:
    """Return a text of which every token counts."""
    return (Part(text, True, True),)


def completion(prompt: str, text: str) -> tuple[Part, ...]:
    """Return a prompt, which does not count, and its completion; on a line of its own if no blank parts them."""
    return (Part(joinable(prompt, text), False, False), Part(text, True, True))


def joinable(prompt: str, text: str = "") -> str:
    """Return a prompt with a line end where neither it nor what follows brings a blank."""
    return prompt if prompt[-1:].isspace() or text[:1].isspace() else f"{prompt}\n"


def conversation(turns: Sequence[tuple[str, bool]]) -> tuple[Part, ...]:
    """Return the (text, counted) turns of a conversation, each with its end."""
    return tuple(Part(text, counted, True) for text, counted in turns)


def prompt_parts(text: str, form: str) -> tuple[Part, ...]:
    """Return a prompt as texts of a form begin: of turns the first one, which ends."""
    return (Part(joinable(text) if form == "completion" else text, False, form == "turns"),)
