"""Documents, the held-out part, rows, and masks."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kerora.data.tokens import TokenTable, cache_key, cached_table
from kerora.errors import ConfigError, DataError
from kerora.models.architectures import ARCHITECTURES
from kerora.models.tokenizer import TextTokenizer
from kerora.models.tokenizer_files import fresh_wordpiece
from kerora.pretraining.corpus import SECTION_CHARACTERS, Corpus, held_out_documents, part_of
from kerora.pretraining.masking import MaskedBatches, Vocabulary, mask_words
from kerora.pretraining.packing import _rooms, pack, token_tables
from kerora.settings.pretrain import CorpusConfig
from tests.tiny import wordpiece_vocabulary


def corpus(*paths: Path, **settings: object) -> Corpus:
    return Corpus(CorpusConfig(text=tuple(map(str, paths)), **settings))  # type: ignore[arg-type]


@pytest.fixture
def tokenizer() -> TextTokenizer:
    return fresh_wordpiece(wordpiece_vocabulary(), ARCHITECTURES["distil_bert"])


def vocabulary_of(tokenizer: TextTokenizer) -> Vocabulary:
    assert tokenizer.mask_id is not None
    return Vocabulary(tokenizer.mask_id, tokenizer.word_starts, tokenizer.special)


def test_documents_of_every_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("One paragraph.\n\n  Another one. \n")
    with gzip.open(tmp_path / "more.txt.gz", "wt") as stream:
        stream.write("zipped\n")
    (tmp_path / "rows.jsonl").write_text('{"text": "first\\nsecond line", "label": 1}\n{"text": "b"}\n')
    (tmp_path / "with.csv").write_text("label,sentence\n1,with a header\n")
    (tmp_path / "without.csv").write_text("3,A title,and more\n4,B title,and less\n")
    names = ("book.txt", "more.txt.gz", "rows.jsonl", "with.csv", "without.csv")
    found = corpus(*(tmp_path / name for name in names), columns=("class", "title", "description"))
    assert list(found) == [
        ["One paragraph.", "Another one."], ["zipped"], ["first", "second line"], ["b"], ["with a header"],
        ["A title and more"], ["B title and less"],
    ]  # fmt: skip
    assert found.survey().documents == 7
    facts = found.fingerprints()
    assert [item["file"] for item in facts] == list(names) and all(len(item["sha256"]) == 64 for item in facts)
    named = corpus(tmp_path / "without.csv", columns=("a", "b", "c"), text_column=("b",))
    assert list(named) == [["A title"], ["B title"]]


def test_a_long_text_is_cut_into_documents_at_line_ends(tmp_path: Path) -> None:
    lines = [f"line {number} " + "word " * 50 for number in range(200)]
    (tmp_path / "book.txt").write_text("\n".join(lines))
    documents = list(corpus(tmp_path / "book.txt"))
    assert [line for document in documents for line in document] == [line.strip() for line in lines]
    sizes = [sum(map(len, document)) for document in documents]
    assert all(SECTION_CHARACTERS <= size < SECTION_CHARACTERS + 300 for size in sizes[:-1])


def test_held_out_documents_are_a_function_of_the_seed(tmp_path: Path) -> None:
    first = held_out_documents(1000, 0.01, 1)
    assert first.sum() == 10 and (first == held_out_documents(1000, 0.01, 1)).all()
    assert (first != held_out_documents(1000, 0.01, 2)).any()
    assert held_out_documents(5, 0.01, 1).sum() == 1 and not held_out_documents(1, 0.0, 1).any()
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": f"text {n}"}) + "\n" for n in range(20)))
    found = corpus(tmp_path / "rows.jsonl")
    chosen = held_out_documents(20, 0.2, 3)
    parts = [list(part_of(found, chosen, part)) for part in (False, True)]
    assert [len(part) for part in parts] == [16, 4]
    assert sorted(map(str, parts[0] + parts[1])) == sorted(map(str, found))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "a.txt holds no text"),
        ("a.txt", b" \n\n", "holds no text"),
        ("a.txt", b"\x89PNG\x00\xff\xfe", "is not UTF-8"),
        ("a.bin", b"ab\0cd\n", "a NUL byte"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"x,y\n1,2\n", "did not find"),
        ("a.txt.gz", b"\x1f\x8b\x08no gzip", "damaged compressed file"),
        ("a.jsonl", b'{"text": ""}\n', "row 1"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        corpus(tmp_path / name).survey()
    assert "\n" not in str(caught.value)


def test_bad_rows_are_skipped_counted_and_listed_when_asked(tmp_path: Path) -> None:
    rows = ['{"text": "one"}', '{"text": ""}', "no JSON", '{"text": "two"}', '{"text": null}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "b.csv").write_text("text;n\nthree;1\nfour;1;2\n")
    files, bad = [tmp_path / "a.jsonl", tmp_path / "b.csv"], tmp_path / "bad.csv"
    with pytest.raises(DataError, match="a.jsonl"):
        corpus(*files, bad_rows=str(bad)).survey()
    assert len(bad.read_text().splitlines()) == 2, "the row that stopped it is listed"
    found = corpus(*files, skip_bad_rows=True, bad_rows=str(bad), delimiter=";")
    with pytest.warns(UserWarning, match="The text: bad rows skipped: 4"):
        assert found.survey().documents == 3
    assert list(found) == [["one"], ["two"], ["three"]]
    listed = bad.read_text()
    assert [name in listed for name in ("a.jsonl", "b.csv")] == [True, True] and len(listed.splitlines()) == 5


def test_the_format_and_the_separator_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.dump").write_text("body^n\na, b^1\nc; d^2\n")
    found = corpus(tmp_path / "a.dump", format="csv", delimiter="^", text_column=("body",))
    assert list(found) == [["a, b"], ["c; d"]]
    (tmp_path / "b.dump").write_text("1^a, b\n2^c; d\n")
    found = corpus(tmp_path / "b.dump", format="csv", delimiter="^", text_column=("body",), columns=("n", "body"))
    assert list(found) == [["a, b"], ["c; d"]]


def test_files_that_are_not_there_or_twice_or_too_small(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--text"):
        corpus()
    with pytest.raises(DataError, match="There is no file"):
        corpus(tmp_path / "nothing.txt")
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ConfigError, match="twice"):
        corpus(tmp_path / "a.txt", tmp_path / "." / "a.txt")
    with pytest.raises(DataError, match="1 document of about"):
        held_out_documents(1, 0.01, 1)


def test_rows_hold_whole_words_of_one_document_and_all_of_them(tokenizer: TextTokenizer) -> None:
    documents = [["the movie was great", "the plot was boring", "x " * 40], ["happily ever after"], ["hyphenless" * 9]]
    rows = list(pack(documents, tokenizer, 16))
    first, last = tokenizer.wrapping
    assert all(row.ids[0] == first and row.ids[-1] == last and len(row.ids) <= 16 for row in rows)
    inner = [int(number) for row in rows for number in row.ids[1:-1]]
    plain = [number for document in documents for line in tokenizer.encode_lines(document) for number in line.ids]
    assert inner == plain
    for row in rows:
        words = [row.text[begin:end] for begin, end in row.spans]
        assert words == [tokenizer.pieces[number].removeprefix("##") for number in row.ids[1:-1]]
    assert rows[0].text == "the movie was great\nthe plot was boring"
    assert [row.text for row in rows[1:5]] == ["x " * 13 + "x", "x " * 13 + "x", "x " * 11 + "x", documents[1][0]]
    assert sum(not tokenizer.word_starts[row.ids[1]] for row in rows) == len(rows) - 6  # only the overlong word is cut


def test_short_rows_have_limits_of_their_own_and_hold_the_same_words(tokenizer: TextTokenizer) -> None:
    documents = [["the movie was great"], ["x " * 400], *[["again " * 30]] * 40]
    whole = [number for row in pack(documents, tokenizer, 128) for number in row.ids[1:-1]]
    rows = list(pack(documents, tokenizer, 128, 1.0, seed=3))
    assert [number for row in rows for number in row.ids[1:-1]] == whole
    cut = [len(row.ids) for row in rows if row.text.startswith("x")][:-1]
    assert min(cut) >= 16 and max(cut) <= 128 and len(set(cut)) > 3
    lengths = np.array([next(rooms) + 2 for rooms in [_rooms(128, 1.0, 1)] for _ in range(4_000)])
    assert np.median(lengths) == pytest.approx(np.sqrt(16 * 128), rel=0.03)
    assert np.mean([next(rooms) == 126 for rooms in [_rooms(128, 0.25, 1)] for _ in range(4_000)]) > 0.7
    again = [row.ids.tolist() for row in pack(documents, tokenizer, 128, 1.0, seed=3)]
    assert again == [row.ids.tolist() for row in rows]
    assert again != [row.ids.tolist() for row in pack(documents, tokenizer, 128, 1.0, seed=4)]


def test_packed_rows_go_through_the_token_cache(tokenizer: TextTokenizer) -> None:
    documents = [["a text"], ["another text"]]
    calls = []

    def chunks() -> list[TokenTable]:
        calls.append(1)
        return list(token_tables(pack(documents, tokenizer, 16), False, 16))

    tables = [cached_table(cache_key("packing", 1), chunks, max_length=16) for _ in range(2)]
    assert len(calls) == 1 and isinstance(tables[1].ids, np.memmap) and len(tables[1]) == 2
    assert tables[0].row(1).tolist() == list(pack(documents, tokenizer, 16))[1].ids.tolist()


def masked_many(tokenizer: TextTokenizer, texts: Sequence[str], share: float = 0.15) -> list[tuple[np.ndarray, object]]:
    table = tokenizer.encode(texts, max_length=64)
    ids = np.zeros((len(texts), int(table.lengths.max())), np.int32)
    for number in range(len(texts)):
        ids[number, : len(table.row(number))] = table.row(number)
    return [(ids, mask_words(ids, vocabulary_of(tokenizer), share, np.random.default_rng(n))) for n in range(60)]


def test_statistics_of_the_masks(tokenizer: TextTokenizer) -> None:
    vocabulary = vocabulary_of(tokenizer)
    texts = ["the order was late and unwatchable", "zzyzx thanks for the wonderful service", "again"] * 30
    kept = replaced = masked = words = chosen = 0
    for ids, found in masked_many(tokenizer, texts):
        new, old = found.token_ids.reshape(-1)[found.positions], ids.reshape(-1)[found.positions]
        assert (found.labels == old).all()
        assert not vocabulary.special[old].any()
        untouched = np.ones(ids.size, bool)
        untouched[found.positions] = False
        assert (found.token_ids.reshape(-1) == ids.reshape(-1))[untouched].all()
        # a word is masked with all its pieces or not at all
        positions = set(found.positions.tolist())
        for place in np.flatnonzero(~vocabulary.word_starts[ids.reshape(-1)]):
            assert (place in positions) == (place - 1 in positions)
        words += int((vocabulary.word_starts[ids] & ~vocabulary.special[ids]).sum())
        chosen += int(vocabulary.word_starts[old].sum())
        kept += int((new == old).sum())
        masked += int((new == vocabulary.mask_id).sum())
        replaced += int(((new != old) & (new != vocabulary.mask_id)).sum())
        assert not vocabulary.special[new[new != vocabulary.mask_id]].any()
    assert chosen / words == pytest.approx(0.15, abs=0.002)
    total = kept + masked + replaced
    shares = (masked / total, replaced / total, kept / total)
    assert shares == pytest.approx((0.8, 0.1, 0.1), abs=0.01)


def test_at_least_one_word_is_masked_and_rows_of_special_tokens_are_left_alone(tokenizer: TextTokenizer) -> None:
    assert all(len(found.labels) == 1 for _, found in masked_many(tokenizer, ["again"]))
    assert all(len(found.labels) == 0 for _, found in masked_many(tokenizer, [""]))


def test_masks_are_a_function_of_seed_epoch_and_place(tokenizer: TextTokenizer) -> None:
    texts = [f"the {word} was late again and again" for word in ("order", "movie", "team", "store", "ending") * 8]
    table = tokenizer.encode(texts, max_length=32)
    teacher = np.stack([table.ids % 100 + 1, np.arange(len(table.ids)) % 100], axis=1).astype(np.int8)

    def batches(seed: int = 1, shuffle: bool = True) -> MaskedBatches:
        return MaskedBatches(table, vocabulary_of(tokenizer), 0.2, teacher, batch_size=8, seed=seed, shuffle=shuffle)

    whole, late, other = batches(), batches(), batches(seed=2)
    whole.move_to(3)
    late.move_to(3, 2)
    for name in ("token_ids", "mask_positions"):
        assert (whole[2][0][name] == late[0][0][name]).all()
    labels, targets = late[0][1]
    assert targets.dtype == np.int8 and targets.shape == (*late[0][0]["token_ids"].shape, 2)
    assert len(labels) == len(late[0][0]["mask_positions"])
    real = late[0][0]["padding_mask"] == 1
    shown = late[0][0]["token_ids"]
    unmasked = real.reshape(-1) & ~np.isin(np.arange(shown.size), late[0][0]["mask_positions"])
    assert (targets.reshape(-1, 2)[unmasked, 0] == shown.reshape(-1)[unmasked] % 100 + 1).all()
    assert not targets[~real].any() and targets[real][:, 0].all()
    assert whole[2][0]["token_ids"].tolist() != other[2][0]["token_ids"].tolist()
    before = whole[2][0]["mask_positions"].tolist()
    whole.move_to(4)
    assert before != whole[2][0]["mask_positions"].tolist()
    fixed = batches(shuffle=False)
    assert fixed[1][0]["token_ids"].tolist() == batches(shuffle=False)[1][0]["token_ids"].tolist()
