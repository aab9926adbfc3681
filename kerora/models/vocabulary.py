"""Trains a WordPiece vocabulary, with the normaliser that the package's WordPiece tokenizers have."""

from collections.abc import Iterable

from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

from kerora.errors import ConfigError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LEAST_OCCURRENCES = 2
ALPHABET_SHARE = 10
"""One piece in so many may be a single character."""


def train_wordpiece(lines: Iterable[str], size: int) -> list[str]:
    """Train an uncased vocabulary without accents; every printable ASCII character is in it.

    Pieces are merged by frequency from characters, as BERT's were (Schuster and Nakajima 2012); a piece
    that occurs once is not taken.

    Args:
        lines: the text.
        size: number of pieces, special tokens included.

    Returns:
        The pieces by id; special tokens first.

    Raises:
        ConfigError: the text supports fewer pieces.
    """
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ascii_characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    trainer = WordPieceTrainer(
        vocab_size=size,
        min_frequency=LEAST_OCCURRENCES,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=ascii_characters,
        limit_alphabet=max(len(ascii_characters), size // ALPHABET_SHARE),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    ids = tokenizer.get_vocab()
    if len(ids) < size:
        raise ConfigError(
            f"The text supports a vocabulary of {len(ids):,} pieces at most, not {size:,}. "
            "Lower --vocabulary-size or give more text."
        )
    if len(ids) > size:
        raise ConfigError(
            f"A vocabulary of {size:,} pieces is too small: the characters alone need {len(ids):,}. "
            "Raise --vocabulary-size."
        )
    return sorted(ids, key=lambda piece: ids[piece])
