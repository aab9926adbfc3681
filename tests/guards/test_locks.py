"""Two processes never fill one folder, whatever a dead one left in it."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kerora.errors import RunError
from kerora.guards.leftovers import beside
from kerora.guards.locks import LOCK, claimed, this_process
from kerora.runfolder import RunFolder, create_run
from kerora.runs.open import read_config

HOLD = """
import sys, time
from pathlib import Path
from kerora.guards.locks import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_one_dies(tmp_path: Path) -> None:
    process = holder(tmp_path / "run")
    try:
        with pytest.raises(RunError, match=rf"run is in use by process {process.pid} on '.*', started 20.*Wait for it"):
            with claimed(tmp_path / "run"):
                pass
    finally:
        process.kill()
        process.wait()
    # the lock file of the killed process is still there, and names a process id that may live again
    assert (tmp_path / "run" / LOCK).is_file()
    facts = {**this_process(), "pid": 1}
    (tmp_path / "run" / LOCK).write_text(json.dumps(facts))
    with claimed(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_a_second_claim_of_one_process_is_refused_too(tmp_path: Path) -> None:
    with claimed(tmp_path / "run"), pytest.raises(RunError, match="is in use by process"):
        with claimed(tmp_path / "run"):
            pass


def test_a_folder_that_stays_empty_is_removed_and_others_stay(tmp_path: Path) -> None:
    with pytest.raises(ValueError), claimed(tmp_path / "a" / "b"):
        raise ValueError
    assert not any(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    with claimed(tmp_path / "mine"):
        pass
    with claimed(tmp_path / "runs" / "run"):
        (tmp_path / "runs" / "run" / "file").write_text("")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "mine", "run", "runs"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "deep"):
        with pytest.raises(RunError, match=r"Cannot create the run folder .*file.*Choose another --run\."):
            with claimed(path):
                pass


def add_one(folder: Path, path: Path) -> None:
    for _ in range(10):
        with claimed(folder, wait=30):
            count = int(path.read_text())
            time.sleep(0.001)
            path.write_text(str(count + 1))


def test_the_lock_file_is_removed_without_a_moment_in_which_two_hold_it(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=add_one, args=(tmp_path / "run", tmp_path / "count")) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (tmp_path / "count").read_text() == "20"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1, "host": 2, "started": 1e400}'])
def test_any_lock_file_of_a_holder_gives_one_line(tmp_path: Path, content: str) -> None:
    with claimed(tmp_path):
        (tmp_path / LOCK).write_text(content)
        with pytest.raises(RunError, match="is in use by another process"), claimed(tmp_path):
            pass


def test_a_folder_in_which_a_process_was_killed_before_its_first_file_is_free(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / LOCK).write_text("")
    beside(run / "run.json").write_text('{"half')
    assert create_run("run", str(tmp_path), "x").path == run
    (run / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="The run .* exists"):
        create_run("run", str(tmp_path), "x")


def test_a_run_that_was_killed_between_its_first_files_says_how_to_start_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.update_manifest(state="running")
    with pytest.raises(RunError, match=r"before config\.yaml was written\. Run the same command again with --force"):
        read_config(run)
    assert create_run("run", str(tmp_path), "x", force=True).path == run.path
