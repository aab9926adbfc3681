"""The settings of `kerora pretrain`: text, encoder, distillation, optimisation."""

from dataclasses import dataclass, field

from kerora.settings.base import Settings, at_least, between, more_than, setting
from kerora.settings.fit import OptimizerConfig

PRETRAINED_KINDS = ("distil_bert", "bert")
STORAGES = ("float32", "float16")
OBJECTIVES = ("mlm", "clm")


@dataclass(frozen=True)
class CorpusConfig(Settings):
    """The text of a pre-training."""

    text: tuple[str, ...] = setting(
        (), "Text files (a paragraph a line) and CSV, TSV, JSON, JSON Lines or Parquet files (a document a row)."
    )
    text_column: tuple[str, ...] = setting(
        (), "Text column(s) of table files, separated by commas; empty means found by name (text, sentence, ...)."
    )
    columns: tuple[str, ...] = setting(
        (), "Column names, separated by commas, for CSV and TSV files whose first line names no text column."
    )
    short_rows: float = setting(
        0.0,
        "Share of the rows that get a limit of their own, drawn between 16 tokens and --max-length: an encoder that "
        "saw long rows alone is worse at short texts.",
        check=between(0, 1),
    )
    holdout: float = setting(
        0.01, "Share of the documents held out to measure the loss; at least one document.", check=between(0, 1)
    )


@dataclass(frozen=True)
class EncoderConfig(Settings):
    """The encoder that a pre-training makes or goes on with."""

    init: str | None = setting(
        None, "Go on with this pre-trained DistilBERT, BERT or RoBERTa, with --objective clm GPT-2, and its tokenizer."
    )
    architecture: str = setting(
        "distil_bert",
        "Architecture of a fresh encoder; with --objective clm it is GPT-2.",
        choices=PRETRAINED_KINDS,
    )
    layers: int = setting(4, "Transformer layers of a fresh encoder.", check=at_least(1))
    width: int = setting(256, "Width of a fresh encoder; a multiple of the heads.", check=at_least(1))
    heads: int = setting(4, "Attention heads of a fresh encoder.", check=at_least(1))
    intermediate: int = setting(1024, "Width inside the feed-forward layers of a fresh encoder.", check=at_least(1))
    vocabulary_size: int = setting(
        8000,
        "Pieces of the WordPiece, or with --objective clm byte-pair, vocabulary that is trained on the text.",
        check=at_least(100),
    )
    max_length: int = setting(
        128, "Longest row in tokens; a fresh encoder never takes more than this.", check=at_least(8)
    )
    dropout: float = setting(0.0, "Dropout inside the encoder while it is pre-trained.", check=between(0, 1))
    precision: str = setting(
        "auto",
        "Arithmetic; 'auto' is bfloat16 where the hardware has it, else float32. The weights are always float32.",
        choices=("auto", "float32", "bfloat16"),
    )
    storage: str = setting(
        "float32", "Type of the weights in the preset's file; they are float32 again when loaded.", choices=STORAGES
    )


@dataclass(frozen=True)
class DistillationConfig(Settings):
    """What a fresh or continued encoder learns from a teacher (Hinton et al. 2015, arXiv:1503.02531)."""

    teacher: str | None = setting(
        None, "Preset whose last hidden states are learnt too; any kind and tokenizer, any width."
    )
    mlm_weight: float = setting(1.0, "Weight of the masked-language-model loss beside a teacher.", check=at_least(0))
    sentence_weight: float = setting(
        1.0,
        "Weight of the cosine distance of the first token to the teacher's sentence embedding.",
        check=at_least(0),
    )
    token_weight: float = setting(
        1.0, "Weight of the cosine distance of each token to the teacher's state for its word.", check=at_least(0)
    )
    teacher_words: int = setting(
        0,
        "Add excerpts of the text in which random words of the teacher's vocabulary stand for every other word, each "
        "this many times: the text lacks many of them.",
        check=at_least(0),
    )
    init_embeddings: bool = setting(
        True,
        "With a teacher: start a fresh encoder's token embeddings, and the projection to the teacher's states, from "
        "its states for single pieces.",
    )


@dataclass(frozen=True)
class PretrainingConfig(OptimizerConfig):
    """The optimisation of a pre-training."""

    epochs: int | None = setting(5, "Passes over the text.", check=at_least(1))
    batch_size: int = setting(64, "Rows in a batch.", check=at_least(1))
    learning_rate: float | None = setting(
        None,
        "Peak learning rate of AdamW; empty means 0.0003 x 256 / the width for a fresh encoder, 0.0003 at most, "
        "and 0.0001 with --init.",
        check=more_than(0),
    )
    warmup: float = setting(
        0.05, "Warm-up: a share of all updates when below 1, a number of updates otherwise.", check=at_least(0)
    )
    mask_share: float = setting(
        0.15, "Share of the words that are masked; at least one a batch.", check=between(0.01, 0.9)
    )
    seed: int = setting(
        42, "Seed of the held-out part, the weights, the masks, the row order and dropout.", check=at_least(0)
    )


@dataclass(frozen=True)
class PretrainConfig(Settings):
    """Everything `kerora pretrain` needs; `config.yaml` in its output is one of these, resolved."""

    output: str | None = setting(None, "Folder for the preset; required.")
    objective: str = setting(
        "mlm",
        "What is learnt: 'mlm' fills masked words (an encoder), 'clm' predicts the next token (a GPT-2).",
        choices=OBJECTIVES,
    )
    data: CorpusConfig = field(default_factory=CorpusConfig)
    model: EncoderConfig = field(default_factory=EncoderConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    training: PretrainingConfig = field(default_factory=PretrainingConfig)
