"""The run folder: names, --force, the atomic writer under every fault, damaged JSON."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kerora.errors import RunError
from kerora.runfolder import RunFolder, atomic_file, create_run, read_json, write_bytes, write_json, write_text
from tests.limits import files_up_to


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def make_run(path: Path) -> RunFolder:
    run = RunFolder(path)
    run.update_manifest(state="finished")
    return run


def test_files_have_the_documented_names(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    found = [run.config, run.manifest, run.history, run.metrics, run.predictions, run.checkpoints, run.report]
    assert [path.name for path in found] == [
        "config.yaml", "run.json", "history.csv", "metrics.json", "predictions.csv", "checkpoints", "report",
    ]  # fmt: skip
    adapter = [path.relative_to(tmp_path).as_posix() for path in (run.adapter_weights, run.adapter_config, run.labels)]
    assert adapter == [
        f"adapter/{name}" for name in ("adapter_model.safetensors", "adapter_config.json", "labels.json")
    ]


def test_free_names_are_numbered_and_made_fit_for_a_path(tmp_path: Path) -> None:
    runs = str(tmp_path / "runs")
    paths = [create_run(name, runs, "tiny/é model-sst2-r8").path.name for name in (None, "", None)]
    assert paths == ["tiny-model-sst2-r8-1", "tiny-model-sst2-r8-2", "tiny-model-sst2-r8-3"]


def test_a_name_is_inside_the_runs_folder_and_a_path_is_a_path(tmp_path: Path) -> None:
    assert create_run("a", str(tmp_path / "runs"), "x").path == tmp_path / "runs" / "a"
    assert create_run(str(tmp_path / "b" / "c"), "runs", "x").path == tmp_path / "b" / "c"


def test_an_existing_run_needs_force_and_another_folder_is_never_taken(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    with pytest.raises(RunError, match="exists. Choose another --run, continue it with --resume, or add --force"):
        create_run("run", str(tmp_path), "x")
    assert create_run("run", str(tmp_path), "x", force=True).path == tmp_path / "run"
    (tmp_path / "empty").mkdir()
    create_run("empty", str(tmp_path), "x")
    write_text(tmp_path / "thesis" / "chapter.txt", "years of work")
    with pytest.raises(RunError, match="not a run folder and is not empty: --force does not replace it"):
        create_run("thesis", str(tmp_path), "x", force=True)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "")
    for name, runs in (("file", tmp_path), (None, tmp_path / "file"), ("x", tmp_path / "file" / "deep")):
        with pytest.raises(RunError, match="Cannot create the run folder .*file.*: (File exists|Not a directory)"):
            create_run(name, str(runs), "x")
    with pytest.raises(RunError, match="File name too long"):
        create_run("n" * 300, str(tmp_path), "x")
    assert names(tmp_path) == {"file"}


def test_open_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is no run folder at .*absent"):
        RunFolder.open(tmp_path / "absent")
    with pytest.raises(RunError, match=r"is not a run folder: it holds no run\.json"):
        RunFolder.open(tmp_path)
    assert RunFolder.open(str(make_run(tmp_path / "run").path)).read_manifest() == {"state": "finished"}


def test_manifest_is_merged(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.update_manifest(seed=3, state="stopped")
    assert run.read_manifest() == {"state": "stopped", "seed": 3}


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, OSError])
def test_an_error_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path: Path, fault: type[BaseException]) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RunError if fault is OSError else fault), atomic_file(path) as stream:
        stream.write("new")
        raise fault("in the middle")
    assert path.read_text() == "old" and names(tmp_path) == {"file.txt"}


def test_text_is_written_as_given(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "é\r\n\n\u2028")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "é\r\n\n\u2028".encode()
    write_bytes(tmp_path / "c", b"\x00\xff")
    assert (tmp_path / "c").read_bytes() == b"\x00\xff"


def test_modes_and_links_are_kept(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = tmp_path / "file"
        write_text(path, "first")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o600)
        (tmp_path / "link").symlink_to(path)
        write_text(tmp_path / "link", "second")
        assert (tmp_path / "link").is_symlink() and path.read_text() == "second"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        assert os.umask(before) == 0o027


def test_writing_in_threads_leaves_the_umask_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    writers = [threading.Thread(target=write_text, args=(tmp_path / str(n % 3), "x" * n)) for n in range(60)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert os.umask(before) == 0o022 and names(tmp_path) == {"0", "1", "2"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in tmp_path.iterdir())


@pytest.mark.parametrize("place", ["folder", "pipe", "/dev/null"])
def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path, place: str) -> None:
    path = Path(place) if place.startswith("/") else tmp_path / place
    if place == "folder":
        path.mkdir()
    elif place == "pipe":
        os.mkfifo(path)
    kind = path.stat().st_mode
    with pytest.raises(RunError, match="it is not a regular file"):
        write_text(path, "x")
    assert path.stat().st_mode == kind


def test_a_path_below_a_file(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "y" / "x"):
        with pytest.raises(RunError, match="x: a part of its path is a file. Free space or choose another folder"):
            write_text(path, "new")
    assert names(tmp_path) == {"file"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(RunError, match="Permission denied"):
        write_text(tmp_path / "file", "new")
    tmp_path.chmod(0o755)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("size", [10_001, 1_000_000])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    for write, content in ((write_text, "x" * size), (write_bytes, b"x" * size)):
        with files_up_to(10_000), pytest.raises(RunError, match="Cannot write .*file: File too large. Free space"):
            write(path, content)  # type: ignore[operator]
    assert path.read_text() == "old" and names(tmp_path) == {"file"}


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    code = (
        "import os, sys, pathlib; from kerora.runfolder import atomic_file\n"
        f"with atomic_file(pathlib.Path({str(path)!r})) as stream:\n"
        "    stream.write('x' * 100_000); stream.flush(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged: Expecting value"),
        (b'{"a": 1', "is damaged"),
        (b'{"a": "\xff"}', "is damaged: 'utf-8'"),
        (b"[1]", "expected an object. Received: list"),
        (b"null", "expected an object. Received: NoneType"),
        (b"[" * 100_000, "is damaged"),
    ],
)
def test_damaged_json(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=message) as caught:
        read_json(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_json_round_trip_and_absence(tmp_path: Path) -> None:
    value = {"z": 1, "a": ["é", None, 0.1]}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert (tmp_path / "x.json").read_text(encoding="utf-8").startswith('{\n  "z": 1')
    with pytest.raises(RunError, match="No such file or directory. Check that the run is complete"):
        read_json(tmp_path / "y.json")
