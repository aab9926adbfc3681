"""labels.json: the classes of a run, with the labels that they had in the training data, and the temperature."""

from pathlib import Path

from kerora.data.classes import ClassLabels
from kerora.errors import RunError
from kerora.lora.temperature import temperature_of
from kerora.runfolder import read_json, write_json


def read_labels(path: Path) -> ClassLabels:
    """Read labels.json. Files of older versions hold only the names.

    Raises:
        RunError: the file is missing or damaged.
    """
    content = read_json(path)
    names = _texts(content.get("classes"))
    # an entry that is no text makes the list empty, see `_texts`
    if len(names) < 2:
        raise RunError(
            f"{path} is damaged: 'classes' must be a list of two or more names. Received: {content.get('classes')!r}"
        )
    values = _texts(content.get("values", []))
    # two classes with one label could not be told apart in new data
    if "values" in content and (len(values) != len(names) or len(set(values)) != len(values)):
        raise RunError(
            f"{path} is damaged: 'values' must be a list of {len(names)} different labels. "
            f"Received: {content['values']!r}"
        )
    return ClassLabels(names, values, temperature_of(content, path))


def write_labels(path: Path, labels: ClassLabels) -> None:
    """Write labels.json."""
    # left out, not empty: `read_labels` refuses a list of another length
    values = {"values": list(labels.values)} if labels.values else {}
    temperature = {"temperature": labels.temperature} if labels.temperature != 1 else {}
    write_json(path, {"classes": list(labels.names), **values, **temperature})


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return ()
    return tuple(value)
