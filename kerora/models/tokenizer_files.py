"""Builds tokenizers from the vocabulary files of Hugging Face and Keras preset folders.

A Hugging Face tokenizer.json holds the whole tokenizer and is used unchanged. Older files hold only a vocabulary. The
other steps are then the same as in transformers 5. The tokenizers of KerasHub differ from these steps in accents and in
the split of GPT-2's byte-pair encoding. The vocabulary of a Keras preset therefore also gets the Hugging Face steps,
because the models were trained with them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordPiece

from kerora.errors import PresetError
from kerora.models.architectures import Architecture
from kerora.models.chat_files import generation_ends, with_template
from kerora.models.decoder_tokenizers import (
    DECODER_TOKENIZERS,
    sentencepiece_decoder,
    split_byte_pairs,
    start_template,
)
from kerora.models.keras_classes import class_name
from kerora.models.tokenizer import TextTokenizer

TOKENIZER_FILE = "tokenizer.json"
KERAS_ASSETS = Path("assets", "tokenizer")
HUGGING_FACE_FILES = (
    TOKENIZER_FILE,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
"""Every file of a Hugging Face folder that can affect the tokens."""

# Types of pieces in the protocol buffer of SentencePiece.
_CONTROL, _USER_DEFINED = 3, 4
_ROBERTA_STYLE = ("RobertaTokenizer", "XLMRobertaTokenizer")
_BYTE_PAIRS = ("RobertaTokenizer", "GPT2Tokenizer")
_WORD_PIECES = ("DistilBertTokenizer", "BertTokenizer", "ElectraTokenizer")


@dataclass
class Settings:
    """The settings that a tokenizer needs in addition to its vocabulary.

    Attributes:
        tokens: special tokens by role: cls, sep, unk, pad, mask; for decoders bos, eos, unk, pad ("" for none).
        options: values of tokenizer_config.json such as ``do_lower_case``.
        added: tokens in addition to the vocabulary. They must not be split.
        doubled_separator: whether two separators join a pair, as in RoBERTa.
        starts: whether the bos token, if there is one, stands before a text.
    """

    tokens: dict[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    added: list[AddedToken] = field(default_factory=list)
    doubled_separator: bool = False
    starts: bool = False

    def never_split(self, tokenizer: Tokenizer) -> list[AddedToken]:
        """Return the added tokens and the special tokens that the vocabulary holds, each once."""
        added = {token.content for token in self.added}
        special = [token for token in dict.fromkeys(self.tokens.values()) if token not in added]
        known = [token for token in special if tokenizer.token_to_id(token) is not None]
        return [*self.added, *(AddedToken(token, special=True) for token in known)]


def huggingface_tokenizer(directory: Path, architecture: Architecture) -> TextTokenizer:
    """Build the tokenizer of a Hugging Face model folder.

    Raises:
        PresetError: the folder holds no vocabulary, or a damaged one.
    """
    settings = _huggingface_settings(directory, architecture)
    complete = (directory / TOKENIZER_FILE).is_file()
    path = next((directory / name for name in HUGGING_FACE_FILES if (directory / name).is_file()), directory)
    try:
        if complete:
            tokenizer = Tokenizer.from_file(str(directory / TOKENIZER_FILE))
        elif (directory / "vocab.txt").is_file():
            tokenizer = wordpiece(directory / "vocab.txt", settings)
        elif (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file():
            tokenizer = byte_pairs(directory / "vocab.json", directory / "merges.txt", settings)
        else:
            tokenizer = _huggingface_sentencepiece(directory, architecture, settings)
    # Its message is already complete.
    except PresetError:
        raise
    except Exception as error:  # the Rust library raises bare Exception
        raise _damaged(path, error) from error
    finished = _finish(tokenizer, settings, architecture.segments, complete)
    finished.end_ids |= generation_ends(directory, finished.vocabulary_size)
    return with_template(finished, directory, settings.options, settings.tokens)


def keras_tokenizer(directory: Path, architecture: Architecture) -> TextTokenizer:
    """Build the tokenizer of a Keras preset folder.

    With an uncased WordPiece vocabulary accents are removed, as in the tokenizer of BERT. The ``strip_accents`` of the
    preset is ignored.

    Raises:
        PresetError: the folder holds no vocabulary, or a damaged one.
    """
    config = _read_json(directory / TOKENIZER_FILE)
    assets = directory / KERAS_ASSETS
    name = class_name(config)
    files = [assets / file for file in keras_vocabulary(directory)]
    # Equal for a tokenizer with one file, which needs no merges.
    vocabulary, merges = files[0], files[-1]
    given = config.get("config")
    settings = Settings(
        _default_tokens(name),
        _keras_options(given if isinstance(given, dict) else {}),
        doubled_separator=name in _ROBERTA_STYLE,
        starts=name in DECODER_TOKENIZERS,
    )
    try:
        split = DECODER_TOKENIZERS[name].split if name in DECODER_TOKENIZERS else None
        if split is not None:
            tokenizer = split_byte_pairs(vocabulary, merges, split)
        elif name in DECODER_TOKENIZERS:
            tokenizer = decoder_pieces(vocabulary, settings)
        elif name in _BYTE_PAIRS:
            tokenizer = byte_pairs(vocabulary, merges, settings)
        elif name in _SENTENCEPIECE:
            tokenizer = _SENTENCEPIECE[name](vocabulary, settings)
        else:
            # WordPiece of KerasHub keeps case by default, that of transformers does not.
            settings.options = {"do_lower_case": False, **settings.options}
            settings.tokens = {**settings.tokens, "unk": settings.options.get("oov_token", settings.tokens["unk"])}
            tokenizer = wordpiece(vocabulary, settings)
    except Exception as error:  # the Rust library raises bare Exception
        raise _damaged(assets, error) from error
    finished = _finish(tokenizer, settings, architecture.segments)
    return with_template(finished, directory, settings.options, settings.tokens)


def keras_vocabulary(directory: Path) -> tuple[str, ...]:
    """Return the names of the vocabulary files of a Keras preset folder. They are in the folder `KERAS_ASSETS`.

    Raises:
        PresetError: tokenizer.json is missing or damaged, or names a tokenizer that is not supported.
    """
    name = class_name(_read_json(directory / TOKENIZER_FILE))
    decoder = DECODER_TOKENIZERS.get(name)
    if name in _BYTE_PAIRS or (decoder is not None and decoder.split is not None):
        return "vocabulary.json", "merges.txt"
    if name in _SENTENCEPIECE or decoder is not None:
        return ("vocabulary.spm",)
    if name in _WORD_PIECES:
        return ("vocabulary.txt",)
    raise PresetError(
        f"{directory / TOKENIZER_FILE}: the tokenizer {name!r} is not supported. Supported are "
        f"{', '.join([*_WORD_PIECES, *_BYTE_PAIRS, *_SENTENCEPIECE, *DECODER_TOKENIZERS])}."
    )


def _keras_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a KerasHub tokenizer under their names in transformers.

    ``strip_accents`` is not one of them: see `keras_tokenizer`.
    """
    names = {
        "lowercase": "do_lower_case",
        "split_on_cjk": "tokenize_chinese_chars",
        "add_prefix_space": "add_prefix_space",
        "suffix_indicator": "suffix_indicator",
        "oov_token": "oov_token",
    }
    return {names[key]: value for key, value in config.items() if key in names and value is not None}


