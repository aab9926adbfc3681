"""Names of the Hugging Face hub."""

import pytest

from kerora.hubs.names import Repository, parse_repository


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("hf://org/name", Repository("model", "org/name")),
        ("hf://gpt2", Repository("model", "gpt2")),
        ("hf://org/name/", Repository("model", "org/name")),
        ("hf://org/name@v1.0", Repository("model", "org/name", "v1.0")),
        ("hf://org/name@refs/pr/1/a/b.csv", Repository("model", "org/name", "refs/pr/1", "a/b.csv")),
        ("hf://org/name@feature%2Fx", Repository("model", "org/name", "feature/x")),
        ("hf://datasets/imdb", Repository("dataset", "imdb")),
        ("hf://datasets/imdb@main/plain_text", Repository("dataset", "imdb", "main", "plain_text")),
        ("hf://datasets/org/name/data/train.csv", Repository("dataset", "org/name", None, "data/train.csv")),
        ("hf://", None),
        ("hf://@main", None),
        ("hf://org/name/../../etc", None),
        ("org/name", None),
        ("kaggle://keras/bert/keras/x", None),
        ("", None),
    ],
)
def test_names(spec: str, expected: Repository | None) -> None:
    assert parse_repository(spec) == expected
    if expected is not None:
        assert expected.short_name == expected.name.split("/")[-1]
