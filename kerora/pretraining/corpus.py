"""Unlabelled text for pre-training: documents streamed from files, and the choice of the held-out documents.

A row of a table file (CSV, TSV, JSON, JSON Lines, Parquet) is a document. Any other file is plain text with one
paragraph per line. It is cut at line ends into sections of about `SECTION_CHARACTERS`, and each section is a
document. Without this cut, a book could only be held out as a whole. The text is never kept in memory.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.bad_rows import BadRows, by_reason, check_bad_rows_path, write_bad_rows
from kerora.data.columns import find_columns
from kerora.data.extract import read_records
from kerora.data.files import format_of, is_table, open_table, require_file
from kerora.data.lines import open_lines
from kerora.errors import ConfigError, DataError
from kerora.notices import notice
from kerora.places import expanded
from kerora.settings.fit import DataConfig
from kerora.settings.pretrain import CorpusConfig

SECTION_CHARACTERS = 4_000
_BLOCK = 1 << 22  # bytes that are hashed at a time (4 MiB), so that a large file need not fit into memory
_HOLDOUT = 77  # part of the seed, so that other random choices with the same seed are independent


@dataclass(frozen=True)
class Survey:
    """How much text a corpus holds."""

    documents: int
    characters: int


class Corpus:
    """The documents of the files, in order. Each document is a list of its lines without blank lines.

    Args:
        config: files, columns and the held-out share.

    Raises:
        ConfigError: no file is named, or a file is named twice.
        DataError: a file is missing.
    """

    def __init__(self, config: CorpusConfig) -> None:
        if not config.text:
            raise ConfigError("There is no text to train on. Name the files with --text.")
        self.config = config
        self.files = [expanded(name) for name in config.text]
        for path in self.files:
            require_file(path)
        # resolved, because two paths may name one file: its text would then count twice and could be held out in part
        resolved = [path.resolve() for path in self.files]
        twice = next((path for path in self.files if resolved.count(path.resolve()) > 1), None)
        if twice is not None:
            raise ConfigError(f"--text names {twice} twice. Name each file once.")

    def __iter__(self) -> Iterator[list[str]]:
        """Read all documents.

        Raises:
            DataError: a file is not text, is damaged, or holds no text. The error names the place.
        """
        return self._documents(BadRows())

    def _documents(self, bad: BadRows) -> Iterator[list[str]]:
        for path in self.files:
            count = 0
            for document in self._read(path, bad):
                count += 1
                yield document
            # an error, because a file without text is mostly the wrong file
            if count == 0:
                raise DataError(f"{path} holds no text. Leave it out or give another file.")

    def survey(self) -> Survey:
        """Count documents and characters. This reads every file, so that faults are found before any other work.

        The rows that are skipped are said here, and listed in the file of `bad_rows`.
        """
        if self.config.bad_rows is not None:
            check_bad_rows_path(expanded(self.config.bad_rows))
        bad = BadRows(keep=self.config.bad_rows is not None)
        documents = characters = 0
        for document in self._documents(bad):
            documents += 1
            characters += sum(map(len, document))
        write_bad_rows(self.config.bad_rows, [bad])
        if bad.count:
            notice(f"The text: bad rows skipped: {bad.count:,} ({by_reason(bad.reasons)}).")
        return Survey(documents, characters)

    def fingerprints(self) -> list[dict[str, Any]]:
        """Return name, size in bytes and sha256 of each file."""
        return [{"file": path.name, "bytes": path.stat().st_size, "sha256": _sha256(path)} for path in self.files]

    def _read(self, path: Path, bad: BadRows) -> Iterator[list[str]]:
        if is_table(path, DataConfig(format=self.config.format)):
            return self._rows(path, bad)
        return _sections(path, self.config.encoding)

    def _rows(self, path: Path, bad: BadRows) -> Iterator[list[str]]:
        config = _table_config(path, self.config)
        with open_table(path, config) as table:
            for record in read_records(table, config, bad):
                lines = [line.strip() for text in (record.text, record.pair or "") for line in text.splitlines()]
                if any(lines):
                    yield [line for line in lines if line]


def held_out_documents(count: int, share: float, seed: int) -> np.ndarray:
    """Choose the held-out documents at random, bool (count,): at least one, or none if `share` is 0.

    Raises:
        DataError: no document would be left to train on.
    """
    chosen = np.zeros(count, bool)
    # at least one, because a small share of few documents would round to none, and no loss would be measured
    wanted = max(1, round(share * count)) if share > 0 else 0
    if wanted >= count:
        raise DataError(
            f"The text has {count} {'document' if count == 1 else 'documents'} of about {SECTION_CHARACTERS:,} "
            "characters. This is too little to train on and to hold out a part. Give more text, or --holdout 0."
        )
    chosen[np.random.default_rng((seed, _HOLDOUT)).permutation(count)[:wanted]] = True
    return chosen


def part_of(corpus: Corpus, held_out: np.ndarray, part: bool) -> Iterator[list[str]]:
    """Yield the held-out documents (`part` is True) or the others."""
    # strict: a file that gained or lost documents since the survey would shift the choice of all later ones
    return (document for document, chosen in zip(corpus, held_out, strict=True) if bool(chosen) is part)


def _sections(path: Path, encoding: str) -> Iterator[list[str]]:
    section: list[str] = []
    characters = 0
    with open_lines(path, encoding) as lines:
        for line in lines:
            if text := line.strip():
                section.append(text)
                characters += len(text)
            # only at a line end, so that no paragraph is divided between training and held-out text
            if characters >= SECTION_CHARACTERS:
                yield section
                section, characters = [], 0
    if section:
        yield section


def _table_config(path: Path, config: CorpusConfig) -> DataConfig:
    """Use the configured column names only for a file without a header line."""
    plain = DataConfig(
        text=config.text_column,
        delimiter=config.delimiter,
        format=config.format,
        encoding=config.encoding,
        skip_bad_rows=config.skip_bad_rows,
        bad_rows=config.bad_rows,
    )
    has_fields = format_of(path) in (".csv", ".tsv") or config.format in ("csv", "tsv")
    if config.columns and has_fields and not _names_text(path, plain):
        return replace(plain, columns=config.columns)
    return plain


def _names_text(path: Path, config: DataConfig) -> bool:
    try:
        with open_table(path, config) as table:
            columns: Sequence[str] = table.columns
            find_columns(columns, config, table.name, labelled=False)
    except DataError:
        return False
    return len(columns) > 1  # a single column is always taken as the text, whatever its name


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