def wordpiece(vocabulary: Path, settings: Settings) -> Tokenizer:
    """Build the tokenizer of BERT (Devlin et al. 2018, arXiv:1810.04805) from a file with one piece in each line."""
    with vocabulary.open(encoding="utf-8") as lines:
        return _wordpiece([line.rstrip("\n") for line in lines], settings)


def fresh_wordpiece(pieces: Sequence[str], architecture: Architecture) -> TextTokenizer:
    """Build an uncased tokenizer from a newly trained vocabulary. The pieces are in the order of their ids."""
    settings = Settings(_default_tokens(architecture.tokenizer), {"do_lower_case": True})
    return _finish(_wordpiece(pieces, settings), settings, architecture.segments)


def fresh_byte_pairs(tokenizer: Tokenizer, architecture: Architecture) -> TextTokenizer:
    """Make a `TextTokenizer` of a newly trained byte-pair tokenizer."""
    return _finish(tokenizer, Settings(_default_tokens(architecture.tokenizer)), architecture.segments)


def _wordpiece(pieces: Sequence[str], settings: Settings) -> Tokenizer:
    ids = {piece: number for number, piece in enumerate(pieces)}
    inner = settings.options.get("suffix_indicator", "##")
    model = WordPiece(
        ids, unk_token=settings.tokens["unk"], max_input_chars_per_word=100, continuing_subword_prefix=inner
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.options.get("tokenize_chinese_chars", True),
        # None removes accents if the text is made lower case, as in transformers.
        strip_accents=settings.options.get("strip_accents"),
        lowercase=settings.options.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=inner)
    return tokenizer


