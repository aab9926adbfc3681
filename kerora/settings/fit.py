"""The settings of `kerora fit`: where the rows come from, the model, the optimisation."""

from dataclasses import dataclass, field

from kerora.settings.base import Settings, at_least, between, more_than, setting
from kerora.settings.language import LanguageConfig
from kerora.settings.lora import LoraConfig

SCHEDULES = ("cosine", "linear", "constant")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
TEXT_JOINS = ("auto", "space", "pair")
SPLITS = ("train", "validation", "test")
TASKS = ["classification", "causal-lm"]
"""The names of the tasks; `kerora.tasks.registry` adds to them."""


@dataclass(frozen=True)
class DataConfig(Settings):
    """Where the rows come from and how they are split."""

    source: str = setting(
        "tickets",
        "Data set: 'tickets' (bundled), a TFDS name such as imdb_reviews or glue/sst2, a file, or a folder.",
    )
    train: str | None = setting(None, "File with the training rows; replaces the training part of the source.")
    validation: str | None = setting(None, "File with the validation rows.")
    test: str | None = setting(None, "File with the test rows.")
    text: tuple[str, ...] = setting(
        (), "Text column(s), separated by commas; empty means found by name (text, sentence, ...)."
    )
    text_join: str = setting(
        "auto",
        "How several text columns become one input: 'space' joins them, 'pair' encodes two as a sentence pair, "
        "'auto' pairs columns that are known pairs and joins others.",
        choices=TEXT_JOINS,
    )
    label: str | None = setting(None, "Label column; empty means found by name (label, class, ...).")
    id: str | None = setting(
        None, "Column that identifies a row; empty means 'id' where there is one, else row numbers."
    )
    columns: tuple[str, ...] = setting(
        (), "Column names, separated by commas, for a CSV or TSV file without a header line."
    )
    delimiter: str | None = setting(None, "Field separator of a CSV file; empty means by the file's ending.")
    class_names: tuple[str, ...] = setting(
        (), "Names for integer labels, separated by commas, in the order of the sorted label values."
    )
    data_dir: str | None = setting(None, "Folder of prepared TFDS data sets; empty means TFDS' own default.")
    validation_split: float = setting(
        0.1,
        "Share of the training rows held out for validation where no validation part is given.",
        check=between(0, 1),
    )
    test_split: float = setting(
        0.0, "Share of the training rows held out as a test part where none is given.", check=between(0, 1)
    )
    subset: int | None = setting(
        None, "Keep at most this many rows of each split, drawn at random by class.", check=at_least(1)
    )
    skip_bad_rows: bool = setting(
        False, "Count and drop rows with an empty text or a missing label instead of stopping."
    )


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The pre-trained model and how its inputs and numbers are handled."""

    preset: str = setting(
        "kerora_mini_en",
        "Pre-trained model: a name that `kerora presets` lists, kaggle://..., hf://..., a Keras preset folder or a "
        "Hugging Face folder.",
    )
    max_length: int = setting(256, "Longest input in tokens; longer texts are cut.", check=at_least(8))
    precision: str = setting(
        "auto",
        "Arithmetic of the frozen model; 'auto' is bfloat16 where the hardware has it, else float32. "
        "LoRA weights and the head are always float32.",
        choices=PRECISIONS,
    )
    head_dropout: float = setting(0.1, "Dropout in front of the classifier's dense layers.", check=between(0, 1))
    quantize: str | None = setting(
        None,
        "Hold the frozen dense weights in 8 or 4 bits (QLoRA): less memory, slower than float on a CPU.",
        choices=("int8", "int4"),
    )


@dataclass(frozen=True)
class OptimizerConfig(Settings):
    """What every training has: how long, how fast, how much at a time."""

    epochs: int | None = setting(None, "Passes over the training rows.", check=at_least(1))
    max_steps: int | None = setting(
        None, "Stop after this many optimizer updates; wins over epochs.", check=at_least(1)
    )
    batch_size: int = setting(32, "Rows in a batch.", check=at_least(1))
    accumulate: int = setting(1, "Batches whose gradients are summed into one update.", check=at_least(1))
    learning_rate: float | None = setting(None, "Peak learning rate of AdamW.", check=more_than(0))
    schedule: str = setting("cosine", "Course of the learning rate after warm-up.", choices=SCHEDULES)
    warmup: float = setting(
        0.1, "Warm-up: a share of all updates when below 1, a number of updates otherwise.", check=at_least(0)
    )
    warmup_steps: int | None = setting(None, "Warm-up in updates; wins over warmup.", check=at_least(0))
    weight_decay: float = setting(0.01, "AdamW weight decay; biases and norms are excluded.", check=at_least(0))
    clip_norm: float = setting(1.0, "Largest global norm of the gradient; 0 turns clipping off.", check=at_least(0))
    save_steps: int | None = setting(
        None, "Also save a checkpoint each time this many updates are done.", check=at_least(1)
    )
    evaluation_batch_size: int = setting(
        64,
        "Rows in a batch of evaluation and prediction; of 64 tokens each where a classifier computes on a CPU.",
        check=at_least(1),
    )


@dataclass(frozen=True)
class TrainingConfig(OptimizerConfig):
    """The optimisation of a fine-tune, and when to stop."""

    epochs: int | None = setting(
        None,
        "Passes over the training rows; empty means 3, on few rows more: enough for 400 updates, 12 at most.",
        check=at_least(1),
    )
    learning_rate: float | None = setting(
        None,
        "Peak learning rate of AdamW; empty means 0.001 x 768 / the model's width, with --method full a tenth of it.",
        check=more_than(0),
    )
    mask_share: float | None = setting(
        None,
        "Share of the tokens that are hidden from a classifier while it trains, anew each time; empty means 0.3 for "
        "models of less than 10 million weights on up to 2,000 rows, otherwise 0.",
        check=between(0, 0.9),
    )
    label_smoothing: float = setting(0.0, "Share of the target spread over all classes.", check=between(0, 1))
    class_weights: str = setting(
        "none", "'balanced' weighs rows by the inverse frequency of their class.", choices=("none", "balanced")
    )
    cache_frozen: bool = setting(
        False,
        "With --layers last:K: compute the frozen blocks below once, keep their states on disk, and train on them.",
    )
    early_stopping: bool = setting(
        True,
        "Stop when the monitored value gets worse by more than the noise of the validation rows, and restore the "
        "newest weights that are as good as the best.",
    )
    patience: int = setting(4, "Epochs without improvement before early stopping.", check=at_least(0))
    monitor: str | None = setting(
        None,
        "Value that early stopping and the best checkpoint follow; empty means val_macro_f1, for language models "
        "val_loss.",
    )
    logging_steps: int | None = setting(
        None, "Also record loss and rate in steps.csv each time this many updates are done.", check=at_least(1)
    )
    seed: int = setting(42, "Seed of the splits, the adapters, the row order and dropout.", check=at_least(0))


@dataclass(frozen=True)
class FitConfig(Settings):
    """Everything `kerora fit` needs; `config.yaml` of a run is one of these, resolved."""

    run: str | None = setting(None, "Name of the run, or a path; empty means <preset>-<data>-r<rank>-<n>.")
    runs_dir: str = setting("runs", "Folder that holds the runs.")
    task: str = setting(
        "classification", "What is learnt: classes of texts, or with 'causal-lm' to continue texts.", choices=TASKS
    )
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
