"""The settings of `kerora fit`: data, model and optimisation."""

from dataclasses import dataclass, field

from kerora.errors import ConfigError
from kerora.settings.base import Settings, at_least, between, inside, more_than, setting, text_encoding
from kerora.settings.language import LanguageConfig
from kerora.settings.lora import LoraConfig

SCHEDULES = ("cosine", "linear", "constant")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
TEXT_JOINS = ("auto", "space", "pair")
SIDES = ("left", "right")
LONG = ("cut-end", "cut-middle", "windows")
POOLS = ("mean", "max")
AUGMENTATIONS = ("none", "mask", "cutoff", "aeda", "swap")
CONSISTENCIES = ("none", "rdrop")
STARTS = ("plain", "contrastive")
# the tools that a training can log to, and their extras in pyproject.toml
TRACKERS = ("tensorboard", "wandb", "mlflow")
LOG_HELP = "Tools to log to, separated by commas. Each needs its extra, such as kerora[wandb]. Default: none."
# Also the order in which parts are cut and listed.
SPLITS = ("train", "validation", "test")
FILE_FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "arrow", "fasttext", "txt")
# a list that `choices` of the setting refers to: tasks that are registered later count too
TASKS = ["classification", "multi-label", "regression", "causal-lm"]
"""The names of the tasks. `kerora.tasks.registry` adds to them."""


def _not_blank(text: str) -> str | None:
    """Check a separator."""
    return None if text.strip() or text == "\t" else "must be text other than blanks, such as | or ;"


