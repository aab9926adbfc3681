"""The chat template of a model: how it writes a conversation as one text, and what of that text the assistant said."""

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kerora.errors import PresetError
from kerora.models.chat_problem import END, START, TemplateProblem

if TYPE_CHECKING:
    from kerora.models.chat_sandbox import Sandbox

NO_TEMPLATE = "none"
"""Value of ``--chat-template`` that leaves the template of a model out."""
THOUGHT = "</think>"
Message = Mapping[str, Any]


class ChatTemplate:
    """A chat template with the special tokens that it names.

    Args:
        source: the Jinja source.
        tokens: ``bos_token``, ``eos_token`` and so on, as text.
        origin: where it comes from, for messages.
    """

    def __init__(self, source: str, tokens: Mapping[str, str], origin: str) -> None:
        self.source = source
        self.tokens = dict(tokens)
        self.origin = origin
        # The budget of a rendering belongs to the compiled template.
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """Text that changes with everything that affects the rendered text."""
        # A template that writes the date writes another text every day.
        today = str(date.today()) if "strftime_now" in self.source else ""
        parts = [self.source, today, *(f"{name}={token}" for name, token in sorted(self.tokens.items()))]
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def compile(self) -> None:
        """Check that the template is Jinja.

        Raises:
            PresetError: it is not.
        """
        _ = self._sandbox

    @property
    def marks(self) -> bool:
        """Whether the template marks what the assistant says with ``{% generation %}``."""
        return self._sandbox.has_marks

    @cached_property
    def _sandbox(self) -> "Sandbox":
        # here, because it loads Jinja, which only conversations need
        from kerora.models.chat_sandbox import Sandbox

        try:
            return Sandbox(self.source)
        except TemplateProblem as problem:
            raise PresetError(
                f"The chat template of {self.origin} cannot be used: {problem}. Give another one with --chat-template "
                f"FILE, or --chat-template {NO_TEMPLATE}."
            ) from problem

    def render(self, messages: Sequence[Message], *, prompt: bool = False) -> str:
        """Return the text of a conversation, as ``apply_chat_template`` of transformers writes it.

        Args:
            messages: the turns with ``role`` and ``content``.
            prompt: whether the text ends with the beginning of the assistant's next turn. Default: False.

        Raises:
            TemplateProblem: the template refuses the conversation, or leaves a turn of it out.
            PresetError: the template is no Jinja.
        """
        text = self._render(messages, prompt).replace(START, "").replace(END, "")
        _check_complete(text, messages)
        return text

    def spans(self, messages: Sequence[Message], learnt: Sequence[bool]) -> tuple[str, list[tuple[int, int]]]:
        """Return the text of a conversation and the characters that the loss counts, as (start, end).

        With ``{% generation %}`` in the template these are the marked characters. Without it, a turn is what the text
        up to the turn has more than the text before the turn with the beginning of an answer.

        Args:
            messages: the turns.
            learnt: for each turn, whether the loss counts it. It is ignored if the template has marks.

        Raises:
            TemplateProblem: the template refuses the conversation, leaves a turn out, or has neither marks nor the
                turns in order.
        """
        if self.marks:
            return self._marked(messages)
        text = self.render(messages)
        wanted = [number for number, counts in enumerate(learnt) if counts]
        return text, [self._turn(text, messages, number) for number in wanted]

    def _marked(self, messages: Sequence[Message]) -> tuple[str, list[tuple[int, int]]]:
        pieces, found, place = [], [], 0
        for number, piece in enumerate(self._render(messages, False).split(START)):
            inside, _, after = piece.partition(END) if number else ("", "", piece)
            if inside:
                found.append((place, place + len(inside)))
            pieces += [inside, after]
            place += len(inside) + len(after)
        text = "".join(pieces)
        _check_complete(text, messages)
        if not found:
            raise TemplateProblem("it marks nothing of the conversation as generated")
        return text, found

    def _turn(self, text: str, messages: Sequence[Message], number: int) -> tuple[int, int]:
        """Return start and end of a turn in the text of the whole conversation."""
        until = text if number + 1 == len(messages) else self._plain(messages[: number + 1])
        start = self._start(until, messages, number)
        if not text.startswith(until[:start]):
            raise _no_prefix(number)
        if text.startswith(until):
            return start, len(until)
        # Some templates write a turn in another way if turns follow, such as without its thoughts or its end token.
        said = next((said for said in _forms(messages[number]) if said and said in text[start:]), None)
        if said is None or said not in until[start:]:
            raise _no_prefix(number)
        end = text.index(said, start) + len(said)
        ending = until[until.rindex(said) + len(said) :]
        return start, end + _common(ending, text[end:])

    def _start(self, until: str, messages: Sequence[Message], number: int) -> int:
        before = ""
        if number:
            before = self._plain(messages[:number], prompt=True)
        if until.startswith(before) and before:
            return len(before)
        # The beginning of an answer can hold more than a finished answer, such as an open thought.
        plain = self._plain(messages[:number]) if number else ""
        if until.startswith(plain):
            common = _common(before, until)
            said = next((said for said in _forms(messages[number]) if said and said in until[len(plain) :]), None)
            place = until.index(said, len(plain)) if said else len(until)
            return max(len(plain), min(common, place)) if before else place
        raise _no_prefix(number)

    def _plain(self, messages: Sequence[Message], prompt: bool = False) -> str:
        return self._render(messages, prompt).replace(START, "").replace(END, "")

    def _render(self, messages: Sequence[Message], prompt: bool) -> str:
        for number, message in enumerate(messages, 1):
            if any(sign in str(value) for value in message.values() for sign in (START, END)):
                raise TemplateProblem(f"turn {number} holds the private characters that mark what is learnt")
        values: dict[str, Any] = {**self.tokens, "messages": [_with_thoughts(message) for message in messages]}
        values |= {"tools": None, "documents": None, "add_generation_prompt": prompt}
        sandbox = self._sandbox
        with self._lock:
            return sandbox.render(values)


def _with_thoughts(message: Message) -> dict[str, Any]:
    """Return a message with its reasoning under every name that templates read, as transformers does."""
    names = ("reasoning_content", "thinking", "reasoning")
    thoughts = next((message[name] for name in names if message.get(name) is not None), None)
    return dict(message) if thoughts is None else {"thinking": thoughts, **message, "reasoning_content": thoughts}


def _forms(message: Message) -> Iterator[str]:
    """Yield the forms in which a template can write the text of a message."""
    content = str(message.get("content") or "")
    answer = content.rpartition(THOUGHT)[2]
    yield from dict.fromkeys((content, content.strip(), answer.strip()))


def _check_complete(text: str, messages: Sequence[Message]) -> None:
    """Check that the text holds every turn. A template can pass over a role that it does not know."""
    letters = None
    for number, message in enumerate(messages, 1):
        if any(form in text for form in _forms(message) if form or not message.get("content")):
            continue
        # A template may escape the text, such as that of a tool. Its letters and digits stay.
        letters = _letters(text) if letters is None else letters
        answer = list(_forms(message))[-1]
        if not all(word in letters for word in (_letters(line) for line in answer.splitlines())):
            raise TemplateProblem(f"it leaves out turn {number}, of the role '{message.get('role')!s:.40}'")


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def _common(first: str, second: str) -> int:
    """Return how many characters two texts have in common at their start."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(first), len(second)))


def _no_prefix(number: int) -> TemplateProblem:
    return TemplateProblem(
        f"turn {number + 1} of the assistant does not follow the text before it unchanged, and the template does not "
        "mark it with {% generation %}"
    )
