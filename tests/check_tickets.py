"""Checks the bundled set of customer messages, and prints the numbers.

python tests/check_tickets.py
"""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline

FILE = Path(__file__).resolve().parent.parent / "kerora" / "data" / "tickets.jsonl"
CLASSES = ("account", "billing", "delivery", "praise-and-feedback", "returns", "technical")
SPLITS = ("train", "validation", "test")
GRAM = 4
CONTACTS = {
    "an e-mail address": re.compile(r"\w@\w"),
    "a web address": re.compile(r"https?:|www\.|\w\.(com|org|net)\b", re.IGNORECASE),
    "a phone number": re.compile(r"\+\d[\d ()/-]{6,}\d|\b0\d[\d ()/-]{6,}\d"),
    "a payment card or account number": re.compile(r"\b(?:\d{4}[ -]?){3,}\d{2,4}\b|\b[A-Z]{2}\d{2}(?: ?\w{4}){3,}\b"),
}

Row = dict[str, str]


def read(path: Path = FILE) -> list[Row]:
    """Read the rows in the order of the file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def words(text: str) -> list[str]:
    """Return the words of a text, without case and punctuation."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def grams(text: str) -> set[tuple[str, ...]]:
    """Return the runs of four words in a text."""
    tokens = words(text)
    return {tuple(tokens[start : start + GRAM]) for start in range(len(tokens) - GRAM + 1)}


def overlaps(rows: list[Row]) -> Iterator[tuple[float, int, int]]:
    """Yield every pair of rows that shares word 4-grams, with the share of the smaller one's."""
    sets = [grams(row["text"]) for row in rows]
    owners: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, gram_set in enumerate(sets):
        for gram in gram_set:
            owners[gram].append(number)
    shared = Counter(pair for group in owners.values() for pair in combinations(sorted(group), 2))
    for (first, second), count in shared.items():
        yield count / min(len(sets[first]), len(sets[second])), first, second


def duplicates(rows: list[Row]) -> list[str]:
    """Return the texts that occur again once case, punctuation and spaces are taken off."""
    counts = Counter(" ".join(words(row["text"])) for row in rows)
    return [text for text, count in counts.items() if count > 1]


def contacts(rows: list[Row]) -> list[str]:
    """Return the texts that hold something by which a person could be reached or charged."""
    return [f"{what}: {row['text']}" for row in rows for what, form in CONTACTS.items() if form.search(row["text"])]


def baseline(rows: list[Row]) -> float:
    """Return the test macro F1 of TF-IDF and logistic regression, both with scikit-learn's defaults."""
    parts = {split: [row for row in rows if row["split"] == split] for split in SPLITS}
    texts = {split: [row["text"] for row in part] for split, part in parts.items()}
    labels = {split: [row["label"] for row in part] for split, part in parts.items()}
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
    model.fit(texts["train"], labels["train"])
    return float(f1_score(labels["test"], model.predict(texts["test"]), average="macro"))


def main() -> None:
    """Print the numbers."""
    rows = read()
    counts = Counter((row["split"], row["label"]) for row in rows)
    lengths = sorted(len(words(row["text"])) for row in rows)
    print(f"{len(rows)} messages, {lengths[0]} to {lengths[-1]} words, median {lengths[len(lengths) // 2]}")
    for name in CLASSES:
        print(f"{name:20}", *(f"{split} {counts[split, name]:4}" for split in SPLITS))
    print(f"duplicates: {len(duplicates(rows))}, contact details: {len(contacts(rows))}")
    share, first, second = max(overlaps(rows), default=(0.0, 0, 0))
    print(f"largest share of common word {GRAM}-grams: {share:.3f}")
    print(f"  {rows[first]['text']}\n  {rows[second]['text']}")
    print(f"TF-IDF and logistic regression, macro F1 on the test split: {baseline(rows):.3f}")


if __name__ == "__main__":
    main()
