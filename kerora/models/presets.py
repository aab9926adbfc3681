"""Opens a pre-trained model: finds its files, and loads backbone, tokenizer and head from them."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kerora.errors import PresetError, nearest
from kerora.fast.attention import choose_attention
from kerora.fast.blocks import use_whole_blocks
from kerora.fast.causal import use_causal_kernel
from kerora.hubs.names import HUGGING_FACE, KAGGLE, OfflineError, parse_repository
from kerora.models import catalogue
from kerora.models.architectures import ARCHITECTURES, Architecture
from kerora.models.decoders import tell_documents_apart, tell_layers_apart
from kerora.models.huggingface import HuggingFaceFolder
from kerora.models.json_files import read_json_object
from kerora.models.keras_presets import EXACT_FILE, HEAD_FILE, LABELS_FILE, KerasFolder
from kerora.models.keras_weights import LORA_ENDING
from kerora.models.packaged import PACKAGED, checked_directory, packaged_directory
from kerora.models.problem_types import HEADS, ONE_CLASS
from kerora.models.tensor_files import weight_files
from kerora.models.tokenizer import TextTokenizer
from kerora.models.tokenizer_files import HUGGING_FACE_FILES, KERAS_ASSETS, huggingface_tokenizer, keras_tokenizer
from kerora.places import expanded

Source = Literal["keras", "huggingface"]

_BLOCK = 1 << 22


@dataclass(frozen=True)
class Preset:
    """A pre-trained model in a local folder.

    Attributes:
        name: short name for run folders.
        spec: the name or path that the user gave.
        directory: folder of its files.
        kind: architecture, such as ``distil_bert``.
        source: format of the files.
        class_names: classes of its single-label classification head, or None if it has no such head.
        keras_lora: LoRA file of Keras that is merged into the backbone, or None.
    """

    name: str
    spec: str
    directory: Path
    kind: str
    source: Source
    class_names: tuple[str, ...] | None
    keras_lora: Path | None = None

    @property
    def architecture(self) -> Architecture:
        """The architecture's names and settings in both libraries."""
        return ARCHITECTURES[self.kind]

    @property
    def location(self) -> str:
        """The name with which transformers can load the model: its name on the hub, or the folder of its files."""
        if self.spec in PACKAGED and self.directory == packaged_directory(self.spec):
            return PACKAGED[self.spec].hub_name
        if repository := parse_repository(self.spec):
            return repository.name
        return str(self.directory.resolve()) if self.source == "huggingface" else self.spec

    @property
    def revision(self) -> str | None:
        """The branch, tag or commit of a model on the Hugging Face hub. None if the user gave none."""
        repository = parse_repository(self.spec)
        return None if repository is None else repository.revision

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the config, weight and vocabulary files with their names. The path of the folder has no effect."""
        digest = hashlib.sha256()
        for path in sorted(self.files(), key=lambda path: path.relative_to(self.directory).as_posix()):
            # The length and the zero bytes separate files, so that data cannot move from one file to the next.
            digest.update(f"{path.relative_to(self.directory).as_posix()}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
        return digest.hexdigest()

    def load_backbone(self, dtype: str = "float32", dropout: float = 0.0) -> Any:
        """Load the KerasHub backbone with its weights.

        Args:
            dtype: dtype of weights and arithmetic: float32, bfloat16 or float16.
            dropout: rate inside the backbone. Default: 0, because Keras uses fused attention only without dropout.

        Raises:
            PresetError: the files are incomplete or damaged.
        """
        backbone = self._folder.load_backbone(dtype, dropout)
        choose_attention(backbone)
        use_whole_blocks(backbone)
        if self.architecture.is_decoder:
            # The causal kernel needs the layout and `keras_class`, which this sets.
            tell_documents_apart(backbone)
            use_causal_kernel(backbone)
            tell_layers_apart(backbone)
        return backbone

    def load_tokenizer(self) -> TextTokenizer:
        """Load the tokenizer.

        Raises:
            PresetError: the vocabulary is missing or damaged.
        """
        load = keras_tokenizer if self.source == "keras" else huggingface_tokenizer
        return load(self.directory, self.architecture)

    def names_of(self, problem: str) -> tuple[str, ...] | None:
        """Return the names of the outputs of its head; None if it has no head for this problem.

        Args:
            problem: what the outputs mean; see `kerora.models.problem_types`.
        """
        return self._folder.names_of(problem)

    @property
    def problem_type(self) -> str:
        """What the outputs of its head mean; see `kerora.models.problem_types`."""
        return self._folder.problem_type

    def load_head(self, problem: str = ONE_CLASS) -> dict[str, np.ndarray]:
        """Return its head: ``logits/kernel``, ``pooled_dense/bias`` and so on, float32.

        Args:
            problem: what the outputs mean. Default: one class for each text.

        Raises:
            PresetError: the preset has no such head, or the files are damaged.
        """
        if self.names_of(problem) is None:
            raise PresetError(f"{self.directory} holds no {HEADS[problem]} to start with a new head.")
        return self._folder.load_head()

    def notes(self) -> list[str]:
        """Return notes for the user: the LoRA files of Keras in the folder, which are not read."""
        if self.source != "keras" or self.keras_lora is not None:
            return []
        return [
            f"Note: {path} is a LoRA file of Keras and is not merged. To merge it, give this file as --preset."
            for path in sorted(self.directory.glob(f"*{LORA_ENDING}"))
        ]

    @cached_property
    def missing_pooler(self) -> bool:
        """Whether the files lack the weights of the backbone's pooler, as after masked-language-model training."""
        return self._folder.missing_pooler()

    @cached_property
    def _folder(self) -> KerasFolder | HuggingFaceFolder:
        if self.source == "keras":
            return KerasFolder(self.directory, self.keras_lora)
        return HuggingFaceFolder(self.directory)

    def files(self) -> Iterator[Path]:
        """Yield the files that affect outputs or labels."""
        yield self.directory / "config.json"
        if self.source == "huggingface":
            yield from weight_files(self.directory)
            yield from (self.directory / name for name in HUGGING_FACE_FILES if (self.directory / name).is_file())
        else:
            # Everything that can affect outputs or labels.
            patterns = (
                "*.weights.h5",
                "*.weights.json",
                "tokenizer.json",
                "task.json",
                EXACT_FILE,
                HEAD_FILE,
                LABELS_FILE,
                f"{KERAS_ASSETS}/*",
            )
            yield from (path for pattern in patterns for path in self.directory.glob(pattern) if path.is_file())
            yield from (self.keras_lora,) if self.keras_lora is not None else ()


