"""The features of the baseline are those of scikit-learn, for texts, pairs, other scripts and many texts."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from kerora.data.rows import Rows
from kerora.data.text_store import TextStore
from kerora.errors import DataError
from kerora.evaluation import baselines
from kerora.evaluation.baselines import TITLES, TextFeatures, is_unspaced
from tests.tiny import WORDS

TEXTS = [f"{WORDS[number % 90]} {WORDS[(number * 7) % 90]} {WORDS[(number * 3) % 90]}" for number in range(60)]


def test_features_of_texts_are_those_of_scikit_learn() -> None:
    plain = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    features = TextFeatures(Rows.numbered(TEXTS))
    assert features.name == TITLES["words"]
    np.testing.assert_array_equal(features.matrix.toarray(), plain.fit_transform(TEXTS).toarray())
    new = ["late parcel late", "nothing known"]
    np.testing.assert_array_equal(features(Rows.numbered(new)).toarray(), plain.transform(new).toarray())


def test_a_pair_has_the_terms_of_both_texts_and_their_cosine() -> None:
    firsts, seconds = TEXTS[:30], [*TEXTS[:5], *TEXTS[30:55]]
    plain = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(firsts + seconds)
    first, second = (plain.transform(texts).toarray() for texts in (firsts, seconds))
    found = TextFeatures(Rows.numbered(firsts, pairs=seconds)).matrix.toarray()
    np.testing.assert_allclose(found[:, :-1], np.hstack([first, second]), rtol=1e-12)
    np.testing.assert_allclose(found[:, -1], np.diag(cosine_similarity(first, second)), atol=1e-12)
    np.testing.assert_allclose(found[:5, -1], 1)


def test_texts_on_disk_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows(TextStore(TEXTS), TextStore(map(str, range(60))), pairs=TextStore(reversed(TEXTS)))
    features = TextFeatures(rows)
    whole = features(rows)
    monkeypatch.setattr(baselines, "BLOCK", 7)
    np.testing.assert_array_equal(features.apply(lambda part: part.toarray(), rows), whole.toarray())


@pytest.mark.parametrize(
    ("texts", "unspaced"),
    [
        (["包裹还没有送到", "我的订单在哪里"], True),
        (["荷物が届きません"], True),
        (["พัสดุมาช้า"], True),
        (["택배가 늦었어요"], False),
        (["посылка опоздала"], False),
        (["the word 包裹 means parcel in Chinese"], False),
        (["", "1234"], False),
    ],
)
def test_scripts_without_blanks_between_words(texts: list[str], unspaced: bool) -> None:
    assert is_unspaced(texts) == unspaced
    if unspaced:
        assert TextFeatures(Rows.numbered(texts)).name == TITLES["characters"]


def test_single_letters_and_emojis_are_counted_as_characters() -> None:
    for texts in (["a", "b", "a b"], ["👍", "👎"]):
        features = TextFeatures(Rows.numbered(texts))
        assert features.name == TITLES["characters"] and features.matrix.nnz


@pytest.mark.parametrize("most", [baselines.MOST_COUNTED, 10])
def test_texts_without_any_character(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MOST_COUNTED", most)
    with pytest.raises(DataError, match="no word and no character"):
        TextFeatures(Rows.numbered(["", ""]))


def test_many_texts_are_hashed_into_a_bounded_number_of_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MOST_COUNTED", 100)
    features = TextFeatures(Rows.numbered(TEXTS), outputs=500)
    assert features.matrix.shape == (60, 2048) and features.matrix.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features.matrix.toarray(), axis=1), 1, rtol=1e-6)
    # single letters beyond the limit fall back to characters too
    assert TextFeatures(Rows.numbered(["a b c"] * 90)).name == TITLES["characters"]


def test_many_outputs_leave_out_rare_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MOST_WEIGHTS", 1)
    texts = [f"often {number}x{number}" for number in range(3000)]
    features = TextFeatures(Rows.numbered(texts), outputs=77)
    assert features.matrix.shape == (3000, 1000) and features(Rows.numbered(["often"])).nnz == 1
