"""Texts for language models. Each text is a sequence of parts, and the loss counts some of the parts."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np

from kerora.data.rows import Texts, take
from kerora.errors import DataError

Form = Literal["text", "completion", "turns"]
ROLES = {True: "assistant", False: "user"}
"""Role in saved rows, by whether the loss counts the turn."""
GOES_ON = "goes_on"
"""Key in a saved row: its text is the beginning of a longer text, so that no end-of-text token follows it."""


class Part(NamedTuple):
    """A piece of a text.

    Attributes:
        text: the characters.
        counted: whether the loss counts its tokens.
        ends: whether an end-of-text token follows the part.
        role: who says it in a conversation, such as ``user``, as a chat template names it. Default: no conversation.
        details: further fields of a turn, such as ``tool_calls``, as a JSON object. Default: none.
    """

    text: str
    counted: bool
    ends: bool
    role: str = ""
    details: str = ""


Parts = tuple[Part, ...]


@dataclass
class Documents:
    """One split of the data of a language model. There are no targets: the model learns the texts.

    Attributes:
        texts: the texts for display, with their parts joined.
        ids: identifier of each text: the value of the id column, the number of the row from 1, or the name of the file.
        parts: the parts of each text.
        form: plain texts, prompts with completions, or turns of a conversation.
        files: whether the texts are whole files. Such texts may be divided.
    """

    noun: ClassVar[str] = "texts"

    texts: Texts = field(default_factory=list)
    ids: Texts = field(default_factory=list)
    parts: list[Parts] = field(default_factory=list)
    form: Form = "text"
    files: bool = False

    def __len__(self) -> int:
        return len(self.parts)

    def append(self, parts: Sequence[Part], identifier: str) -> None:
        """Add a text."""
        self.parts.append(tuple(parts))
        self.texts.append("\n".join(part.text.strip("\n") for part in parts) if len(parts) > 1 else parts[0].text)
        self.ids.append(identifier)

    def extend(self, other: Self) -> None:
        """Add the texts of another split."""
        self.texts.extend(other.texts)
        self.ids.extend(other.ids)
        self.parts.extend(other.parts)

    def take(self, indices: Sequence[int]) -> "Documents":
        """Return the texts at `indices`, in that order."""
        texts, ids, parts = (take(column, indices) for column in (self.texts, self.ids, self.parts))
        return Documents(texts, ids, parts, self.form, self.files)

    def label_counts(self, classes: Sequence[str]) -> dict[str, int]:
        """Return no counts: texts have no classes."""
        return {}

    def strata(self) -> None:
        """Return None, because texts have no class."""

    def tails(self, share: float) -> "tuple[Documents, Documents] | None":
        """Cut the last `share` of each file, at the line end before it. Return None if the texts are not files.

        Raises:
            DataError: a file is too short.
        """
        # The end of a row is no sample of its table. Rows are sampled whole.
        if not self.files:
            return None
        kept, tails = Documents(files=True), Documents(files=True)
        for text, identifier in zip(self.texts, self.ids, strict=True):
            # In characters: a cut in tokens would give runs with other tokenizers another held-out text.
            place = round(len(text) * (1 - share))
            line_end = text.rfind("\n", 0, place) + 1
            # At the line end before the place, unless no text would be left in front of it.
            place = line_end if text[:line_end].strip() else place
            if not text[:place].strip() or not text[place:].strip():
                raise DataError(
                    f"{identifier} is too short to hold out a part of it. Give more text, or a file for that part."
                )
            # The kept text is the beginning of a longer one, so no end-of-text token follows it.
            kept.append((Part(text[:place], True, False),), identifier)
            tails.append(plain_text(text[place:]), identifier)
        return kept, tails

    def objects(self, classes: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """Yield each text as a row with ``text``, with ``prompt`` and ``completion``, or with ``messages``."""
        for parts, identifier in zip(self.parts, self.ids, strict=True):
            row: dict[str, Any] = {"id": identifier}
            if self.form == "turns":
                row["messages"] = messages_of(parts)
            elif self.form == "completion":
                row |= {"prompt": parts[0].text, "completion": parts[1].text}
            else:
                row["text"] = parts[0].text
            if not parts[-1].ends:
                row[GOES_ON] = True
            yield row

    @classmethod
    def facts(cls, splits: "Mapping[str, Documents]") -> dict[str, Any]:
        """Return the form of the texts, and which splits are whole files."""
        # The form of the training part, which comes first. `settle` has checked the other parts.
        form = next(iter(splits.values())).form
        return {"form": form, "files": [split for split, texts in splits.items() if texts.files]}

    def fingerprint(self) -> str:
        """Return the sha256 of all parts, in order."""
        # `counted` and `ends` are hashed too: they change the tokens and what the loss counts.
        digest = hashlib.sha256()
        # The control characters separate parts and texts. "surrogatepass" accepts unpaired surrogates.
        for parts in self.parts:
            for part in parts:
                digest.update(f"{part.counted:d}{part.ends:d}\x1f{part.text}\x1e".encode("utf-8", "surrogatepass"))
                if part.details or part.role not in ("", ROLES[part.counted]):
                    digest.update(f"{part.role}\x1f{part.details}\x1f".encode("utf-8", "surrogatepass"))
            digest.update(b"\x1d")
        return digest.hexdigest()

    def counted_bytes(self) -> np.ndarray:
        """Return the length of the counted parts of each text in bytes of UTF-8, int64 (texts,)."""
        sizes = (
            sum(len(part.text.encode("utf-8", "surrogatepass")) for part in parts if part.counted)
            for parts in self.parts
        )
        return np.fromiter(sizes, np.int64, len(self.parts))


def plain_text(text: str) -> Parts:
    """Return the parts of a text. The loss counts every token."""
    return (Part(text, True, True),)


def completion(prompt: str, text: str) -> Parts:
    """Return the parts of a prompt, which the loss does not count, and its completion; see `joinable`."""
    # No end-of-text token between prompt and completion: they are one text.
    return (Part(joinable(prompt, text), False, False), Part(text, True, True))


def joinable(prompt: str, text: str = "") -> str:
    """Return a prompt that ends in white space. A line end is added if neither it nor the next text has a space there.

    Without it the last word of the prompt and the first word of the completion would be one word.
    """
    return prompt if prompt[-1:].isspace() or text[:1].isspace() else f"{prompt}\n"


def turn(text: str, counted: bool, role: str = "", details: Mapping[str, Any] | None = None) -> Part:
    """Return a turn of a conversation. An end-of-text token follows it where there is no chat template.

    Args:
        text: what is said.
        counted: whether the loss counts it.
        role: who says it. Default: the assistant if the loss counts it, else the user.
        details: further fields, such as ``tool_calls``. Default: none.
    """
    fields = json.dumps(details, ensure_ascii=False) if details else ""
    return Part(text, counted, True, role or ROLES[counted], fields)


def messages_of(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Return the turns of a conversation as objects with role, content and their further fields."""
    messages: list[dict[str, Any]] = []
    for part in parts:
        message = {"role": part.role or ROLES[part.counted], "content": part.text}
        message |= json.loads(part.details) if part.details else {}
        # A turn can have calls of tools and no text. Templates see the difference to an empty text.
        messages.append({name: value for name, value in message.items() if value is not None})
    return messages


def prompt_parts(text: str, form: str) -> Parts:
    """Return a prompt in the way in which training texts of a form begin. The first turn of a conversation ends."""
    if form == "turns":
        return (turn(text, counted=False),)
    return (Part(joinable(text) if form == "completion" else text, False, False),)
