"""Converts text to token ids with the Rust library `tokenizers`. The ids equal those of Hugging Face tokenizers."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from kerora.data.documents import Part, messages_of
from kerora.data.tokens import Line, TokenTable
from kerora.errors import ConfigError, DataError, PresetError
from kerora.models.chat_problem import TemplateProblem
from kerora.models.chat_template import ChatTemplate
from kerora.settings.base import is_table, shown

MASK_TOKENS = ("[MASK]", "<mask>")
CHUNK_ROWS, CHUNK_CHARACTERS = 2_048, 2_000_000
"""Rows and characters encoded at a time. The library holds all tokens of a text in memory before it truncates them."""
PIECE_CHARACTERS, CHECKED_CHARACTERS = 100_000, 200
"""A text of more characters is encoded in pieces. The characters around a cut are encoded joined and apart to check it.

The library takes 100 bytes of memory for each character.
"""

# If this is not set, the library warns in a forked child process and stops working in parallel. The threads do not
# exist in a child, so it must be off there.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: os.environ.__setitem__("TOKENIZERS_PARALLELISM", "false"))


class TextTokenizer:
    """Converts texts and pairs of texts to ids, with the special tokens of the model.

    Args:
        tokenizer: tokenizer with normalizer, pre-tokenizer and post-processor (special tokens).
        pad_id: id of the padding.
        uses_segments: whether the model takes segment ids.
        end_id: id of the end-of-text token, or None if the model has none.
        truncation_side: side on which the files of the tokenizer say that long texts are cut, left or right. None
            takes it from `tokenizer`, as transformers does. Default: right.

    Attributes:
        own_side: the side that the files say.
        truncation_side: the side on which `encode` cuts long texts. Default: `own_side`.
        end_ids: ids of all tokens that end a text.
        chat: how conversations are written. Default: None, the end-of-text token ends each turn.
        special_names: special tokens as chat templates name them, such as ``eos_token``.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        pad_id: int,
        uses_segments: bool,
        end_id: int | None = None,
        truncation_side: str | None = None,
    ) -> None:
        held = (tokenizer.truncation or {}).get("direction", "right")
        self.own_side = "left" if str(truncation_side or held).lower() == "left" else "right"
        self.truncation_side = self.own_side
        tokenizer.no_truncation()
        # A tokenizer.json may set both. Batches are padded later, each to its longest row.
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.pad_id = pad_id
        self.uses_segments = uses_segments
        self.end_id = end_id
        self.end_ids: frozenset[int] = frozenset() if end_id is None else frozenset({end_id})
        self.chat: ChatTemplate | None = None
        self.special_names: Mapping[str, str] = {}

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, including special and added tokens."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @property
    def fingerprint(self) -> str:
        """Text that depends on everything that affects the ids: a sha256, and the side of truncation if it is left."""
        return self._definition_hash + ("-left" if self.truncation_side == "left" else "")

    @cached_property
    def _definition_hash(self) -> str:
        self._tokenizer.no_truncation()
        # `to_str` would include the truncation that `encode` sets.
        definition = f"{self.pad_id} {self.uses_segments} {self._tokenizer.to_str()}"
        return hashlib.sha256(definition.encode("utf-8", "surrogatepass")).hexdigest()

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_length: int) -> TokenTable:
        """Encode texts, or pairs of texts, with the special tokens of the model, such as ``[CLS] text [SEP]``.

        Args:
            texts: the texts; for pairs the first texts.
            pairs: the second texts, as many as `texts`, or None.
            max_length: longest row in tokens, with special tokens. The longer text of a pair is truncated first.
        """
        texts, pairs = self._starts(texts, max_length), None if pairs is None else self._starts(pairs, max_length)
        # The library keeps this setting, so the other methods turn it off.
        self._tokenizer.enable_truncation(max_length, strategy="longest_first", direction=self.truncation_side)
        ids: list[np.ndarray] = []
        segments: list[np.ndarray] = []
        offsets = np.zeros(len(texts) + 1, np.int64)
        for number, encoding in enumerate(self._encodings(texts, pairs), start=1):
            ids.append(np.array(encoding.ids, np.int32))
            offsets[number] = offsets[number - 1] + len(ids[-1])
            if self.uses_segments:
                segments.append(np.array(encoding.type_ids, np.uint8))
        kinds = _join(segments, np.uint8) if self.uses_segments else None
        return TokenTable(_join(ids, np.int32), offsets, kinds, max_length)

    def lengths(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[int]:
        """Return the number of tokens of each row with special tokens and without truncation."""
        self._tokenizer.no_truncation()
        return [len(encoding) for encoding in self._encodings(texts, pairs)]

    def measure(self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int) -> tuple[Any, Any]:
        """Return the number of tokens of each row, as `lengths`, and how many of them are cut at `max_length`."""
        lengths = np.array(self.lengths(texts, pairs), np.int64)
        return lengths, np.maximum(lengths - max_length, 0)

    def contents(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield the ids of each text without special tokens, int32. A long text is encoded in pieces."""
        self._tokenizer.no_truncation()
        for chunk in _chunks(map(_without_surrogates, texts)):
            short = [text for text in chunk if len(text) <= PIECE_CHARACTERS]
            encoded = iter(self._plain(short))
            for text in chunk:
                yield next(encoded) if len(text) <= PIECE_CHARACTERS else self._long(text)

    def _plain(self, texts: list[str]) -> list[np.ndarray]:
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, np.int32) for encoding in encodings]

    def _long(self, text: str) -> np.ndarray:
        parts, start = [], 0
        while start < len(text):
            end = self._cut(text, start)
            parts += self._plain([text[start:end]])
            start = end
        return _join(parts, np.int32)

    def _starts(self, texts: Sequence[str], max_length: int) -> Sequence[str]:
        """Return texts without the end that a cut to `max_length` removes, so that it takes no memory."""
        if self.truncation_side == "left" or all(len(text) <= PIECE_CHARACTERS for text in texts):
            return texts
        self._tokenizer.no_truncation()
        return [text if len(text) <= PIECE_CHARACTERS else self._start(text, max_length) for text in texts]

    def _start(self, text: str, max_length: int) -> str:
        text, end, tokens = _without_surrogates(text), 0, 0
        while end < len(text) and tokens < max_length:
            start, end = end, self._cut(text, end)
            tokens += len(self._plain([text[start:end]])[0])
        return text[:end]

    def _cut(self, text: str, start: int) -> int:
        """Return where a piece ends: before a space at which the tokens of both sides do not depend on each other."""
        place = start + PIECE_CHARACTERS
        while place < len(text):
            place = text.find(" ", place)
            if place < 0:
                break
            low, high = place - CHECKED_CHARACTERS, place + CHECKED_CHARACTERS
            both, left, right = self._plain([text[low:high], text[low:place], text[place:high]])
            if np.array_equal(both, np.concatenate([left, right])):
                return place
            place += CHECKED_CHARACTERS
        return len(text)

    def frame(self, is_pair: bool) -> tuple[list[int], list[int | None], list[int]]:
        """Return how special tokens lie around a text, or around the two texts of a pair.

        Returns:
            For each token of the frame its id, the text (0 or 1) that stands in its place or None for a special token,
            and its segment.
        """
        self._tokenizer.no_truncation()
        encoding = self._tokenizer.encode("a", "a") if is_pair else self._tokenizer.encode("a")
        texts = list(encoding.sequence_ids)
        # A letter can be several tokens. One place stands for all tokens of a text.
        kept = [place for place, text in enumerate(texts) if text is None or text not in texts[:place]]
        ids, segments = encoding.ids, encoding.type_ids
        return [ids[place] for place in kept], [texts[place] for place in kept], [segments[place] for place in kept]

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """The tokens by id, including special and added tokens."""
        # Ids may have gaps.
        return tuple(self._tokenizer.id_to_token(number) or "" for number in range(self.vocabulary_size))

    @property
    def wrapping(self) -> tuple[int, int]:
        """Ids of the special tokens at the start and the end of a row."""
        self._tokenizer.no_truncation()
        ids = self._tokenizer.encode("").ids
        return ids[0], ids[-1]

    @property
    def mask_id(self) -> int | None:
        """Id of the mask token, or None if the vocabulary has none."""
        found = (self._tokenizer.token_to_id(token) for token in MASK_TOKENS)
        return next((number for number in found if number is not None), None)

    @cached_property
    def unknown_id(self) -> int | None:
        """Id of the token for unknown text, or None if the vocabulary covers every text."""
        model = self.definition["model"]
        unknown = model.get("unk_token")
        if unknown is not None:
            return self._tokenizer.token_to_id(unknown)
        return model.get("unk_id")

    @cached_property
    def special(self) -> np.ndarray:
        """Whether a token is special, bool (tokens,). The token for unknown text is special too."""
        flags = np.zeros(self.vocabulary_size, bool)
        added = self._tokenizer.get_added_tokens_decoder()
        # Not every added token is special: some are words that must not be split.
        flags[[number for number, token in added.items() if token.special]] = True
        unknown = self.definition["model"].get("unk_token")
        if unknown is not None:
            flags[self._tokenizer.token_to_id(unknown)] = True
        return flags

    @cached_property
    def word_starts(self) -> np.ndarray:
        """Whether a token starts a word, bool (tokens,). Other tokens continue a word."""
        model = self.definition["model"]
        if model["type"] == "WordPiece":
            inner = model.get("continuing_subword_prefix", "##")
            return np.array([not piece.startswith(inner) for piece in self.pieces])
        return np.array([piece.startswith(("Ġ", "▁")) for piece in self.pieces])

    @property
    def definition(self) -> dict[str, Any]:
        """The content of the tokenizer.json that `tokenizers` writes for this tokenizer."""
        definition: dict[str, Any] = json.loads(self._tokenizer.to_str())
        return definition

    @property
    def start_ids(self) -> tuple[int, ...]:
        """Ids of the tokens before a text: none for GPT-2, the start token for Llama."""
        self._tokenizer.no_truncation()
        ids = self._tokenizer.encode("").ids
        # A tokenizer can also add the end-of-text token after a text.
        return tuple(number for number in ids if number != self.end_id)

    def plain_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenize texts without special tokens around them."""
        self._tokenizer.no_truncation()
        result: list[list[int]] = []
        for chunk in _chunks(map(_without_surrogates, texts)):
            result += [encoding.ids for encoding in self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False)]
        return result

    @property
    def chat_fingerprint(self) -> str | None:
        """Text that identifies the chat template. None if there is none."""
        return None if self.chat is None else self.chat.fingerprint

    def conversation(self, turns: Sequence[Part], identifier: str = "") -> tuple[list[int], list[int]]:
        """Return the tokens of a conversation in the chat template, and for each 1 if the loss counts it, else 0.

        Args:
            turns: the turns.
            identifier: names the conversation in messages.

        Raises:
            DataError: the template refuses the conversation.
        """
        learnt = [turn.counted for turn in turns]
        text, spans = self._written(turns, identifier, lambda chat: chat.spans(messages_of(turns), learnt))
        counted = [0] * len(encoding := self._whole(text))
        for number, (_, end) in enumerate(encoding.offsets):
            # A token across the start of a turn is predicted there. One across its end begins the next turn.
            counted[number] = int(any(first < end <= last for first, last in spans))
        return encoding.ids, counted

    def chat_prompt(self, turns: Sequence[Part]) -> list[int]:
        """Return the tokens of a conversation in the chat template, up to the text of the assistant's next turn.

        Raises:
            DataError: the template refuses the conversation.
        """
        text = self._written(turns, "", lambda chat: chat.render(messages_of(turns), prompt=True))
        return list(self._whole(text).ids)

    def text_ends(self) -> frozenset[int]:
        """Return the ids of the tokens that end a generated text: `end_ids`, and what ends a turn in the template."""
        said = "0"
        if self.chat is None:
            return self.end_ids
        try:
            text = self.chat.render([{"role": "user", "content": "?"}, {"role": "assistant", "content": said}])
        except (TemplateProblem, PresetError):
            return self.end_ids  # whoever writes a conversation gets the error
        after = [number for number in self._whole(text[text.rindex(said) :]).ids if self.special[number]]
        return self.end_ids | frozenset(after[:1])

    def _written(self, turns: Sequence[Part], identifier: str, write: Callable[[ChatTemplate], Any]) -> Any:
        assert self.chat is not None
        try:
            return write(self.chat)
        except TemplateProblem as problem:
            name = f"the conversation '{identifier:.60}'" if identifier else "this conversation"
            raise DataError(
                f"The chat template of {self.chat.origin} cannot write {name}: {problem}. Change the conversation, or "
                f"give another template with --chat-template FILE."
            ) from problem

    def _whole(self, text: str) -> Encoding:
        """Tokenize the text of a chat template, which holds its special tokens itself."""
        self._tokenizer.no_truncation()
        return self._tokenizer.encode(_without_surrogates(text), add_special_tokens=False)

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Return the text of token ids. Bytes that do not form a whole character become U+FFFD."""
        return str(self._tokenizer.decode([int(number) for number in ids], skip_special_tokens=skip_special))

    def byte_length(self, number: int) -> int:
        """Return the number of bytes of text that a token stands for, or 0 for a special token."""
        if self.special[number]:
            return 0
        piece = self.pieces[number]
        if self.is_byte_level:
            return len(piece)  # The vocabulary writes each byte as one character.
        # Pieces such as <0x0A> stand for one byte of a character that the vocabulary lacks.
        return 1 if re.fullmatch("<0x[0-9A-F]{2}>", piece) else len(piece.replace("▁", " ").encode())

    @property
    def is_byte_level(self) -> bool:
        """Whether the vocabulary is byte-level: it writes each byte of text as one printable character."""
        return "ByteLevel" in json.dumps(self.definition["decoder"])

    def encode_lines(self, lines: Sequence[str]) -> Iterator[Line]:
        """Tokenize lines without special tokens. If spaces are part of words (BPE), a space is put before each line."""
        self._tokenizer.no_truncation()
        if self.definition["model"]["type"] == "BPE":
            lines = [f" {line}" for line in lines]
        for chunk in _chunks(map(_without_surrogates, lines)):
            # `encode_batch_fast` gives no offsets.
            encodings = self._tokenizer.encode_batch(chunk, add_special_tokens=False)
            for line, encoding in zip(chunk, encodings, strict=True):
                yield Line(line, encoding.ids, encoding.offsets)

    def _encodings(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Iterator[Encoding]:
        items: Iterable[Any] = texts if pairs is None else zip(texts, pairs, strict=True)
        for chunk in _chunks(items):
            try:
                yield from self._tokenizer.encode_batch_fast(chunk)
            except (UnicodeEncodeError, TypeError):  # An unpaired surrogate, such as "\ud83d" in JSON.
                yield from self._tokenizer.encode_batch_fast([_without_surrogates(item) for item in chunk])


def checked_texts(texts: Any, name: str = "texts") -> list[str]:
    """Return texts as a list. A single string is one text. Bytes are UTF-8.

    Raises:
        ConfigError: the value is a table, a dict, or holds something other than text.
    """
    if isinstance(texts, str | bytes):
        texts = [texts]
    if isinstance(texts, Mapping) or is_table(texts) or not isinstance(texts, Iterable):
        raise ConfigError(
            f"{name} must be texts. Received: {shown(texts)}. Give a list of strings, or one column of a table."
        )
    values = texts.to_pylist() if hasattr(texts, "to_pylist") else texts
    found = [_decoded(value, number) if isinstance(value, bytes) else value for number, value in enumerate(values)]
    wrong = next((number for number, text in enumerate(found) if not isinstance(text, str)), None)
    if wrong is not None:
        raise ConfigError(f"{name} must be texts. Received: {shown(found[wrong])} at position {wrong}.")
    return found


def _decoded(text: bytes, number: int) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"The text at position {number} is not UTF-8: {shown(text)}. Decode it.") from error


def checked_pairs(texts: Any, pairs: Any) -> tuple[list[str], list[str] | None]:
    """Return texts and, if there are any, the second texts of pairs; see `checked_texts`.

    Raises:
        ConfigError: see `checked_texts`, or the two numbers of texts differ.
    """
    first, second = checked_texts(texts), None if pairs is None else checked_texts(pairs, "pairs")
    if second is not None and len(first) != len(second):
        raise ConfigError(f"texts and pairs must be equally many. Received: {len(first)} and {len(second)}")
    return first, second


def _chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    characters = 0
    for item in items:
        chunk.append(item)
        characters += len(item) if isinstance(item, str) else sum(map(len, item))
        if len(chunk) >= CHUNK_ROWS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _join(arrays: list[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype)


def _without_surrogates(item: Any) -> Any:
    if isinstance(item, tuple):
        return tuple(_without_surrogates(text) for text in item)
    # UTF-16 joins pairs of surrogates to a character. Only a single one becomes U+FFFD.
    return item.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
