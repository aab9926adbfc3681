"""Builds tokenizers of decoders, equal to those of transformers, from the vocabulary files of Keras presets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Llama 3 takes digits in groups of up to three, Qwen one at a time.
LLAMA_SPLIT = _WORDS + r"\p{N}{1,3}" + _REST
QWEN_SPLIT = _WORDS + r"\p{N}" + _REST


@dataclass(frozen=True)
class DecoderTokens:
    """Facts about the tokenizer of a decoder that the files of KerasHub do not hold.

    Attributes:
        end: the end-of-text token.
        start: the token before a text, or "" for none.
        pad: the padding token, or "" for none.
        split: pattern that splits text before byte pairs are joined; None if the vocabulary is a SentencePiece model.
    """

    end: str
    start: str = ""
    pad: str = ""
    split: str | None = None

    @property
    def roles(self) -> dict[str, str]:
        """The tokens by role."""
        return {"bos": self.start, "eos": self.end, "unk": "", "pad": self.pad}


DECODER_TOKENIZERS: dict[str, DecoderTokens] = {
    "Llama3Tokenizer": DecoderTokens("<|end_of_text|>", "<|begin_of_text|>", split=LLAMA_SPLIT),
    "LlamaTokenizer": DecoderTokens("</s>", "<s>"),
    "QwenTokenizer": DecoderTokens("<|endoftext|>", split=QWEN_SPLIT),
    "Qwen3Tokenizer": DecoderTokens("<|im_end|>", pad="<|endoftext|>", split=QWEN_SPLIT),
    "GemmaTokenizer": DecoderTokens("<eos>", "<bos>", "<pad>"),
    "Gemma3Tokenizer": DecoderTokens("<eos>", "<bos>", "<pad>"),
    "MistralTokenizer": DecoderTokens("</s>", "<s>"),
    "Phi3Tokenizer": DecoderTokens("<|endoftext|>", "<s>"),
    "SmolLM3Tokenizer": DecoderTokens("<|end_of_text|>", split=LLAMA_SPLIT),
}
"""By the name of the tokenizer class in KerasHub."""


def split_byte_pairs(vocabulary: Path, merges: Path, split: str) -> Tokenizer:
    """Build a byte-level byte-pair tokenizer that splits text by a pattern first, as Llama 3 and Qwen do."""
    # Llama 3 takes a word that is in the vocabulary whole, without the merges.
    pairs = BPE.from_file(str(vocabulary), str(merges), ignore_merges=split == LLAMA_SPLIT)
    tokenizer = Tokenizer(pairs)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            # `Split` has divided the text. The pattern of GPT-2 must not divide it again.
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def sentencepiece_decoder(proto: Any) -> Tokenizer:
    """Build the tokenizer of Llama 2, Mistral, Phi-3 and Gemma from their SentencePiece model.

    Args:
        proto: the model, parsed: byte pairs or Unigram pieces, with bytes for unknown characters.
    """
    # Ids are the positions of the pieces in the model.
    scores = {piece.piece: piece.score for piece in proto.pieces}
    numbers = {piece.piece: number for number, piece in enumerate(proto.pieces)}
    unknown = proto.pieces[proto.trainer_spec.unk_id].piece
    if proto.trainer_spec.model_type == proto.trainer_spec.BPE:
        merges = _merges(numbers, scores)
        model: Any = BPE(numbers, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    else:
        model = Unigram(list(scores.items()), unk_id=proto.trainer_spec.unk_id, byte_fallback=True)
    tokenizer = Tokenizer(model)
    # SentencePiece writes a space as ▁. With a dummy prefix there is one at the start of a text too.
    prefixed = proto.normalizer_spec.add_dummy_prefix
    steps: list[Any] = [normalizers.Prepend("▁")] if prefixed else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    # Strip removes the space that the dummy prefix put before the text.
    reading: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*reading, *([decoders.Strip(" ", 1, 0)] if prefixed else [])])
    return tokenizer


def start_template(tokenizer: Tokenizer, start: str) -> Any:
    """Return the post-processor that puts a start token before a text, or None if there is no such token."""
    number = tokenizer.token_to_id(start) if start else None
    if number is None:
        return None
    return processors.TemplateProcessing(
        single=f"{start}:0 $A:0", pair=f"{start}:0 $A:0 {start}:1 $B:1", special_tokens=[(start, number)]
    )


def _merges(numbers: Mapping[str, int], scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return every pair of pieces whose concatenation is a piece too. Pieces of the highest score come first.

    A SentencePiece model stores no merges, but the scores of its byte pairs give their order.
    """
    found: list[tuple[str, str, float]] = []
    for piece, score in scores.items():
        halves: Sequence[tuple[str, str]] = [
            (piece[:place], piece[place:])
            for place in range(1, len(piece))
            if piece[:place] in numbers and piece[place:] in numbers
        ]
        # transformers orders merges of equal scores in the same way. Another order gives other tokens.
        ordered = sorted(halves, key=lambda pair: (numbers[pair[0]], numbers[pair[1]]))
        found += [(*pair, score) for pair in ordered]
    found.sort(key=lambda merge: (merge[2], len(merge[0]), len(merge[1])), reverse=True)
    return [(left, right) for left, right, _ in found]
