"""A run folder of another person cannot make Kerora write outside of it."""

from pathlib import Path

import pytest

from kerora.errors import RunError
from kerora.guards.links import check_links, check_stays
from kerora.runfolder import RunFolder, create_run, write_text

REFUSED = "outside of .*run.* It is not written. Remove the link"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    found = RunFolder(tmp_path / "run")
    found.update_manifest(state="finished")
    write_text(tmp_path / "mine" / "thesis.html", "years of work")
    return found


def test_a_file_that_is_a_link_is_not_written(run: RunFolder, tmp_path: Path) -> None:
    run.report.mkdir()
    (run.report / "report.html").symlink_to(tmp_path / "mine" / "thesis.html")
    with pytest.raises(RunError, match=REFUSED):
        write_text(run.report / "report.html", "a report")
    assert (tmp_path / "mine" / "thesis.html").read_text() == "years of work"


def test_a_folder_that_is_a_link_is_not_written(run: RunFolder, tmp_path: Path) -> None:
    run.report.symlink_to(tmp_path / "mine")
    with pytest.raises(RunError, match=REFUSED):
        write_text(run.report / "report.html", "a report")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.html"]


def test_a_link_into_another_run_is_not_written(run: RunFolder, tmp_path: Path) -> None:
    other = RunFolder(tmp_path / "other")
    other.update_manifest(state="finished")
    run.report.symlink_to(other.path)
    with pytest.raises(RunError, match=REFUSED):
        write_text(run.report / "metrics.json", "{}")
    assert not other.metrics.exists()


def test_a_dangling_link_makes_no_file(run: RunFolder, tmp_path: Path) -> None:
    run.metrics.symlink_to(tmp_path / "mine" / "new.json")
    with pytest.raises(RunError, match=REFUSED):
        write_text(run.metrics, "{}")
    assert not (tmp_path / "mine" / "new.json").exists()


def test_links_inside_a_run_and_links_to_runs_are_followed(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "disk").symlink_to(run.path)
    write_text(tmp_path / "disk" / "history.csv", "epoch\n")
    (run.path / "deep").mkdir()
    run.metrics.symlink_to(run.path / "deep" / "metrics.json")
    write_text(run.metrics, "{}")
    assert run.history.read_text() == "epoch\n" and (run.path / "deep" / "metrics.json").read_text() == "{}"
    check_links(run.path)
    check_links(tmp_path / "disk")


def test_force_does_not_take_a_run_with_a_link_out_of_it(run: RunFolder, tmp_path: Path) -> None:
    # TensorBoard and wandb write below logs/ by themselves
    run.logs.symlink_to(tmp_path / "mine")
    with pytest.raises(RunError, match=REFUSED):
        create_run("run", str(tmp_path), "x", force=True)
    run.logs.unlink()
    create_run("run", str(tmp_path), "x", force=True)


@pytest.mark.parametrize("mark", ["run.json", "pretrain.json", "experiment_log.csv"])
def test_each_folder_of_kerora_is_known_by_its_file(mark: str, tmp_path: Path) -> None:
    write_text(tmp_path / "folder" / mark, "")
    (tmp_path / "folder" / "best.yaml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="outside of"):
        check_stays(tmp_path / "folder" / "best.yaml")
