"""Every setting of Kerora: one definition, one default, one sentence of help each.

The dataclasses below, and `LoraConfig`, are the only places where a setting is defined. The options of the command
line, the keys of the YAML files, the help texts and the comments that `kerora init` writes are
all derived from them. Values are checked when an object is created.
"""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

import yaml

from kerora.errors import ConfigError, nearest
from kerora.language_config import LanguageConfig
from kerora.lora_settings import LoraConfig
from kerora.pretrain_config import OBJECTIVES, CorpusConfig, DistillationConfig, EncoderConfig
from kerora.settings import Settings, at_least, between, more_than, setting, type_of

SCHEDULES = ("cosine", "linear", "constant")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
TEXT_JOINS = ("auto", "space", "pair")
SPLITS = ("train", "validation", "test")
TASKS = ("classification", "causal-lm")


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


Root = TypeVar("Root", FitConfig, PretrainConfig)
"""The whole settings of a command."""


@dataclass(frozen=True)
class Setting:
    """One setting as the command line and the documentation see it."""

    path: str
    type: Any
    default: Any
    help: str
    choices: tuple[str, ...]

    @property
    def option(self) -> str:
        """Long option, such as ``--learning-rate``; ``data.source`` is ``--data``."""
        name = self.path.removeprefix("data.") if self.path != "data.source" else "data"
        return "--" + name.rpartition(".")[2].replace("_", "-")


def settings(group: type[Settings] = FitConfig, prefix: str = "") -> Iterator[Setting]:
    """Yield every setting of a group and of the groups inside it, in order of definition."""
    for spec in dataclasses.fields(typing.cast(Any, group)):
        kind = type_of(group, spec.name)
        path = f"{prefix}{spec.name}"
        if isinstance(kind, type) and issubclass(kind, Settings):
            yield from settings(kind, f"{path}.")
        else:
            default = spec.default if spec.default is not MISSING else None
            yield Setting(path, kind, default, spec.metadata["help"], spec.metadata["choices"])


@overload
def resolve(*layers: Mapping[str, Any]) -> FitConfig: ...
@overload
def resolve(*layers: Mapping[str, Any], root: type[Root]) -> Root: ...
def resolve(*layers: Mapping[str, Any], root: type[Settings] = FitConfig) -> Any:
    """Build a config from layers of dotted keys or nested mappings; later layers win.

    Args:
        *layers: the mappings.
        root: the config's class: `FitConfig` or `PretrainConfig`.

    Raises:
        ConfigError: unknown key (with the nearest name), wrong type, or value out of range.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(flatten(layer, root=root))
    return _build(root, "", merged)


def flatten(nested: Mapping[str, Any], prefix: str = "", root: type[Settings] = FitConfig) -> dict[str, Any]:
    """Turn nested mappings into dotted keys and refuse keys that are not settings.

    Raises:
        ConfigError: a key is unknown.
    """
    known = {item.path for item in settings(root)}
    groups = {path.rpartition(".")[0] for path in known} - {""}
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        path = f"{prefix}{key}"
        if path in known:
            flat[path] = value
        elif path in groups and isinstance(value, Mapping):
            flat.update(flatten(value, f"{path}.", root))
        elif path in groups and value is not None:
            raise ConfigError(f"Setting '{path}' is a group and needs keys below it. Received: {value!r}")
        elif path not in groups:
            hint = nearest(path, known | groups) or nearest(str(key), {p.rpartition(".")[2] for p in known})
            remedy = f"`kerora init{'' if root is FitConfig else ' --pretrain'}` writes a file with every setting."
            raise ConfigError(f"Unknown setting '{path}'.{hint} {remedy}")
    return flat


def load_yaml(path: Path, root: type[Settings] = FitConfig) -> dict[str, Any]:
    """Read a YAML config as a mapping of dotted keys.

    Raises:
        ConfigError: the file is missing, is not YAML, is not a mapping, or holds an unknown key or a wrong value.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the config file {path}: {error.strerror}. Check --config.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date such as 2024-99-99 is a ValueError
        reason = " ".join(str(error).split())
        raise ConfigError(f"The config file {path} is not valid YAML: {reason}") from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise ConfigError(f"The config file {path} must hold keys and values. Received: a {type(content).__name__}")
    try:
        flat = flatten(content, root=root)
        _build(root, "", flat)  # what is wrong in a file is told with the file's name
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return flat


def parse_assignment(text: str, root: type[Settings] = FitConfig) -> dict[str, Any]:
    """Read one ``--set a.b=value``; the value is read as YAML.

    Raises:
        ConfigError: there is no ``=``, the key is unknown, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set needs KEY=VALUE, for example training.seed=7. Received: {text!r}")
    try:
        return flatten({key.strip(): yaml.safe_load(value)}, root=root)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"--set {key.strip()}: the value is not valid YAML. Received: {value!r}") from None


def to_dict(group: Settings) -> dict[str, Any]:
    """Return the settings as nested plain values (tuples as lists), ready for YAML."""
    result: dict[str, Any] = {}
    for spec in dataclasses.fields(typing.cast(Any, group)):
        value = getattr(group, spec.name)
        if isinstance(value, Settings):
            value = to_dict(value)
        result[spec.name] = list(value) if isinstance(value, tuple) else value
    return result


def dump_yaml(config: FitConfig | PretrainConfig, comments: bool = False) -> str:
    """Write a config as YAML; with `comments`, each setting's sentence stands above it."""
    if not comments:
        return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
    helps = {item.path: item.help for item in settings(type(config))}
    command = "fit" if isinstance(config, FitConfig) else "pretrain"
    lines = [f"# Settings of `kerora {command}`; what is left out keeps its default."]
    _dump_group(to_dict(config), "", lines, helps)
    return "\n".join(lines) + "\n"


def _dump_group(group: Mapping[str, Any], prefix: str, lines: list[str], helps: Mapping[str, str]) -> None:
    indent = "  " * prefix.count(".")
    for key, value in group.items():
        if isinstance(value, Mapping):
            lines += ["", f"{indent}{key}:"]
            _dump_group(value, f"{prefix}{key}.", lines, helps)
        else:
            lines += [f"{indent}# {helps[prefix + key]}", f"{indent}{key}: {_on_one_line(value)}"]


def _on_one_line(value: Any) -> str:
    # inside a list, where YAML quotes all that needs it and adds no end-of-document mark to a plain value
    return yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=float("inf")).strip()[1:-1]


def _build(group: type[Settings], prefix: str, flat: Mapping[str, Any]) -> Any:
    values: dict[str, Any] = {}
    for spec in dataclasses.fields(typing.cast(Any, group)):
        kind = type_of(group, spec.name)
        if isinstance(kind, type) and issubclass(kind, Settings):
            values[spec.name] = _build(kind, f"{prefix}{spec.name}.", flat)
        elif prefix + spec.name in flat:
            values[spec.name] = flat[prefix + spec.name]
    return group(**values)
