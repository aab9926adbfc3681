"""What is learnt from a teacher: states by word, the cache of them, words of its vocabulary, token embeddings."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerora.data.tokens import TokenTable, cache_directory
from kerora.errors import RunError
from kerora.models.architectures import ARCHITECTURES
from kerora.models.presets import find_preset
from kerora.models.tokenizer import TextTokenizer
from kerora.models.tokenizer_files import fresh_wordpiece
from kerora.pretraining.packing import PackedRow, pack, token_tables
from kerora.pretraining.teacher import Teacher, cached_targets, one_piece_words, start_from_teacher, word_means
from kerora.pretraining.vocabulary import SPECIAL_TOKENS
from tests.tiny import WORDS, tiny_huggingface

TEXTS = ["the movie was great", "the order is late again", "a boring plot and a terrible ending, really"]


def student() -> TextTokenizer:
    letters = sorted({letter for text in TEXTS for letter in text if letter != " "})
    pieces = ["the", "movie", "or", "##der", "end", *letters, *(f"##{letter}" for letter in letters)]
    return fresh_wordpiece([*SPECIAL_TOKENS, *pieces], ARCHITECTURES["distil_bert"])


def rows_of(texts: Sequence[str]) -> list[PackedRow]:
    return list(pack([text.split("\n") for text in texts], student(), 64))


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta_v3"])
def test_states_are_means_over_the_words_whatever_the_tokenizers(kind: str, tmp_path: Path) -> None:
    preset = find_preset(str(tiny_huggingface(kind, tmp_path / kind)))
    teacher = Teacher(preset, "float32", batch_size=2)
    rows, tokenizer, backbone = rows_of(TEXTS), student(), preset.load_backbone()
    found = teacher.states(rows, tokenizer.word_starts)
    for row, states in zip(rows, found, strict=True):
        (line,) = teacher.tokenizer.encode_lines([row.text])
        first, last = teacher.tokenizer.wrapping
        ids = np.array([[first, *line.ids, last]], np.int32)
        inputs = {name: np.zeros_like(ids) for name in backbone.input}
        outputs = backbone(inputs | {"token_ids": ids, "padding_mask": np.ones_like(ids)})
        hidden = (outputs["sequence_output"] if isinstance(outputs, dict) else outputs)[0].detach().numpy()
        assert np.allclose(states[[0, -1]], hidden.mean(axis=0), atol=2e-6)
        shift = len(line.text) - len(row.text)
        for place, word in enumerate(whole_words(row, tokenizer)):
            overlap = [
                1 + number
                for number, (begin, end) in enumerate(line.spans)
                if begin - shift < word[1] and end - shift > word[0]
            ]
            assert overlap and np.allclose(states[1 + place], hidden[overlap].mean(axis=0), atol=2e-6)


def whole_words(row: PackedRow, tokenizer: TextTokenizer) -> list[tuple[int, int]]:
    """Start and end of the word of each token, found the slow way."""
    starts = tokenizer.word_starts[row.ids[1:-1]]
    words = []
    for place in range(len(starts)):
        begin = next(number for number in range(place, -1, -1) if starts[number] or number == 0)
        end = next((number for number in range(place + 1, len(starts)) if starts[number]), len(starts)) - 1
        words.append((int(row.spans[begin, 0]), int(row.spans[end, 1])))
    return words


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8), st.data())
def test_word_means_equal_a_slow_computation(lengths: list[int], data: Any) -> None:
    ends = np.cumsum(lengths)
    student_spans = np.stack([ends - lengths, ends], axis=1)
    cuts = sorted(data.draw(st.sets(st.integers(0, int(ends[-1])), min_size=2)))
    spans = np.array(list(itertools.pairwise(cuts)))
    starts = np.array(data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths))))
    states = np.random.default_rng(0).normal(size=(len(spans), 3)).astype(np.float32)
    row = PackedRow(np.array([0, *np.where(starts, 1, 2), 0]), "", student_spans)
    slow = type("Slow", (), {"word_starts": np.array([True, True, False])})()
    expected = [
        states[[begin < word[1] and end > word[0] for begin, end in spans]].sum(axis=0)
        / max(1, sum(begin < word[1] and end > word[0] for begin, end in spans))
        for word in whole_words(row, slow)
    ]
    assert np.allclose(word_means(states, spans, student_spans, starts), expected, atol=1e-6)


def test_tokens_beyond_the_teachers_longest_text_get_zeros(tmp_path: Path) -> None:
    teacher = Teacher(find_preset(str(tiny_huggingface("bert", tmp_path / "bert"))), "float32")
    teacher._max_length = 5
    (states,) = teacher.states(rows_of(["the movie was great"]), student().word_starts)
    assert states[:5].any(axis=1).all() and not states[-6:-1].any() and states[-1].any()


def cached(teacher: Teacher, rows: list[PackedRow], calls: list[int]) -> np.ndarray:
    (table,) = token_tables(rows, False, 64)
    return cached_targets("key", teacher, table, lambda: rows, student().word_starts, calls.append)


def test_cached_directions_and_an_interrupted_reading_goes_on(
    tmp_path: Path, tiny_preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERORA_CACHE", str(tmp_path))
    monkeypatch.setattr("kerora.pretraining.teacher.CHUNK_ROWS", 2)
    teacher, rows = Teacher(find_preset(str(tiny_preset)), "float32"), rows_of([*TEXTS, *TEXTS[::-1]])
    whole = np.concatenate(teacher.states(rows, student().word_starts))
    states = teacher.states

    def stopped(part: Sequence[PackedRow], starts: np.ndarray) -> list[np.ndarray]:
        if part[0].text == rows[2].text:
            raise KeyboardInterrupt
        return states(part, starts)

    with monkeypatch.context() as patch:
        patch.setattr(teacher, "states", stopped)
        with pytest.raises(KeyboardInterrupt):
            cached(teacher, rows, [])
    (left,) = (cache_directory() / "teachers").iterdir()
    assert left.suffix == ".partial" and left.stat().st_size == sum(len(row.ids) for row in rows[:2]) * teacher.width
    with left.open("ab") as stream:
        stream.write(b"torn")
    calls: list[int] = []
    for _ in range(2):
        found = cached(teacher, rows, calls)
    assert calls == [4, 6] and isinstance(found, np.memmap) and found.dtype == np.int8
    assert [path.suffix for path in (cache_directory() / "teachers").iterdir()] == [".int8"]
    cosine = (found * whole).sum(1) / np.linalg.norm(found.astype(float), axis=1) / np.linalg.norm(whole, axis=1)
    assert cosine.min() > 0.9998


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, tiny_preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERORA_CACHE", str(tmp_path / "file"))
    with pytest.raises(RunError, match=r"Cannot keep the teacher's states \(0.0 GB\).*KERORA_CACHE"):
        cached(Teacher(find_preset(str(tiny_preset)), "float32"), rows_of(TEXTS), [])


def test_no_rows_need_no_teacher(tiny_preset: Path) -> None:
    empty = TokenTable(np.zeros(0, np.int32), np.zeros(1, np.int64))
    teacher = Teacher(find_preset(str(tiny_preset)), "float32")
    found = cached_targets("none", teacher, empty, lambda: [], student().word_starts)
    assert found.shape == (0, teacher.width)


def test_words_of_the_teacher(tiny_preset: Path) -> None:
    words = one_piece_words(find_preset(str(tiny_preset)).load_tokenizer())
    assert {"movie", "terrible"} <= set(words) and all(len(word) >= 3 and word.isalpha() for word in words)


def test_a_student_starts_at_the_states_of_single_pieces(tiny_preset: Path) -> None:
    teacher = Teacher(find_preset(str(tiny_preset)), "float32")
    student = fresh_wordpiece([*SPECIAL_TOKENS, *WORDS[:40], "watches", "漢"], ARCHITECTURES["distil_bert"])
    start = start_from_teacher(student, teacher, 32, seed=1)
    assert start.embeddings.shape == (len(student.pieces), 32) and start.embeddings.std() == pytest.approx(
        0.05, rel=0.2
    )
    texts = [*WORDS[:40], "watches"]
    ids = [np.array([2, *line.ids, 3], np.int32) for line in teacher.tokenizer.encode_lines(texts)]
    assert teacher.tokenizer.wrapping == (2, 3)
    direct = np.array(
        [states[1:-1].mean(axis=0) for _, states in sorted(teacher.hidden(ids), key=lambda pair: pair[0])]
    )
    reached = start.embeddings[5:46] / 0.05 @ start.kernel + start.bias
    assert np.allclose(reached, direct, atol=1e-4)  # the teacher is 32 wide, so nothing is lost
    for width in (8, 48):
        narrow = start_from_teacher(student, teacher, width, seed=1)
        assert narrow.embeddings.shape[1] == width and narrow.kernel.shape == (width, teacher.width)
