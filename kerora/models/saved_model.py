"""Saves task models as Keras does: `save`, `save_weights`, their loading, and copies.

The base of a model lies in the files of its preset. A saved file therefore names the preset with its fingerprint, and
holds only the weights that differ: A and B, the head, and what else was trained (`kerora.lora.state`). The base is
checked when the file is read.
"""

import base64
import binascii
import dataclasses
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np

from kerora.backend import without_tensorflow
from kerora.data.tokens import cache_directory
from kerora.errors import AdapterError, ConfigError, KeroraError, PresetError
from kerora.lora.quantize import quantize
from kerora.lora.state import (
    changed_weights,
    install_updates,
    note_base,
    quantized_mode,
    set_state,
    state_values,
    updates_of,
)
from kerora.models.long_texts import LongTexts
from kerora.models.presets import Preset, find_preset, open_folder
from kerora.runfolder import write_bytes

FORMAT = 1
DESCRIPTION = "description"
"""Name of the entry beside the weights: JSON in UTF-8, as bytes."""
SHA256 = re.compile("[0-9a-f]{64}")
_GET = "Get the file again from its author."


class SavedModel(keras.Model):
    """The methods of Keras that save and load, for a model on a preset."""

    backbone: Any
    preset: Preset
    long_texts: LongTexts = LongTexts()

    def build_options(self) -> dict[str, Any]:
        """Return the arguments of `from_preset`, as plain values, that build this model again.

        Raises:
            NotImplementedError: the class cannot be built from a config.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no Keras config. Save a run folder, or build the model with "
            f"{type(self).__name__}.from_preset and load its weights."
        )

    @classmethod
    def from_options(cls, preset: Preset, options: dict[str, Any]) -> Self:
        """Build the model from what `build_options` returned."""
        return cls.from_preset(preset, **options)

    def get_config(self) -> dict[str, Any]:
        """Return the preset with its fingerprint, the arguments of `from_preset`, and the LoRA of the model.

        Raises:
            ConfigError: LoRA updates are merged, or the model was built without a preset.
        """
        options, preset = self.build_options(), self.preset
        if preset is None:
            raise ConfigError("The model has no preset to be built from. Write its preset first (kerora pretrain).")
        files = {"files": _packed(preset)} if self.__dict__.get("_include_base") else {}
        return {
            "format": FORMAT,
            "preset": {
                "spec": preset.spec,
                "name": preset.name,
                "directory": str(preset.directory.resolve()),
                "fingerprint": preset.fingerprint,
                **files,
            },
            "options": options,
            "long_texts": dataclasses.asdict(self.long_texts),
            "quantize": quantized_mode(self),
            "updates": updates_of(self),
            "trained": [key for key, variable in changed_weights(self).items() if variable.trainable],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Build a model from its config: the base from its preset, with new LoRA updates and a new head.

        Raises:
            PresetError: the base is not found, or its files are others.
        """
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise ConfigError(f"This is no config of a {cls.__name__} that this version reads. Update Kerora.")
        model = cls.from_options(_open_base(config["preset"]), dict(config["options"]))
        if "long_texts" in config:  # Older files do not have it.
            model.long_texts = LongTexts(**config["long_texts"])
        if config["quantize"]:
            quantize(model, config["quantize"])
        install_updates(model, config["updates"], config["trained"])
        return model

    def get_compile_config(self) -> dict[str, Any]:
        """Return how the model was compiled. A step of its own has no config: compile again after loading."""
        found: dict[str, Any] = {} if getattr(self, "_step", None) is not None else super().get_compile_config()
        return found

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as in the config of `get_compile_config`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def save(
        self,
        filepath: Any,
        overwrite: bool = True,
        zipped: bool | None = None,
        *,
        include_base: bool = False,
        **kwargs: Any,
    ) -> None:
        """Save the model as a ``.keras`` file, which `keras.saving.load_model` reads after ``import kerora``.

        Args:
            filepath: the file.
            overwrite: replace an existing file without a question. Default: True.
            zipped: as in `keras.Model.save`.
            include_base: whether the file also holds the files of the preset. Without it the file is small, and the
                preset must be found when it is loaded. Default: False.
            **kwargs: as in `keras.Model.save`.

        Raises:
            ConfigError: LoRA updates are merged, or the file is no ``.keras`` file: Keras would write other formats,
                but could not load them again.
        """
        if not str(filepath).endswith(".keras") and zipped is not False:
            raise ConfigError(
                f"model.save writes .keras files. Received: {str(filepath)!r}. model.save_weights writes .weights.h5, "
                "and kerora.save_run a run folder."
            )
        self.__dict__["_include_base"] = include_base
        try:
            # Keras looks whether a path is remote, and imports TensorFlow for it.
            with without_tensorflow():
                super().save(filepath, overwrite=overwrite, zipped=zipped, **kwargs)
        finally:
            self.__dict__["_include_base"] = False

    def save_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Save the trained weights, and those that were changed since the preset was loaded.

        Args:
            filepath: the file, ending in ``.weights.h5``.
            *args: as in `keras.Model.save_weights`.
            **kwargs: as in `keras.Model.save_weights`.

        Raises:
            ConfigError: LoRA updates are merged.
        """
        with without_tensorflow():
            super().save_weights(filepath, *args, **kwargs)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Load a file of `save_weights`, or the weights of a ``.keras`` file.

        Args:
            filepath: the file.
            skip_mismatch: not supported.
            **kwargs: as in `keras.Model.load_weights`.

        Raises:
            AdapterError: the file is of another base, or of a model with other LoRA, classes or trained weights.
                Nothing was set.
        """
        if skip_mismatch:
            raise ConfigError("skip_mismatch=True would leave weights as they are in silence. Leave it out.")
        self.__dict__["_refusal"] = None
        if getattr(self, "compiled", False) and not self.optimizer.built:
            # Otherwise Keras would leave out the state of the optimizer, with a warning.
            self.optimizer.build(self.trainable_variables)
        try:
            with without_tensorflow():
                super().load_weights(filepath, **kwargs)
        except ValueError:
            # Keras puts the reason into a message of several lines.
            if self.__dict__["_refusal"] is None:
                raise
            raise self.__dict__["_refusal"] from None

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Raise an error: Keras cannot trace the blocks of a model for other tools.

        Raises:
            ConfigError: always. The message names the way.
        """
        raise ConfigError(
            "Keras cannot trace this model to export it. Write a run: kerora.save_run(model, 'runs/mine'). Then "
            f"kerora.export('runs/mine', 'onnx', {str(filepath)!r}) writes ONNX and compares the outputs."
        )

    def note_base(self) -> None:
        """Note the weights of the backbone as those of the files of the preset."""
        note_base(self)

    def save_own_variables(self, store: Any) -> None:
        """Write the weights that differ from the base; called by Keras."""
        values = state_values(self)
        description = {**self._identity(), "updates": updates_of(self), "keys": list(values)}
        for number, value in enumerate(values.values()):
            store[str(number)] = value
        store[DESCRIPTION] = np.frombuffer(json.dumps(description).encode(), np.uint8)

    def load_own_variables(self, store: Any) -> None:
        """Set the weights that `save_own_variables` wrote; called by Keras.

        Raises:
            AdapterError: they do not fit. Nothing was set.
        """
        self.__dict__["_refusal"] = None
        try:
            self._load(store)
        except KeroraError as error:
            self.__dict__["_refusal"] = error
            self.__dict__["_leave_parts"] = True
            raise

    def _load(self, store: Any) -> None:
        if DESCRIPTION not in store.keys():  # noqa: SIM118  (an entry of Keras has keys but no length)
            raise AdapterError("The file holds no weights of a Kerora model. Give one that save_weights or save wrote.")
        description = json.loads(bytes(np.asarray(store[DESCRIPTION])))
        for key, here in self._identity().items():
            if description.get(key) != here:
                raise AdapterError(
                    f"The file is of a model with {key} {_shown(description.get(key))}, but this model has "
                    f"{_shown(here)}. Build the model in the same way before loading."
                )
        values = {key: np.asarray(store[str(number)]) for number, key in enumerate(description["keys"])}
        set_state(self, description["updates"], values, "The file")

    def _identity(self) -> dict[str, Any]:
        """Return what a file and a model must have in common."""
        return {
            "class": type(self).__name__,
            "base fingerprint": self.preset.fingerprint if self.preset is not None else None,
            "classes": list(getattr(self, "classes", ())),
            "quantize": quantized_mode(self),
        }

    def _obj_type(self) -> str:
        # Keras asks for this, and then for dir(model), to find the parts that it saves one by one. The model saves its
        # weights itself, so only the optimizer is left.
        self.__dict__["_asked_for_parts"] = True
        return "Layer"

    def __dir__(self) -> list[str]:
        """Return the names of attributes, or for Keras, when it saves, those of the parts to save."""
        if self.__dict__.pop("_asked_for_parts", False):
            # The state of the optimizer belongs to weights that were refused.
            return [] if self.__dict__.pop("_leave_parts", False) else ["optimizer"]
        return list(super().__dir__())


def _open_base(recorded: Mapping[str, Any]) -> Preset:
    """Find the preset of a saved model: by name, else in the folder where it was, else in the file itself."""
    wanted = str(recorded["fingerprint"])
    if "files" in recorded:
        return _unpacked(recorded, wanted)
    try:
        preset = find_preset(recorded["spec"])
    except PresetError:
        # A relative path is not valid in another working directory.
        if not Path(recorded["directory"]).is_dir():
            raise
        preset = open_folder(Path(recorded["directory"]), recorded["spec"], recorded["name"])
    if preset.fingerprint != wanted:
        raise PresetError(
            f"The model was saved on a base with fingerprint {wanted[:12]}, but {preset.directory} has "
            f"{preset.fingerprint[:12]}. Restore the base, or save the model with include_base=True."
        )
    return preset


def _packed(preset: Preset) -> dict[str, str]:
    """Return the files of a preset as text."""
    return {
        path.relative_to(preset.directory).as_posix(): base64.b64encode(path.read_bytes()).decode("ascii")
        for path in preset.files()
    }


def _unpacked(recorded: Mapping[str, Any], fingerprint: str) -> Preset:
    """Write the files of a preset into the cache, and open it there."""
    # The fingerprint names the folder, and a file from another person must not write elsewhere.
    if not SHA256.fullmatch(fingerprint):
        raise PresetError(f"The fingerprint of the base in the saved model is no sha256: {fingerprint!r:.60}. {_GET}")
    bases = cache_directory() / "bases"
    folder, name = bases / fingerprint[:32], str(recorded["name"])
    if _has_fingerprint(folder, name, fingerprint):
        return open_folder(folder, str(folder), name)
    bases.mkdir(parents=True, exist_ok=True)
    # Only a base with the right fingerprint gets its place in the cache: a wrong one would spoil it for other models.
    with tempfile.TemporaryDirectory(prefix="base-", dir=bases) as parent:
        unpacked = Path(parent) / "base"
        _write_files(recorded["files"], unpacked)
        if not _has_fingerprint(unpacked, name, fingerprint):
            raise PresetError(f"The base in the saved model is damaged: it has another fingerprint. {_GET}")
        if folder.is_dir():
            os.replace(folder, Path(parent) / "damaged")
        os.replace(unpacked, folder)
    return open_folder(folder, str(folder), name)


def _has_fingerprint(folder: Path, name: str, fingerprint: str) -> bool:
    try:
        return folder.is_dir() and open_folder(folder, str(folder), name).fingerprint == fingerprint
    except PresetError:  # files are missing or damaged
        return False


def _write_files(files: Mapping[str, str], folder: Path) -> None:
    for name, content in files.items():
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise PresetError(f"The saved model names a file outside of its base: {name!r:.60}. {_GET}")
        try:
            write_bytes(folder / name, base64.b64decode(content, validate=True))
        except (binascii.Error, TypeError, ValueError) as error:
            raise PresetError(f"The base in the saved model is damaged: {name!r:.60}. {_GET}") from error


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)[:12]