def byte_pairs(vocabulary: Path, merges: Path, settings: Settings) -> Tokenizer:
    """Build the byte-level byte-pair tokenizer of GPT-2 and RoBERTa."""
    tokenizer = Tokenizer(BPE.from_file(str(vocabulary), str(merges)))
    spaced = settings.options.get("add_prefix_space", False)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def albert_pieces(model: Path, settings: Settings) -> Tokenizer:
    """Build the tokenizer of ALBERT from its SentencePiece model. Default: lower case, without accents."""
    proto = _read_sentencepiece(model, settings)
    steps: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not settings.options.get("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if settings.options.get("do_lower_case", True):
        steps.append(normalizers.Lowercase())
    tokenizer = Tokenizer(Unigram(_pieces(proto), unk_id=proto.trainer_spec.unk_id, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([*steps, *_charsmap(proto)])
    tokenizer.pre_tokenizer = _split_on_whitespace()
    return tokenizer


def xlm_roberta_pieces(model: Path, settings: Settings) -> Tokenizer:
    """Build the tokenizer of XLM-RoBERTa: special tokens of fairseq, SentencePiece pieces from the fourth on, mask."""
    proto = _read_sentencepiece(model, settings)
    tokens = settings.tokens
    # fairseq puts four tokens first. The model of SentencePiece has three of its own there.
    first = [(tokens[role], 0.0) for role in ("cls", "pad", "sep", "unk")]
    tokenizer = Tokenizer(Unigram([*first, *_pieces(proto)[3:], (tokens["mask"], 0.0)], unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(_charsmap(proto))
    tokenizer.pre_tokenizer = _split_on_whitespace()
    return tokenizer


def deberta_pieces(model: Path, settings: Settings) -> Tokenizer:
    """Build the tokenizer of DeBERTa-v3 as transformers 5 does, with NFC instead of SentencePiece's normalization."""
    proto = _read_sentencepiece(model, settings)
    mask = settings.tokens["mask"]
    if mask not in {token.content for token in settings.added}:
        settings.added.append(AddedToken(mask, special=True))  # Its id follows the ids of the SentencePiece model.
    steps: list[Any] = [normalizers.Lowercase()] if settings.options.get("do_lower_case", False) else []
    blanks = normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")
    tokenizer = Tokenizer(Unigram(_pieces(proto), unk_id=proto.trainer_spec.unk_id, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [*steps, blanks, normalizers.NFC(), normalizers.Strip(left=False, right=True)]
    )
    splits: list[Any] = [pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    if settings.options.get("split_by_punct", False):
        splits.insert(0, pre_tokenizers.Punctuation(behavior="isolated"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    return tokenizer


def decoder_pieces(model: Path, settings: Settings) -> Tokenizer:
    """Build the tokenizer of Llama 2, Mistral, Phi-3 or Gemma from its SentencePiece model."""
    return sentencepiece_decoder(_read_sentencepiece(model, settings))


_SENTENCEPIECE = {
    "AlbertTokenizer": albert_pieces,
    "XLMRobertaTokenizer": xlm_roberta_pieces,
    "DebertaV3Tokenizer": deberta_pieces,
}


def _huggingface_sentencepiece(directory: Path, architecture: Architecture, settings: Settings) -> Tokenizer:
    builders = {
        "spiece.model": albert_pieces,
        "spm.model": deberta_pieces,
        "sentencepiece.bpe.model": xlm_roberta_pieces,
        "tokenizer.model": decoder_pieces,
    }
    for name, build in builders.items():
        if (directory / name).is_file():
            return build(directory / name, settings)
    raise PresetError(
        f"{directory} holds no vocabulary for {architecture.title}. It needs one of {TOKENIZER_FILE}, vocab.txt, "
        f"vocab.json with merges.txt, {', '.join(builders)}. Save the tokenizer in the folder of the model."
    )


def _finish(tokenizer: Tokenizer, settings: Settings, uses_segments: bool, complete: bool = False) -> TextTokenizer:
    if not complete:
        # One at a time, so that new ids follow the order of the list.
        for token in settings.never_split(tokenizer):
            tokenizer.add_special_tokens([token]) if token.special else tokenizer.add_tokens([token])
    if tokenizer.post_processor is None and "cls" in settings.tokens:
        tokenizer.post_processor = _special_token_template(tokenizer, settings)
    elif tokenizer.post_processor is None and not complete:
        start = start_template(tokenizer, settings.tokens["bos"]) if settings.starts else None
        tokenizer.post_processor = tokenizer.post_processor if start is None else start
    end_id = tokenizer.token_to_id(settings.tokens.get("eos", ""))
    # Without a padding token any id can be used: padding follows the text, and no token of the text attends to it.
    known = (tokenizer.token_to_id(settings.tokens["pad"]), end_id, 0)
    pad_id = next(number for number in known if number is not None)
    return TextTokenizer(tokenizer, pad_id, uses_segments, end_id, settings.options.get("truncation_side"))


def _special_token_template(tokenizer: Tokenizer, settings: Settings) -> Any:
    cls, sep = settings.tokens["cls"], settings.tokens["sep"]
    if settings.doubled_separator:
        # RoBERTa has no segments, so all type ids are 0.
        single, pair = f"{cls} $A {sep}", f"{cls} $A {sep} {sep} $B {sep}"
    else:
        single, pair = f"{cls}:0 $A:0 {sep}:0", f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1"
    ids = [(token, tokenizer.token_to_id(token)) for token in dict.fromkeys((cls, sep))]
    missing = [token for token, number in ids if number is None]
    if missing:
        raise PresetError(
            f"The vocabulary lacks the special token {missing[0]!r}. It belongs to another kind of model. "
            "Save the right tokenizer in the folder."
        )
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)


def _default_tokens(tokenizer_class: str) -> dict[str, str]:
    if tokenizer_class in DECODER_TOKENIZERS:
        return DECODER_TOKENIZERS[tokenizer_class].roles
    if tokenizer_class == "GPT2Tokenizer":
        return {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "unk": "<|endoftext|>", "pad": ""}
    if tokenizer_class in _ROBERTA_STYLE:
        return {"cls": "<s>", "sep": "</s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}
    tokens = {"cls": "[CLS]", "sep": "[SEP]", "unk": "[UNK]", "pad": "[PAD]", "mask": "[MASK]"}
    return {**tokens, "unk": "<unk>", "pad": "<pad>"} if tokenizer_class == "AlbertTokenizer" else tokens


def _huggingface_settings(directory: Path, architecture: Architecture) -> Settings:
    options = _read_json(directory / "tokenizer_config.json", optional=True)
    decoder = options.get("added_tokens_decoder") or {}
    older = _read_json(directory / "special_tokens_map.json", optional=True)
    # As in transformers, the older file takes precedence if the newer one does not hold the added tokens.
    named = {**older, **options} if decoder else {**options, **older}
    settings = Settings(
        _default_tokens(architecture.tokenizer),
        options,
        doubled_separator=architecture.tokenizer in _ROBERTA_STYLE,
        starts=bool(options.get("add_bos_token", architecture.tokenizer in DECODER_TOKENIZERS)),
    )
    for role in settings.tokens:
        token = named.get(f"{role}_token")
        if isinstance(token, dict):
            settings.added.append(_added_token(token, special=True))
            token = token.get("content")
        # An entry may be null.
        settings.tokens[role] = token or settings.tokens[role]
    if decoder:
        # The keys are texts, but ids must be added in the order of numbers.
        settings.added = [_added_token(decoder[number]) for number in sorted(decoder, key=int)]
    else:
        special = _special_without_role(named)
        settings.added += _legacy_added(directory, settings, [token.content for token in special])
        taken = {*settings.tokens.values(), *(token.content for token in settings.added)}
        settings.added += [token for token in special if token.content not in taken]
    return settings


def _legacy_added(directory: Path, settings: Settings, more_special: Sequence[str]) -> list[AddedToken]:
    """Return the tokens that transformers before 4.34 kept in a separate file, in the order of their ids."""
    ids = _read_json(directory / "added_tokens.json", optional=True)
    taken = {token.content for token in settings.added}
    special = {*settings.tokens.values(), *more_special}
    return [
        AddedToken(token, normalized=token not in special, special=token in special)
        for token in sorted(ids, key=lambda token: int(ids[token]))
        if token not in taken
    ]


def _special_without_role(named: Mapping[str, Any]) -> list[AddedToken]:
    """Return special tokens without a role, each once. transformers 5 and 4 use different names for their list."""
    lists = [named.get(f"{name}_special_tokens") or [] for name in ("extra", "additional")]
    listed = [token for entry in lists for token in (entry.values() if isinstance(entry, dict) else entry)]
    tokens = [_added_token(entry if isinstance(entry, dict) else {"content": entry}, special=True) for entry in listed]
    return list({token.content: token for token in tokens}.values())


def _added_token(entry: Mapping[str, Any], special: bool = False) -> AddedToken:
    flags = {name: entry.get(name, False) for name in ("single_word", "lstrip", "rstrip", "normalized")}
    return AddedToken(entry["content"], special=entry.get("special", special), **flags)


def _read_sentencepiece(model: Path, settings: Settings) -> Any:
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    proto.ParseFromString(model.read_bytes())
    # SentencePiece never splits control and user-defined pieces, so they become added tokens.
    known = {token.content for token in settings.added}
    settings.added += [
        AddedToken(piece.piece, normalized=False, special=piece.type == _CONTROL)
        for piece in proto.pieces
        if piece.type in (_CONTROL, _USER_DEFINED) and piece.piece not in known
    ]
    return proto


def _pieces(proto: Any) -> list[tuple[str, float]]:
    return [(piece.piece, piece.score) for piece in proto.pieces]


def _charsmap(proto: Any) -> list[Any]:
    charsmap = proto.normalizer_spec.precompiled_charsmap
    return [normalizers.Precompiled(charsmap)] if charsmap else []


def _split_on_whitespace() -> Any:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )


def _read_json(path: Path, optional: bool = False) -> dict[str, Any]:
    if optional and not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return value if isinstance(value, dict) else {}


def _damaged(path: Path, error: Exception) -> PresetError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return PresetError(f"The tokenizer files at {path} cannot be read: {reason}. Download the model again.")
