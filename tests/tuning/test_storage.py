"""What --storage may be: the path of a database, of a journal, and files that are neither."""

import sqlite3
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

from kerora.errors import RunError
from kerora.tuning.storage import HeartbeatJournal, open_storage, storage_url


@pytest.mark.parametrize("name", ["new.db", "a?b/new.SQLITE3", "team.sqlite"])
def test_a_new_database_file(tmp_path: Path, name: str) -> None:
    storage = open_storage(str(tmp_path / name), tmp_path)
    assert isinstance(storage, RDBStorage) and (tmp_path / name).read_bytes().startswith(b"SQLite format 3")


def test_an_existing_file_is_what_its_first_bytes_say(tmp_path: Path) -> None:
    database, journal = tmp_path / "trials.journal", tmp_path / "trials.db"
    sqlite3.connect(database).execute("create table t (x)").connection.commit()
    assert isinstance(open_storage(str(database), tmp_path), RDBStorage)
    first = open_storage(str(tmp_path / "trials"), tmp_path)
    assert isinstance(first, HeartbeatJournal)
    first.create_new_study([], "one")
    (tmp_path / "trials").rename(journal)
    assert isinstance(open_storage(str(journal), tmp_path), HeartbeatJournal)


@pytest.mark.parametrize("name", ["rows.csv", "notes.db"])
def test_another_file_is_refused_and_stays(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"text,label\n\xdf,x\n")
    with pytest.raises(
        RunError, match=f"{name} is neither an SQLite database nor a journal .*a new file for --storage"
    ):
        open_storage(str(file), tmp_path)
    assert file.read_bytes() == b"text,label\n\xdf,x\n"
    with pytest.raises(RunError, match="Is a directory"):
        open_storage(str(tmp_path), tmp_path)


def test_urls_and_the_default_stay(tmp_path: Path) -> None:
    assert storage_url("postgresql://me@server/db", tmp_path) == "postgresql://me@server/db"
    assert storage_url(None, tmp_path) == f"sqlite:///{tmp_path / 'study.db'}"
