"""Prints what Kerora needs, without TensorFlow: one requirement per line, with the extras that are named.

    python requirements/lean.py > requirements/lean.txt
    python requirements/lean.py dev

KerasHub requires tensorflow-text, and with it TensorFlow (2.2 GB). Kerora never imports them. pip cannot leave out a
requirement of a requirement, so the lean installation lists all others and adds KerasHub with `--no-deps`.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
HUB = ("keras-hub", "keras-nlp")
"""Installed with `--no-deps`."""
NEEDED_BY_HUB = ("absl-py", "regex")
"""Requirements of KerasHub that Kerora does not require itself, except tensorflow-text."""


def main() -> None:
    """Print the requirements."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    print("\n".join(dict.fromkeys([*lean(project), *extras(project, sys.argv[1:])])))


def lean(project: dict[str, Any]) -> list[str]:
    """Return the requirements of every installation, except KerasHub and TensorFlow."""
    return [*(line for line in project["dependencies"] if name(line) not in HUB), *NEEDED_BY_HUB]


def extras(project: dict[str, Any], names: list[str]) -> Iterator[str]:
    """Yield the requirements of extras, with those of the extras that they name."""
    for extra in names:
        for line in project["optional-dependencies"][extra]:
            if name(line) == project["name"]:
                inner = line[line.index("[") + 1 : line.index("]")]
                yield from extras(project, [part.strip() for part in inner.split(",")])
            else:
                yield line


def name(requirement: str) -> str:
    """Return the normalised name of the package in a requirement."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found.group()).lower() if found else ""


if __name__ == "__main__":
    main()
