"""Trains WordPiece vocabularies, with the normaliser of the package's tokenizers, and byte-pair vocabularies."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, WordPiece
from tokenizers.trainers import BpeTrainer, WordPieceTrainer

from kerora.errors import ConfigError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
INSIDE = "##"
LEAST_OCCURRENCES = 2
ALPHABET_SHARE = 10
"""At most one piece in this many is a single character."""

END_OF_TEXT = "<|endoftext|>"

Lines = Callable[[], Iterable[str]]


def train_byte_pairs(lines: Lines, size: int) -> Tokenizer:
    """Train a byte-level byte-pair vocabulary like that of GPT-2 (Radford et al. 2019).

    The end-of-text token is the first token.

    Args:
        lines: returns the text each time it is called.
        size: number of tokens, including the 256 bytes and the end-of-text token.

    Raises:
        ConfigError: the size is too small for the bytes, or the text supports fewer tokens.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if size <= len(alphabet):
        raise ConfigError(
            f"--vocabulary-size must be above {len(alphabet)}, the number of byte values. Received: {size}"
        )
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(alphabet),  # the library returns the bytes in a random order
        min_frequency=LEAST_OCCURRENCES,
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines(), trainer)
    # the trainer stops without an error if no pair occurs often enough
    found = tokenizer.get_vocab_size()
    if found < size:
        raise ConfigError(
            f"The text supports {found:,} tokens, not {size:,}. Lower --vocabulary-size or give more text."
        )
    return tokenizer


def train_wordpiece(lines: Lines, size: int) -> list[str]:
    """Train an uncased vocabulary without accents. It includes every printable ASCII character.

    Pieces are merged from characters by frequency, like those of BERT (Schuster and Nakajima 2012). A piece must
    occur at least twice. The same text gives the same vocabulary.

    Args:
        lines: returns the text each time it is called.
        size: number of pieces, including special tokens.

    Returns:
        The pieces by id. Special tokens come first.

    Raises:
        ConfigError: the text supports fewer pieces, or its characters alone need more.
    """
    alphabet = _alphabet(lines(), size)
    # The library numbers the characters inside words in a random order and breaks ties by these numbers. So they are
    # passed as special tokens, which are numbered in the given order.
    inside = sorted(piece for piece in _train(lines(), 0, SPECIAL_TOKENS, alphabet) if piece[:2] == INSIDE)
    pieces = _train(lines(), size, (*SPECIAL_TOKENS, *inside), alphabet)
    if len(pieces) < size:
        raise ConfigError(
            f"The text supports a vocabulary of at most {len(pieces):,} pieces, not {size:,}. "
            "Lower --vocabulary-size or give more text."
        )
    if len(pieces) > size:
        raise ConfigError(
            f"A vocabulary of {size:,} pieces is too small: the characters alone need {len(pieces):,}. "
            "Raise --vocabulary-size."
        )
    return pieces


def _alphabet(lines: Iterable[str], size: int) -> list[str]:
    """Return the printable ASCII characters and the most frequent others."""
    normalizer = _normalizer()
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(normalizer.normalize_str(line))
    # upper case is left out, because the normaliser lowers it
    ascii_characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    others = [character for character in counts if not character.isspace() and character not in ascii_characters]
    # ties by character, so that the same text gives the same vocabulary
    others.sort(key=lambda character: (-counts[character], character))
    room = max(0, size // ALPHABET_SHARE - len(ascii_characters))
    return sorted([*ascii_characters, *others[:room]])


def _train(lines: Iterable[str], size: int, special: Sequence[str], alphabet: Sequence[str]) -> list[str]:
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = WordPieceTrainer(
        vocab_size=size,
        min_frequency=LEAST_OCCURRENCES,
        special_tokens=list(special),
        initial_alphabet=list(alphabet),
        limit_alphabet=len(alphabet),  # no other character enters: rare ones become [UNK]
        continuing_subword_prefix=INSIDE,
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    ids = tokenizer.get_vocab()  # a dict without order
    return sorted(ids, key=lambda piece: ids[piece])


def _normalizer() -> normalizers.BertNormalizer:
    return normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
