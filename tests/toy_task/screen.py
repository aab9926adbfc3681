"""The error on a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from kerora.runfolder import RunFolder


def title(results: Any, split: str) -> str:
    return f"{results.name}: {split}"


def notes(results: Any, split: str) -> list[str]:
    return []


def report(results: Any, split: str) -> Iterator[Any]:
    yield f"Error: {results.after[split]['loss']:.4f}"


def comparison(comparison: Any) -> tuple[list[str], list[Any]]:
    return [], [f"{name}: {error}" for name, error in zip(comparison.names, comparison.errors, strict=True)]


def evaluation(folder: RunFolder, metrics: Mapping[str, Any], head: None) -> Iterator[tuple[str, list[Any]]]:
    yield "", [f"Errors: {metrics}"]