def find_preset(spec: str | Path) -> Preset:
    """Find a pre-trained model. Download it if it is not bundled, not cached and not a local folder.

    Args:
        spec: a name (bundled, KerasHub's, or ``minilm``, which is a package of its own), ``kaggle://...``,
            ``hf://org/name[@revision]``, a Keras preset folder, a Hugging Face model folder, or a file ``*.lora.h5``
            in a Keras preset folder, which is merged into the preset. A name takes precedence over a folder of the
            same name. Write ``./name`` for the folder.

    Raises:
        PresetError: there is no such model, its kind is not supported, its files are incomplete, or it is not cached
            and the network cannot be reached.
    """
    spec = os.fspath(spec)
    try:
        return _find(spec)
    except OfflineError as error:
        offline = ", ".join(catalogue.offline_names()) or "(no preset is bundled or cached)"
        raise PresetError(
            f"Preset {spec!r} is not in the cache ({error.cache}) and {error.site} cannot be reached ({error.reason}). "
            f"What works without a network: {offline}, any local Keras preset or Hugging Face model folder."
        ) from error


def _find(spec: str) -> Preset:
    if spec.startswith(HUGGING_FACE):
        directory = catalogue.hub_directory(spec, spec)
        repository = parse_repository(spec)
        return open_folder(directory, spec, repository.short_name if repository else spec)
    if spec.startswith(KAGGLE):
        # The hub checks the form of the name, so a fourth part exists below.
        directory = catalogue.hub_directory(spec, spec)
        return open_folder(directory, spec, spec.removeprefix(KAGGLE).split("/")[3])
    if (catalogue.BUNDLED / spec).is_dir() and spec in catalogue.bundled_names():
        return open_folder(catalogue.BUNDLED / spec, spec, spec)
    if spec in PACKAGED:
        return open_folder(checked_directory(spec), spec, spec)
    registered = catalogue.registered()
    if spec in registered:
        return open_folder(catalogue.hub_directory(registered[spec].handle, spec), spec, spec)
    directory = expanded(spec)
    if spec and directory.is_dir():
        # Paths such as `.` have no name of their own.
        return open_folder(directory, spec, directory.resolve().name)
    if directory.is_file() and spec.endswith(LORA_ENDING):
        return _with_lora(directory, spec)
    raise _unknown(spec, directory)


def _with_lora(file: Path, spec: str) -> Preset:
    """Open the Keras preset in the folder of a LoRA file of Keras, to merge the file. The folder alone has no LoRA."""
    preset = open_folder(file.parent, spec, file.resolve().parent.name)
    if preset.source != "keras":
        raise PresetError(
            f"{spec} is a LoRA file of Keras, but {file.parent} is no Keras preset. Put the file into the folder of "
            "its base model."
        )
    return replace(preset, name=file.name.removesuffix(LORA_ENDING), keras_lora=file)


def open_folder(directory: Path, spec: str, name: str) -> Preset:
    """Open a Keras preset folder or a Hugging Face model folder.

    Raises:
        PresetError: the folder is neither, or holds a model of an unsupported kind.
    """
    # A run folder lacks config.json too. This message says what to do.
    if (directory / "run.json").is_file():
        raise PresetError(f"{directory} is a run folder, not a pre-trained model. Give the base model, or --resume it.")
    if not (directory / "config.json").is_file():
        raise PresetError(
            f"{directory} is no model folder: it holds no config.json. Give a folder that KerasHub's save_to_preset or "
            "transformers' save_pretrained wrote."
        )
    config = read_json_object(directory / "config.json")
    folder: KerasFolder | HuggingFaceFolder
    # Only Keras writes these keys.
    if "registered_name" in config or "class_name" in config:
        source: Source = "keras"
        folder = KerasFolder(directory)
    else:
        source, folder = "huggingface", HuggingFaceFolder(directory)
    kind = folder.architecture.kind
    return Preset(name, spec, directory, kind, source, folder.class_names)


def _unknown(spec: str, directory: Path) -> PresetError:
    known = [*catalogue.bundled_names(), *PACKAGED, *catalogue.registered()]
    if spec and directory.exists():
        return PresetError(f"{spec} is a file, not a folder. Give the folder that holds it.")
    if "/" in spec or spec.startswith((".", "~")):
        # A name with one slash looks like a name on the hub.
        hint = f" For the Hugging Face hub write hf://{spec}." if spec.count("/") == 1 and spec[0] not in "./~" else ""
        return PresetError(f"There is no preset folder {spec!r}.{hint} `kerora presets` lists the names.")
    return PresetError(f"Unknown preset {spec!r}.{nearest(spec, known)} `kerora presets` lists the names.")