@dataclass(frozen=True)
class DataConfig(Settings):
    """The source of the rows and the splits."""

    source: str = setting(
        "tickets",
        "Data set: 'tickets' (bundled), a TFDS name such as imdb_reviews or glue/sst2, a file, a folder, or "
        "hf://datasets/organisation/name[@revision][/path] of the Hugging Face hub.",
    )
    train: str | None = setting(
        None, "File with the training rows, or several, separated by commas. They replace the training part of --data."
    )
    validation: str | None = setting(None, "File with the validation rows, or several, separated by commas.")
    test: str | None = setting(None, "File with the test rows, or several, separated by commas.")
    config_name: str | None = setting(
        None,
        "Configuration of a data set of the Hugging Face hub that has several: its README.md names them. Default: the "
        "one that README.md calls the default.",
    )
    text: tuple[str, ...] = setting(
        (),
        "Text column(s), separated by commas. Default: found by name (text, sentence, ...). If --text is repeated, "
        "each value is one name. A value inside a JSON object has a dotted name: review.body.",
    )
    text_join: str = setting(
        "auto",
        "How several text columns become one input. 'space' joins them. 'pair' encodes two columns as a sentence "
        "pair. 'auto' uses 'pair' for columns that are known pairs and 'space' for all others.",
        choices=TEXT_JOINS,
    )
    label: tuple[str, ...] = setting(
        (),
        "Label column. Default: found by name (label, class, ...). Tasks with several values for a text take several "
        "columns, separated by commas.",
    )
    label_separator: str | None = setting(
        None,
        "Text between the labels of a row, such as | in a|b|c, for rows with several labels. An empty value is a row "
        "without labels. Default: lists hold the labels.",
        check=_not_blank,
    )
    id: str | None = setting(
        None, "Column that identifies a row. Default: the column 'id' if it exists, else the row number."
    )
    columns: tuple[str, ...] = setting(
        (), "Column names of a CSV or TSV file without a header line, separated by commas."
    )
    delimiter: str | None = setting(
        None,
        "Field separator of a CSV or TSV file. Default: by the ending, a comma or a tab. If the first lines have only "
        "another one of comma, semicolon, tab and |, that one.",
    )
    format: str | None = setting(
        None,
        "Format of files whose ending says nothing, and of standard input. Default: recognised by the content.",
        choices=FILE_FORMATS,
    )
    encoding: str = setting("utf-8", "Character encoding of text files, such as cp1252 or utf-16.", check=text_encoding)
    class_names: tuple[str, ...] = setting(
        (), "Class names for integer labels, separated by commas, in the order of the sorted label values."
    )
    data_dir: str | None = setting(None, "Folder of prepared TFDS data sets. Default: the default folder of TFDS.")
    # `between` excludes 1: the cut must leave training rows.
    validation_split: float = setting(
        0.1,
        "Fraction of the training rows that is held out for validation. Used only if no validation part is given.",
        check=between(0, 1),
    )
    test_split: float = setting(
        0.0,
        "Fraction of the training rows that is held out as the test part. Used only if no test part is given.",
        check=between(0, 1),
    )
    subset: int | None = setting(
        None,
        "Keep at most this many rows of each split. The rows are a random sample, stratified by class.",
        check=at_least(1),
    )
    # Off by default: rows that are dropped unnoticed can be a whole class.
    skip_bad_rows: bool = setting(
        False,
        "Drop and count rows that cannot be used: an empty text, a missing label, a wrong number of fields, a line "
        "that is not valid. Default: such a row is an error.",
    )
    bad_rows: str | None = setting(
        None, "CSV file for a list of the rows that cannot be used: the file, the place, and what is wrong."
    )


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The pre-trained model, the length of its inputs and its number types."""

    preset: str = setting(
        "kerora_mini_en",
        "Pre-trained model: a name from `kerora presets`, kaggle://..., hf://organisation/name[@revision], a Keras "
        "preset folder or a Hugging Face folder.",
    )
    # The cost of attention grows with the square of the length. A batch is padded only to its longest row.
    max_length: int = setting(
        256,
        "Maximum length of an input in tokens. --long says how longer texts are read.",
        check=at_least(8),
    )
    truncate: str | None = setting(
        None,
        "Side on which --long cut-end cuts a text. 'right' keeps the start of the text, 'left' the end. Not for "
        "language models. Default: what the tokenizer says, else right.",
        choices=SIDES,
    )
    long: str = setting(
        "cut-end",
        "How a text that is longer than --max-length is read. 'cut-end' cuts it on the side that --truncate says. "
        "'cut-middle' keeps its first and its last tokens, half and half. 'windows' reads all of it in windows of "
        "--max-length tokens: in training they share the label, and the loss of a text counts once. The logits of a "
        "text are those of its windows, joined by --pool. Not for language models.",
        choices=LONG,
    )
    stride: int | None = setting(
        None,
        "Overlap of two windows of --long windows in tokens, as `stride` of transformers' tokenizers. Default: a "
        "quarter of a window.",
        check=at_least(0),
    )
    pool: str | None = setting(
        None,
        "How --long windows joins the logits of the windows of a text: 'mean' or 'max' of each output. Default: mean. "
        "For several labels: max.",
        choices=POOLS,
    )
    # Trained weights stay in float32: bfloat16 has 8 bits of precision, in which small updates are lost.
    precision: str = setting(
        "auto",
        "Number type of the frozen model. 'auto' is bfloat16 if the hardware supports it, else float32. "
        "LoRA weights and the head are always float32.",
        choices=PRECISIONS,
    )
    head_dropout: float = setting(
        0.1, "Dropout rate before the dense layers of the classification head.", check=between(0, 1)
    )
    quantize: str | None = setting(
        None,
        "Store the frozen dense weights in 8 or 4 bits (QLoRA). This saves memory and is slower on a CPU.",
        choices=("int8", "int4"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.long != "cut-end":
            check_whole(self.truncate, self.long)
        if self.long == "windows":
            return
        if self.stride is not None:
            raise ConfigError(
                f"--stride {self.stride} is the overlap of --long windows. Add --long windows, or leave --stride out. "
                "The step of a language model's evaluation is --window-step."
            )
        if self.pool is not None:
            raise ConfigError(
                f"--pool {self.pool} joins the windows of --long windows. Add --long windows, or leave --pool out."
            )


def check_whole(side: str | None, long: str) -> None:
    """Refuse a side of truncation beside a way to read long texts that does not cut at a side.

    Raises:
        ConfigError: the side is left. Right is what the other ways replace.
    """
    if side == "left":
        raise ConfigError(
            f"--truncate left keeps the end of a long text, but --long {long} keeps "
            f"{'all of it' if long == 'windows' else 'its start and its end'}. Give --truncate right, or --long "
            "cut-end."
        )


def refuse_long(config: ModelConfig) -> None:
    """Refuse `--long` for a task that does not read whole texts.

    Raises:
        ConfigError: it is given.
    """
    if config.long != "cut-end":
        raise ConfigError(
            f"--long {config.long} is for tasks that read whole texts. A language model divides long texts into rows. "
            "Leave --long out."
        )


@dataclass(frozen=True)
class OptimizerConfig(Settings):
    """The settings of every training: epochs, batches, optimizer, checkpoints."""

    epochs: int | None = setting(None, "Number of passes over the training rows.", check=at_least(1))
    max_steps: int | None = setting(
        None, "Stop after this many optimizer updates. Takes precedence over --epochs.", check=at_least(1)
    )
    batch_size: int = setting(32, "Number of rows per batch.", check=at_least(1))
    accumulate: int = setting(1, "Gradient accumulation: number of batches per optimizer update.", check=at_least(1))
    learning_rate: float | None = setting(None, "Peak learning rate of AdamW.", check=more_than(0))
    schedule: str = setting("cosine", "Learning-rate schedule after warm-up.", choices=SCHEDULES)
    warmup: float = setting(
        0.1, "Warm-up. Below 1: a fraction of all updates. From 1 on: a number of updates.", check=at_least(0)
    )
    warmup_steps: int | None = setting(
        None, "Number of warm-up updates. Takes precedence over --warmup.", check=at_least(0)
    )
    weight_decay: float = setting(
        0.01, "Weight decay of AdamW. Biases and norm layers are excluded.", check=at_least(0)
    )
    # without clipping at 1, LoRA at a rate of 0.001 was unstable (all-MiniLM-L6-v2, bfloat16)
    clip_norm: float = setting(
        1.0, "Maximum global norm of the gradient (gradient clipping). 0 turns clipping off.", check=at_least(0)
    )
    on_nan: str = setting(
        "stop",
        "What happens if a loss or a gradient is infinite or not a number. 'stop' ends the training and keeps the best "
        "state before it. 'skip' leaves the update out and counts it. After 10 such updates in a row it stops too.",
        choices=("stop", "skip"),
    )
    save_steps: int | None = setting(
        None, "Save a checkpoint every N updates, in addition to one per epoch.", check=at_least(1)
    )
    save_minutes: float = setting(
        10.0,
        "Save a checkpoint after this many minutes of an epoch, in addition to one per epoch. 0 saves none by time.",
        check=at_least(0),
    )
    keep: int = setting(
        1,
        "Number of newest checkpoints that are kept. The best one and that of the last whole epoch are always kept.",
        check=at_least(1),
    )
    evaluation_batch_size: int = setting(
        64,
        "Rows per batch in evaluation and prediction. For a classifier on a CPU the count assumes rows of 64 tokens: "
        "batches of longer rows hold fewer rows.",
        check=at_least(1),
    )


@dataclass(frozen=True)
class TrainingConfig(OptimizerConfig):
    """The optimisation of a fine-tuning, and early stopping."""

    epochs: int | None = setting(
        None,
        "Number of passes over the training rows. Default: 3. With few rows more: enough for 400 updates, at most 12.",
        check=at_least(1),
    )
    learning_rate: float | None = setting(
        None,
        "Peak learning rate of AdamW. Default: 0.001 x 768 / width of the model. With --method full: a tenth of that.",
        check=more_than(0),
    )
    # None: the default depends on the model and the rows (`settled_mask_share`)
    mask_share: float | None = setting(
        None,
        "Fraction of the input tokens that is masked at random during the training of a classifier. Default: 0.3 for "
        "models with fewer than 10 million weights on up to 2,000 rows, else 0.",
        check=between(0, 0.9),
    )
    # off: published gains for pre-trained models are small, see docs/few-labels.md
    augment: str = setting(
        "none",
        "Change the training rows, in other places in each epoch. 'mask' masks tokens, 'cutoff' removes a stretch of "
        "tokens, 'aeda' inserts punctuation between words, 'swap' lets words change places. Not for language models.",
        choices=AUGMENTATIONS,
    )
    augment_share: float | None = setting(
        None,
        "With --augment: fraction of the tokens or words that change. Default: 0.3 for mask, else 0.1.",
        check=inside(0, 1),
    )
    start: str = setting(
        "plain",
        "'contrastive' trains the adapter before the training so that rows of one class have similar features, by all "
        "pairs of 100 batches. For few rows. Only for classification.",
        choices=STARTS,
    )
    consistency: str = setting(
        "none",
        "'rdrop' computes each training row twice with other dropout and adds the symmetric KL divergence of both "
        "answers to the loss. A step takes twice the time. Only for classification.",
        choices=CONSISTENCIES,
    )
    consistency_weight: float = setting(1.0, "With --consistency: weight of the divergence.", check=more_than(0))
    label_smoothing: float = setting(
        0.0, "Label smoothing: fraction of the target probability that is spread over all classes.", check=between(0, 1)
    )
    class_weights: str = setting(
        "none",
        "'balanced' weights each row by the inverse frequency of its class. With --task multi-label it weights the "
        "positive rows of each label by negative / positive rows, at most 100.",
        choices=("none", "balanced"),
    )
    threshold: float | None = setting(
        None,
        "With --task multi-label: probability from which on a row gets a label. Default: one for each label, which "
        "gives the best F1 on the validation rows, or 0.5 without validation rows.",
        check=inside(0, 1),
    )
    # an alternative to the weights, which leave rare rows rare in the batches
    sampling: str = setting(
        "shuffled",
        "Rows of an epoch. 'shuffled' takes each row once. 'balanced' takes as many rows in all, equally many of each "
        "class: rows of rare classes are repeated, and of frequent classes each epoch takes other rows.",
        choices=("shuffled", "balanced"),
    )
    # None: each task has its own losses
    loss: str | None = setting(
        None,
        "Loss of the training. Classification: 'cross-entropy', or 'focal', in which rows that the model is sure of "
        "count less. Regression: mse, mae or huber (delta 1), on standardised targets. Default: the first of them.",
    )
    focal_gamma: float = setting(
        2.0, "Exponent of the focal loss. The larger, the less count rows that the model is sure of.", check=at_least(0)
    )
    # None: on if there are enough rows, so that the same config.yaml also fits smaller data
    calibrate: bool | None = setting(
        None,
        "Fit a temperature on the validation rows after the training, which divides the logits for all probabilities. "
        "Default: on if there are at least 100 validation rows.",
    )
    cache_frozen: bool = setting(
        False,
        "With --layers last:K: compute the frozen blocks below only once and store their outputs on disk.",
    )
    early_stopping: bool = setting(
        True,
        "Stop when the monitored value is worse than the best by more than the noise of the validation rows. Then "
        "restore the newest weights that are as good as the best.",
    )
    # for a classifier, an epoch is worse only if the difference exceeds the noise (see `EarlyStopping`)
    patience: int = setting(
        4, "Early stopping ends the training after this many epochs without improvement.", check=at_least(0)
    )
    # None: each task has its own default, and other tasks have other metrics
    monitor: str | None = setting(
        None,
        "Value that early stopping and the best checkpoint use. Default: val_macro_f1, for numbers and language models "
        "val_loss.",
    )
    # None: the number of training rows decides
    baseline: bool | None = setting(
        None,
        "Compare the trained model with a simple one, such as TF-IDF with logistic regression. The time is not part of "
        "the training time. Default: on up to 200,000 training rows.",
    )
    logging_steps: int | None = setting(
        None, "Write loss and learning rate to steps.csv every N updates.", check=at_least(1)
    )
    seed: int = setting(42, "Seed of the splits, the adapters, the row order and dropout.", check=at_least(0))


@dataclass(frozen=True)
class FitConfig(Settings):
    """All settings of `kerora fit`. `config.yaml` of a run holds them with every value resolved."""

    run: str | None = setting(None, "Name or path of the run. Default: <preset>-<data>-r<rank>-<n>.")
    runs_dir: str = setting("runs", "Parent folder of the runs.")
    log: tuple[str, ...] = setting((), LOG_HELP, choices=TRACKERS)
    # None: `kerora.tasks.found` decides by the data
    task: str | None = setting(
        None,
        "Task to learn: 'classification' assigns one class to each text, 'multi-label' any number of labels, "
        "'regression' predicts numbers, 'causal-lm' continues texts. Default: multi-label if the label column holds "
        "lists, if --label-separator is given, or if --label names several columns of 0 and 1; else classification.",
        choices=TASKS,
    )
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    # a group of every run, also of a classifier: the keys of config.yaml do not depend on the task
    language: LanguageConfig = field(default_factory=LanguageConfig)
