"""The presets that have a name: bundled with Kerora, in a package of their own, or registered in KerasHub."""

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from kerora.backend import import_keras_hub
from kerora.hubs.names import HUGGING_FACE
from kerora.models.architectures import ARCHITECTURES
from kerora.models.json_files import read_json_object
from kerora.models.keras_classes import class_name
from kerora.models.packaged import PACKAGED, packaged_directory

keras_hub = import_keras_hub()

Origin = Literal["bundled", "installed", "cached", "pip", "kaggle"]
"""Where a preset comes from. The first three work without a network."""

BUNDLED = Path(__file__).parent.parent / "presets"
"""Folder of the presets that come with the package."""


@dataclass(frozen=True)
class Registered:
    """A KerasHub preset of a supported architecture: its kind, Kaggle handle, parameters and description."""

    kind: str
    handle: str
    parameters: int | None
    description: str


@dataclass(frozen=True)
class PresetInfo:
    """One line of `kerora presets`.

    Attributes:
        name: value for ``--preset``.
        kind: architecture, such as ``bert``.
        parameters: number of weights, or None if it is not recorded.
        source: ``bundled``, ``installed`` and ``cached`` presets work without a network. ``pip`` ones come in a
            package that is not installed, and ``kaggle`` ones are downloaded.
        description: one sentence.
    """

    name: str
    kind: str
    parameters: int | None
    source: Origin
    description: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""
        return asdict(self)


@cache
def registered() -> dict[str, Registered]:
    """Return KerasHub's presets of the supported architectures by name."""
    found: dict[str, Registered] = {}
    for architecture in ARCHITECTURES.values():
        # The class of RoBERTa also lists the presets of XLM-RoBERTa. They come later in this loop and get their kind.
        for name, entry in getattr(keras_hub.models, architecture.backbone).presets.items():
            metadata = entry.get("metadata", {})
            # Some descriptions of KerasHub contain several spaces in a row.
            description = " ".join(str(metadata.get("description", "")).split())
            found[name] = Registered(architecture.kind, entry["kaggle_handle"], metadata.get("params"), description)
    return found


def bundled_names() -> list[str]:
    """Return the names of the presets that come with the package."""
    return sorted(path.parent.name for path in BUNDLED.glob("*/config.json"))


def offline_names() -> list[str]:
    """Return the names that work without a network: bundled, installed, or complete in KaggleHub's cache."""
    return [*bundled_names(), *(name for name in PACKAGED if packaged_directory(name)), *_cached_names()]


def _cached_names() -> list[str]:
    from kerora.models import hub  # Slow to import: see `kerora.hubs.names`.

    return [name for name, entry in registered().items() if hub.cached_kaggle_directory(entry.handle)]


def hub_directory(handle: str, spec: str) -> Path:
    """Return the local folder of a model on a hub. Download the files that are not in the cache of the hub.

    Args:
        handle: ``kaggle://...`` or ``hf://...``.
        spec: what the user asked for, for messages.

    Raises:
        OfflineError: the model is not cached and the hub cannot be reached.
        PresetError: the name is malformed, or the hub refuses the download.
    """
    from kerora.models import hub  # Slow to import: see `kerora.hubs.names`.

    return hub.huggingface_directory(handle) if handle.startswith(HUGGING_FACE) else hub.kaggle_directory(handle, spec)


def list_presets() -> list[PresetInfo]:
    """Return every preset that has a name. Those that work offline come first. No network is needed."""
    infos = [*map(_bundled_info, bundled_names()), *map(_packaged_info, PACKAGED)]
    cached = set(_cached_names())
    for name, entry in registered().items():
        source: Origin = "cached" if name in cached else "kaggle"
        infos.append(PresetInfo(name, entry.kind, entry.parameters, source, entry.description))
    return sorted(infos, key=lambda info: get_args(Origin).index(info.source))


def _bundled_info(name: str) -> PresetInfo:
    by_class = {architecture.backbone: architecture.kind for architecture in ARCHITECTURES.values()}
    config = read_json_object(BUNDLED / name / "config.json")
    metadata = BUNDLED / name / "metadata.json"
    parameters = read_json_object(metadata).get("parameter_count") if metadata.is_file() else None
    # The config may be that of KerasHub or that of transformers.
    kind = by_class.get(class_name(config), str(config.get("model_type", "?")))
    return PresetInfo(name, kind, parameters, "bundled", _first_paragraph(BUNDLED / name / "README.md"))


def _packaged_info(name: str) -> PresetInfo:
    entry = PACKAGED[name]
    if packaged_directory(name):
        return PresetInfo(name, entry.kind, entry.parameters, "installed", entry.description)
    # The remedy comes first, because a narrow terminal cuts the end.
    return PresetInfo(name, entry.kind, entry.parameters, "pip", f"{entry.remedy} ({entry.description})")


def _first_paragraph(card: Path) -> str:
    paragraphs = card.read_text(encoding="utf-8").split("\n\n") if card.is_file() else []
    text = next((part for part in paragraphs if part.strip() and not part.startswith("#")), "Comes with Kerora.")
    return " ".join(text.split())
