"""What killed processes leave beside a target is removed by the next write, and what living ones use is not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kerora.guards import leftovers
from kerora.guards.leftovers import OLD_SECONDS, beside
from kerora.runfolder import write_text

LEAVE = """
import os, sys
from pathlib import Path
from kerora.guards.leftovers import beside
path = beside(Path(sys.argv[1]))
path.mkdir() if sys.argv[2] == "folder" else path.write_text("half")
(path / "inner").write_text("half") if sys.argv[2] == "folder" else None
print(path, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture(autouse=True)
def no_memory() -> None:
    leftovers._sweep.cache_clear()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_next_write_removes_what_a_killed_process_left(tmp_path: Path, kind: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", LEAVE, str(tmp_path / "out.csv"), kind], capture_output=True, text=True
    )
    assert Path(found.stdout.strip()).exists()
    write_text(tmp_path / "out.csv", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_files_of_living_processes_and_of_the_user_stay(tmp_path: Path) -> None:
    mine = beside(tmp_path / "out.csv")
    mine.write_text("half")
    other = mine.with_name(mine.name.replace(".out.csv.", ".other.csv."))
    kept = [mine, other, tmp_path / ".out.csv.tmp", tmp_path / ".out.csv.notes.tmp"]
    for path in kept[1:]:
        path.write_text("")
    # the same host and process id, another start: the process that left it is dead
    host, pid, started = mine.name.split(".")[3].split("-")
    dead = mine.with_name(f".out.csv.{host}-{pid}-{int(started) - 100}.00000000.tmp")
    dead.write_text("")
    leftovers._sweep.cache_clear()
    write_text(tmp_path / "out.csv", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"out.csv", *(path.name for path in kept)}


def test_what_another_machine_left_is_removed_after_a_day(tmp_path: Path) -> None:
    names = (".out.csv.ffffff-1-1.00000000.tmp", ".out.csv.0123abcd.tmp")
    for name in names:
        (tmp_path / name).write_text("")
    write_text(tmp_path / "out.csv", "")
    assert all((tmp_path / name).exists() for name in names)
    for name in names:
        os.utime(tmp_path / name, (0, time.time() - OLD_SECONDS - 60))
    leftovers._sweep.cache_clear()
    write_text(tmp_path / "out.csv", "")
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
