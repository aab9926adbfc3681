"""Excerpts of a text with other words in them."""

from kerora.pretraining.substitution import EXCERPT_WORDS, substituted

WORDS = [f"word{number}" for number in range(50)]
TEXT = [["Zwei drei vier."], ["eins " * 30, "neun"], ["x"]]


def excerpts(seed: int) -> list[str]:
    return [line for (line,) in substituted(TEXT, len(TEXT), WORDS, times=2, seed=seed)]


def test_each_word_stands_in_the_text_so_many_times() -> None:
    lines = excerpts(seed=1)
    found = [word for line in lines for word in line.split() if word in WORDS]
    assert sorted(found) == sorted([*WORDS, *WORDS])
    assert max(len(line.split()) for line in lines) == EXCERPT_WORDS
    assert all(line.split().count("eins") >= 12 for line in lines if len(line.split()) == EXCERPT_WORDS)
    assert lines == excerpts(seed=1) != excerpts(seed=2)


def test_no_documents_give_no_excerpt() -> None:
    assert list(substituted([], 0, WORDS, times=1, seed=0)) == []
