"""`write_report`: the files, their contents, what is refused."""

import csv
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kerora.errors import RunError
from kerora.runfolder import RunFolder
from kerora.runs.report import write_report
from tests.evaluation.synthetic_runs import SIX, TWENTY, TWO, make_run

FILES = {
    "report.html",
    "confusion_matrix.png",
    "confusion_matrix.csv",
    "confusion_matrix_percent.csv",
    "classification_report.txt",
    "errors.csv",
    "curves.png",
    "coverage.png",
}


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def tree(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_writes_every_file_and_touches_no_other(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SIX)
    before = tree(run.path)
    summary = write_report([run])
    after = tree(run.path)
    assert {name for name in after if name not in before} == {f"report/{name}" for name in FILES}
    assert {name: after[name] for name in before} == before
    assert set(summary.runs[0].files) == FILES
    assert summary.page == run.report / "report.html"
    assert (run.report / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (run.report / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", TWO, rows=30)
    write_report([run])
    first = tree(run.report)
    write_report([run])
    assert tree(run.report) == first


@pytest.mark.usefixtures("unrendered_figures")
def test_matrices_are_those_of_the_predictions(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SIX)
    write_report([run])
    rows = [row for row in read(run.predictions)[1:] if row[1] == "test"]
    expected = [[str(sum(1 for row in rows if row[3:5] == [true, guess])) for guess in SIX] for true in SIX]
    found = read(run.report / "confusion_matrix.csv")
    assert found[0] == ["true \\ predicted", *SIX]
    assert [row[0] for row in found[1:]] == list(SIX)
    assert [row[1:] for row in found[1:]] == expected
    percent = np.array([row[1:] for row in read(run.report / "confusion_matrix_percent.csv")[1:]], dtype=float)
    np.testing.assert_allclose(percent.sum(axis=1), 100, atol=0.05)


@pytest.mark.usefixtures("unrendered_figures")
def test_errors_are_the_wrong_rows_the_most_confident_first(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SIX, texts=("=1+1", 'a "quote"\nand line', "@cmd", " space"))
    write_report([run])
    header, *found = read(run.report / "errors.csv")
    rows = [row[:6] for row in read(run.predictions)[1:] if row[1] == "test" and row[3] != row[4]]
    assert header == ["id", "split", "text", "label", "predicted", "score"]
    assert sorted(found) == sorted(rows)
    scores = [float(row[5]) for row in found]
    assert scores == sorted(scores, reverse=True)
    text = (run.report / "errors.csv").read_text(encoding="utf-8")
    assert any(row[2].startswith("=1+1") for row in found)
    assert all(f'"{row[2]}"' in text for row in found if row[2].startswith("=1+1"))


@pytest.mark.usefixtures("unrendered_figures")
def test_the_text_report_has_every_class(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", TWENTY, rows=300)
    write_report([run])
    text = (run.report / "classification_report.txt").read_text()
    assert text.startswith("run: test, 300 rows\n\n")
    assert all(name in text for name in (*TWENTY, "macro avg", "weighted avg"))


@pytest.mark.usefixtures("unrendered_figures")
@pytest.mark.parametrize("splits, expected", [(("validation", "test"), "test"), (("validation",), "validation")])
def test_test_is_reported_where_it_was_evaluated(tmp_path: Path, splits: tuple[str, ...], expected: str) -> None:
    run = make_run(tmp_path / "run", TWO, rows=40, splits=splits)
    assert write_report([run]).runs[0].split.name == expected
    assert write_report([run], split="validation").runs[0].split.name == "validation"


@pytest.mark.usefixtures("unrendered_figures")
def test_no_history_means_no_curves(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", TWO, rows=40, epochs=0)
    assert set(write_report([run]).runs[0].files) == FILES - {"curves.png"}


@pytest.mark.usefixtures("unrendered_figures")
def test_several_runs_are_reported_and_compared(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, SIX, rows=60, seed=seed) for seed, name in enumerate("ab")]
    summary = write_report(runs)
    assert summary.page == runs[0].report / "comparison.html"
    assert all((run.report / "report.html").is_file() for run in runs)
    page = tmp_path / "new" / "both.html"
    assert write_report(runs, page).page == page
    assert "2 runs side by side" in page.read_text(encoding="utf-8")


@pytest.mark.usefixtures("unrendered_figures")
def test_the_summary_is_plain_json(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, SIX, rows=60, seed=seed) for seed, name in enumerate("ab")]
    runs[0].update_manifest(training_seconds=math.nan)
    plain = json.loads(json.dumps(write_report(runs).as_dict(), allow_nan=False))
    first = plain["runs"][0]
    assert (first["run"], first["split"], first["rows"]) == (str(runs[0].path), "test", 60)
    assert first["metrics"] == json.loads(runs[0].metrics.read_text())["after"]["test"]
    assert first["before"] == json.loads(runs[0].metrics.read_text())["before"]["test"]
    assert first["intervals"]["accuracy"][0] < first["metrics"]["accuracy"] < first["intervals"]["accuracy"][1]
    assert first["training_seconds"] is None
    assert first["mistakes"] == len(read(Path(first["files"]["errors.csv"]))) - 1
    assert plain["comparison"]["pairs"][0]["shared"] == 60
    assert write_report(runs[:1]).as_dict()["comparison"] is None


@pytest.mark.usefixtures("unrendered_figures")
def test_output_is_a_copy_for_one_run_and_may_be_replaced(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", TWO, rows=20)
    page = tmp_path / "mine.html"
    for _ in range(2):
        assert write_report([run], page).page == page
        assert page.read_bytes() == (run.report / "report.html").read_bytes()


def test_output_replaces_no_foreign_file(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", TWO, rows=20)
    foreign = tmp_path / "page.html"
    foreign.write_text("<h1>mine</h1>")
    for output, expected in (
        (foreign, "is not a Kerora report. It is not replaced"),
        (run.config, "must name an .html file"),
        (tmp_path / "folder.html", "is a folder"),
    ):
        (tmp_path / "folder.html").mkdir(exist_ok=True)
        with pytest.raises(RunError, match=expected):
            write_report([run], output)
    assert foreign.read_text() == "<h1>mine</h1>"
    assert not run.report.exists()


def test_nothing_is_written_when_one_run_is_damaged(tmp_path: Path) -> None:
    good, bad = make_run(tmp_path / "good", TWO, rows=20), make_run(tmp_path / "bad", TWO, rows=20)
    bad.metrics.unlink()
    with pytest.raises(RunError, match=r"metrics\.json does not exist"):
        write_report([good, bad])
    with pytest.raises(RunError, match="no rows of split 'train'"):
        write_report([good], split="train")
    assert not good.report.exists()


def test_an_unwritable_report_folder_is_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", TWO, rows=20)
    run.report.write_text("a file where the folder should be")
    with pytest.raises(RunError, match=r"Cannot write .*report"):
        write_report([run])


def test_five_thousand_rows_take_a_few_seconds(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", TWENTY, rows=2500)
    start = time.process_time()  # which tests beside this one do not lengthen as much
    write_report([run])
    assert time.process_time() - start < 5  # 3 s on a slow core, more beside another test


def test_a_report_loads_no_model_library(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", TWO, rows=20)
    code = (
        "import sys; from pathlib import Path; from kerora.cli.report import command; "
        f"command([{str(run.path)!r}], standalone_mode=False); "
        "heavy = {'keras', 'torch', 'tensorflow', 'transformers', 'matplotlib.pyplot'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert RunFolder(run.path).report.is_dir()
