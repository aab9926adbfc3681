"""Builds models with random weights and writes models as KerasHub preset folders."""

import os
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.errors import ConfigError, TrainingError
from kerora.fast.attention import choose_attention
from kerora.fast.causal import use_causal_kernel
from kerora.models.architectures import ARCHITECTURES, Architecture
from kerora.models.decoders import tell_documents_apart
from kerora.models.keras_presets import CONFIG
from kerora.models.keras_weights import WEIGHTS
from kerora.models.tokenizer import TextTokenizer
from kerora.models.tokenizer_files import KERAS_ASSETS, TOKENIZER_FILE, keras_tokenizer
from kerora.settings.pretrain import EncoderConfig

keras_hub = import_keras_hub()


def fresh_backbone(config: EncoderConfig, tokens: int, dtype: str, kind: str | None = None) -> Any:
    """Build a model with random weights, float32, from the global seed of Keras.

    Masked language modelling does not train the pooler of BERT. Its kernel therefore starts as the identity: the pooler
    then passes on the state of the first token through its tanh, and not a random mixture of it.

    Args:
        config: architecture and sizes.
        tokens: size of the vocabulary.
        dtype: Keras dtype policy.
        kind: architecture in place of that of the config. Default: None.

    Raises:
        ConfigError: the width is not a multiple of the number of heads.
    """
    architecture = ARCHITECTURES[kind or config.architecture]
    if config.width % config.heads:
        raise ConfigError(f"--width must be a multiple of --heads. Received: {config.width} and {config.heads}")
    backbone = getattr(keras_hub.models, architecture.backbone)(
        vocabulary_size=tokens,
        num_layers=config.layers,
        num_heads=config.heads,
        hidden_dim=config.width,
        intermediate_dim=config.intermediate,
        max_sequence_length=config.max_length,
        dropout=config.dropout,
        dtype=dtype,
    )
    if architecture.head.from_pooler:
        backbone.get_layer("pooled_dense").kernel.assign(np.eye(config.width, dtype=np.float32))
    choose_attention(backbone)
    tell_documents_apart(backbone)
    use_causal_kernel(backbone)
    return backbone


def settings_of(backbone: Any) -> dict[str, Any]:
    """Return the arguments that a backbone was built with, without the import of TensorFlow that Keras would do."""
    with without_tensorflow():
        settings: dict[str, Any] = backbone.get_config()
    return settings


def rebuild(backbone: Any, dtype: str, dropout: float) -> Any:
    """Return the same model with the same weights, built by KerasHub from its config.

    Args:
        backbone: the encoder.
        dtype: Keras dtype policy of the new one.
        dropout: rate inside the new one.
    """
    config = {**settings_of(backbone), "dtype": dtype, "dropout": dropout}
    # A built layer cannot change its dtype or its dropout.
    copy = type(backbone).from_config(config)
    copy.set_weights(backbone.get_weights())
    choose_attention(copy)
    # The causal kernel needs what this sets on the layers.
    tell_documents_apart(copy)
    use_causal_kernel(copy)
    return copy


def write_tokenizer(tokenizer: TextTokenizer, architecture: Architecture, directory: Path) -> None:
    """Write a WordPiece or byte-pair tokenizer as KerasHub does."""
    definition = tokenizer.definition
    model = definition["model"]
    hub_class = getattr(keras_hub.models, architecture.tokenizer)
    with without_tensorflow():
        if model["type"] == "WordPiece":
            lowercase = bool((definition["normalizer"] or {}).get("lowercase", False))
            # Uncased BERT removes accents. KerasHub alone would keep them.
            hub = hub_class(vocabulary=_by_id(model["vocab"]), lowercase=lowercase, strip_accents=lowercase)
        else:
            # Versions of `tokenizers` write a merge as text or as a pair.
            merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
            hub = hub_class(vocabulary=model["vocab"], merges=merges)
        hub.save_to_preset(str(directory))


