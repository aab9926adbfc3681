"""The settings of `kerora pretrain`: text, encoder, distillation, optimisation."""

from dataclasses import dataclass, field

from kerora.settings.base import Settings, at_least, between, more_than, setting, text_encoding
from kerora.settings.fit import FILE_FORMATS, LOG_HELP, TRACKERS, OptimizerConfig

PRETRAINED_KINDS = ("distil_bert", "bert")
STORAGES = ("float32", "float16")
# mlm: masked-language model. clm: causal language model.
OBJECTIVES = ("mlm", "clm")


@dataclass(frozen=True)
class CorpusConfig(Settings):
    """The text of a pre-training."""

    text: tuple[str, ...] = setting(
        (),
        "Text files (one paragraph per line) and CSV, TSV, JSON, JSON Lines or Parquet files (one document per row).",
    )
    text_column: tuple[str, ...] = setting(
        (), "Text column(s) of table files, separated by commas. Default: found by name (text, sentence, ...)."
    )
    columns: tuple[str, ...] = setting(
        (), "Column names of CSV and TSV files without a header line, separated by commas."
    )
    delimiter: str | None = setting(
        None, "Field separator of CSV and TSV files. Default: as for `kerora fit`, by the ending and the first lines."
    )
    format: str | None = setting(
        None, "Format of files whose ending says nothing. Default: recognised by the content.", choices=FILE_FORMATS
    )
    encoding: str = setting(
        "utf-8", "Character encoding of the text files, such as cp1252 or utf-16.", check=text_encoding
    )
    skip_bad_rows: bool = setting(
        False, "Drop and count rows of table files that cannot be used. Default: such a row is an error."
    )
    bad_rows: str | None = setting(
        None, "CSV file for a list of the rows that cannot be used: the file, the place, and what is wrong."
    )
    short_rows: float = setting(
        0.0,
        "Fraction of the rows with a random shorter limit, between 16 tokens and --max-length. An encoder that was "
        "trained only on long rows is worse at short texts.",
        check=between(0, 1),
    )
    holdout: float = setting(
        0.01,
        "Fraction of the documents that is held out to measure the loss. At least one document is held out.",
        check=between(0, 1),
    )


@dataclass(frozen=True)
class EncoderConfig(Settings):
    """The encoder that a pre-training makes or continues."""

    init: str | None = setting(
        None,
        "Continue the pre-training of this model with its own tokenizer: DistilBERT, BERT or RoBERTa, with --objective "
        "clm GPT-2.",
    )
    architecture: str = setting(
        "distil_bert",
        "Architecture of a new encoder. With --objective clm it is always GPT-2.",
        choices=PRETRAINED_KINDS,
    )
    layers: int = setting(4, "Number of transformer layers of a new encoder.", check=at_least(1))
    # A multiple, because each head has width / heads numbers.
    width: int = setting(256, "Width of a new encoder. It must be a multiple of --heads.", check=at_least(1))
    heads: int = setting(4, "Number of attention heads of a new encoder.", check=at_least(1))
    # four times the width, as in BERT
    intermediate: int = setting(1024, "Width inside the feed-forward layers of a new encoder.", check=at_least(1))
    vocabulary_size: int = setting(
        8000,
        "Size of the vocabulary that is trained on the text: WordPiece, with --objective clm byte-level byte pairs.",
        check=at_least(100),
    )
    # The table of learned positions has this many rows.
    max_length: int = setting(
        128,
        "Maximum length of a row in tokens. A new encoder never accepts longer inputs.",
        check=at_least(8),
    )
    dropout: float = setting(0.0, "Dropout rate inside the encoder during pre-training.", check=between(0, 1))
    # no float16: its small gradients need a scaled loss, which pre-training does not have
    precision: str = setting(
        "auto",
        "Number type of the computation. 'auto' is bfloat16 if the hardware supports it, else float32. The weights are "
        "always float32.",
        choices=("auto", "float32", "bfloat16"),
    )
    storage: str = setting(
        "float32",
        "Number type of the weights in the preset file. Loading converts them to float32.",
        choices=STORAGES,
    )


@dataclass(frozen=True)
class DistillationConfig(Settings):
    """The distillation from a teacher into the encoder (Hinton et al. 2015, arXiv:1503.02531)."""

    teacher: str | None = setting(
        None,
        "Teacher preset for distillation: the encoder also learns its last hidden states. Any architecture, tokenizer "
        "and width.",
    )
    # loss = mlm_weight x cross entropy + sentence_weight x distance + token_weight x distance
    mlm_weight: float = setting(
        1.0, "Weight of the masked-language-model loss if there is a teacher.", check=at_least(0)
    )
    sentence_weight: float = setting(
        1.0,
        "Weight of the cosine distance between the first token and the sentence embedding of the teacher.",
        check=at_least(0),
    )
    token_weight: float = setting(
        1.0,
        "Weight of the cosine distance between each token and the state of the teacher for its word.",
        check=at_least(0),
    )
    teacher_words: int = setting(
        0,
        "Add excerpts of the text in which words of the teacher's vocabulary replace every second word, at random. "
        "Each of these words occurs this many times. The encoder learns words that the text lacks.",
        check=at_least(0),
    )
    init_embeddings: bool = setting(
        True,
        "With a teacher: initialise the token embeddings of a new encoder, and the projection to the states of the "
        "teacher, from the states of the teacher for single tokens.",
    )


@dataclass(frozen=True)
class PretrainingConfig(OptimizerConfig):
    """The optimisation of a pre-training."""

    epochs: int | None = setting(5, "Number of passes over the text.", check=at_least(1))
    batch_size: int = setting(64, "Number of rows per batch.", check=at_least(1))
    learning_rate: float | None = setting(
        None,
        "Peak learning rate of AdamW. Default: 0.0003 x 256 / width for a new encoder, at most 0.0003. With --init: "
        "0.0001.",
        check=more_than(0),
    )
    warmup: float = setting(
        0.05, "Warm-up. Below 1: a fraction of all updates. From 1 on: a number of updates.", check=at_least(0)
    )
    # 15 % as in BERT
    mask_share: float = setting(
        0.15, "Fraction of the words that is masked. At least one word per batch.", check=between(0.01, 0.9)
    )
    seed: int = setting(
        42, "Seed of the held-out part, the weights, the masks, the row order and dropout.", check=at_least(0)
    )


@dataclass(frozen=True)
class PretrainConfig(Settings):
    """All settings of `kerora pretrain`. `config.yaml` in the output holds them with every value resolved."""

    # None as the default, so that --resume and a YAML file can leave it out; `pretrain` refuses None
    output: str | None = setting(None, "Output folder of the preset. Required.")
    objective: str = setting(
        "mlm",
        "Training objective. 'mlm': predict masked words (an encoder). 'clm': predict the next token (a GPT-2).",
        choices=OBJECTIVES,
    )
    log: tuple[str, ...] = setting((), LOG_HELP, choices=TRACKERS)
    data: CorpusConfig = field(default_factory=CorpusConfig)
    model: EncoderConfig = field(default_factory=EncoderConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    training: PretrainingConfig = field(default_factory=PretrainingConfig)