def write_preprocessor(architecture: Architecture, directory: Path, max_length: int) -> None:
    """Write preprocessor.json, so that tasks of KerasHub pad raw text to the length of the model.

    Without it, KerasHub pads to 512 tokens, and a model with fewer positions fails.

    Args:
        architecture: the kind of the model.
        directory: a preset folder with a tokenizer.
        max_length: longest input of the model in tokens.
    """
    stem = architecture.tokenizer.removesuffix("Tokenizer")
    task = "CausalLM" if architecture.is_decoder else "TextClassifier"
    with without_tensorflow():
        tokenizer = getattr(keras_hub.models, architecture.tokenizer).from_preset(str(directory))
        preprocessor = getattr(keras_hub.models, f"{stem}{task}Preprocessor")(tokenizer, sequence_length=max_length)
        preprocessor.save_to_preset(str(directory))


def read_tokenizer(directory: Path, architecture: Architecture) -> TextTokenizer:
    """Read the tokenizer that `write_tokenizer` wrote."""
    return keras_tokenizer(directory, architecture)


def write_preset(
    backbone: Any, tokenizer: TextTokenizer, architecture: Architecture, directory: Path, storage: str = "float32"
) -> None:
    """Write backbone, tokenizer and preprocessor as a KerasHub preset. The dtype in its config is always float32.

    The files are written to a temporary folder and moved when all are complete. config.json is moved last.

    Args:
        backbone: the backbone.
        tokenizer: its tokenizer.
        architecture: its kind.
        directory: the folder. It is created if it does not exist.
        storage: dtype of the weights in the file, float32 or float16. Keras converts float16 when it loads them.
            Default: float32.

    Raises:
        TrainingError: a weight does not fit into float16.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # Inside the target folder, because `os.replace` works only on one file system.
    with tempfile.TemporaryDirectory(dir=directory, prefix=".writing-") as name:
        work = Path(name)
        write_tokenizer(tokenizer, architecture, work)
        with without_tensorflow():
            rebuild(backbone, "float32", settings_of(backbone)["dropout"]).save_to_preset(str(work))
        write_preprocessor(architecture, work, settings_of(backbone)["max_sequence_length"])
        if storage == "float16":
            _narrow(work / WEIGHTS)
        (directory / KERAS_ASSETS).mkdir(parents=True, exist_ok=True)
        files = [path.relative_to(work) for path in work.rglob("*") if path.is_file()]
        # A folder without config.json is no preset, so an interrupted write leaves none that seems complete.
        for path in sorted(files, key=lambda path: path.name == CONFIG):
            os.replace(work / path, directory / path)


def round_weights(model: Any, storage: str) -> None:
    """Round the weights of a model to their values in the file of the preset, so that measurements fit that file."""
    if storage == "float16":
        for variable in model.weights:
            value = np.asarray(variable.numpy() if hasattr(variable, "numpy") else variable, dtype=np.float32)
            variable.assign(_as_float16(value, variable.path).astype(np.float32))


def tokenizer_files(directory: Path) -> list[Path]:
    """Return the files of the tokenizer in a preset folder."""
    return [directory / TOKENIZER_FILE, *sorted((directory / KERAS_ASSETS).glob("*"))]


def _by_id(vocabulary: dict[str, int]) -> list[str]:
    return sorted(vocabulary, key=lambda piece: vocabulary[piece])


def _as_float16(value: np.ndarray, name: str) -> np.ndarray:
    # An overflow gives infinity, which is reported below.
    with np.errstate(over="ignore"):
        narrow = value.astype(np.float16)
    if not np.isfinite(narrow).all():
        raise TrainingError(f"A value of {name} does not fit into float16. Use --storage float32.")
    return narrow


def _narrow(path: Path) -> None:
    """Rewrite a weight file: its float32 data becomes compressed float16 data."""
    narrowed = path.with_name(f".{path.name}")
    with h5py.File(path, "r") as source, h5py.File(narrowed, "w") as target:
        target.attrs.update(source.attrs)

        def copy(name: str, item: Any) -> None:
            if isinstance(item, h5py.Group):
                group = target.require_group(name)
                group.attrs.update(item.attrs)
                return
            value = item[()]
            if value.dtype == np.float32:
                value = _as_float16(value, name)
            # HDF5 cannot compress a scalar.
            packed = {"compression": "gzip", "shuffle": True} if value.ndim else {}
            target.create_dataset(name, data=value, **packed).attrs.update(item.attrs)

        source.visititems(copy)
    os.replace(narrowed, path)
