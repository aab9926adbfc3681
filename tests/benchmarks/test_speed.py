"""The benchmark's harness, on sizes that take seconds; its figures mean nothing here."""

import dataclasses
import importlib.util
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.speed import side
from benchmarks.speed.__main__ import main
from benchmarks.speed.goals import GOALS, medians
from benchmarks.speed.plan import Plan, make_run, measure, prepare
from benchmarks.speed.process import Outcome, run_command, run_side
from benchmarks.speed.table import facts, markdown, write
from benchmarks.speed.work import Job, load_rows, read_labelled, read_texts, split_rows, write_generated, write_rows
from tests.tiny_huggingface import tiny_huggingface

ROWS = [(name, f"{text} {number}") for number in range(12) for name, text in (("bad", "a dull film"), ("good", "fine"))]

Figures = Callable[[str, Job], dict[str, float]]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("session")
    preset = tiny_huggingface("bert", tmp_path_factory.mktemp("preset"), layout="old")
    job = Job(str(folder), str(preset), epochs=1, batch_size=4, max_length=16, slice_steps=1, texts=8, rows=30, steps=1)
    write_rows(folder / "train.csv", ROWS[:16])
    write_rows(folder / "test.csv", ROWS[16:])
    (folder / "reviews.txt").write_text("\n".join(text for _, text in ROWS), encoding="utf-8")
    return job


def need(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install transformers peft accelerate")


@pytest.fixture
def figures_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Figures:
    """Run a side in this process: a process of its own needs seconds until its libraries are loaded."""

    def figures(name: str, job: Job) -> dict[str, float]:
        job = dataclasses.replace(job, started=time.time())
        monkeypatch.setattr(sys, "argv", ["side", name, job.as_json()])
        side.main()
        found: dict[str, float] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    return figures


def test_rows_of_news_are_labels_with_title_and_description(tmp_path: Path) -> None:
    path = tmp_path / "news.csv"
    path.write_text('"3","A title","It said ""no"""\n"1","B","C"\n', encoding="utf-8")
    assert read_labelled([path]) == [("3", 'A title It said "no"'), ("1", "B C")]
    assert len(read_labelled([])) == 1_396


def test_parts_share_no_row_and_are_the_same_each_time() -> None:
    train, test = split_rows(ROWS, 10, 4)
    assert (len(train), len(test)) == (10, 4)
    assert not set(train) & set(test)
    assert split_rows(ROWS, 10, 4) == (train, test)
    assert len(split_rows(ROWS, 100, 100)[1]) == len(ROWS) // 4


def test_written_rows_are_read_back(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", [("b", "one, two"), ("a", 'say "x"')])
    assert load_rows(tmp_path / "rows.csv") == (["one, two", 'say "x"'], [1, 0], ["a", "b"])


def test_generated_rows_all_differ(tmp_path: Path) -> None:
    write_generated(tmp_path / "rows.csv", ROWS, 100)
    texts, _, names = load_rows(tmp_path / "rows.csv")
    assert len(set(texts)) == 100
    assert names == ["bad", "good"]


def test_texts_are_repeated_up_to_their_count() -> None:
    assert len(read_texts(None, ROWS, 50)) == 50


def test_a_process_is_measured_from_outside() -> None:
    code = "import json, time; block = bytearray(80_000_000); time.sleep(0.2); print(json.dumps({'answer': 42}))"
    outcome = run_command([sys.executable, "-c", code])
    assert outcome.figures is not None
    assert outcome.figures["answer"] == 42
    assert outcome.figures["wall_seconds"] > 0.2
    assert 80 < outcome.figures["peak_mb"] < 400


def test_a_process_that_fails_says_why() -> None:
    outcome = run_command([sys.executable, "-c", "raise ValueError('no such folder')"])
    assert outcome == Outcome(None, "ValueError: no such folder")


@pytest.mark.slow
def test_kerora_trains_and_tests(job: Job) -> None:
    figures = run_side("train-kerora", job).figures
    assert figures is not None
    assert 0 <= figures["accuracy"] <= 1
    assert figures["train_seconds"] > 0
    assert figures["startup_seconds"] > 0
    assert figures["tokens_per_second"] > 0
    assert figures["evaluate_rows_per_second"] > 0
    assert figures["peak_mb"] > 100


@pytest.mark.slow
@pytest.mark.parametrize("side", ["train-peft-defaults", "train-peft-best"])
def test_peft_trains_and_tests(job: Job, side: str, figures_of: Figures) -> None:
    need("transformers", "peft", "accelerate")
    figures = figures_of(side, job)
    assert 0 <= figures["accuracy"] <= 1
    assert figures["train_seconds"] > 0


@pytest.mark.slow
def test_kerashub_is_extrapolated_from_a_slice(job: Job, figures_of: Figures) -> None:
    figures = figures_of("train-kerashub", job)
    assert figures["extrapolated"] == 1
    assert figures["train_seconds"] > 0


@pytest.mark.slow
def test_predictions_are_timed_beside_a_pipeline(job: Job, figures_of: Figures) -> None:
    need("transformers", "peft")
    make_run(job)
    assert figures_of("predict-kerora", job)["rows_per_second"] > 0
    assert figures_of("predict-pipeline-bfloat16", job)["rows_per_second"] > 0


@pytest.mark.slow
def test_both_tokenizers_make_as_many_tokens(job: Job, figures_of: Figures) -> None:
    need("transformers")
    new = tiny_huggingface("bert", job.path / "new-layout", layout="new")
    both = dataclasses.replace(job, preset=str(new))
    mine, rust = figures_of("tokenize-kerora", both), figures_of("tokenize-rust", both)
    assert mine["tokens"] == rust["tokens"]
    assert mine["second_seconds"] > 0


def test_the_operations_of_a_step_are_those_that_torch_counts() -> None:
    """All of them but what frozen weights let fall away: within a few percent of the count of a real step."""
    need("transformers")
    from benchmarks.speed.sides.step_side import step_flops

    # 5 layers of 4 x 768^2 + 2 x 768 x 3072 weights, and keys and values of a sixth: 73 MFLOP a token forward, as much
    # for the activations' gradient
    tokens = 32 * 128
    assert math.isclose(step_flops(), tokens * 2 * 73e6, rel_tol=0.06)
    assert step_flops(32, 256) > 2 * step_flops(32, 128)


def test_sides_take_turns_with_a_seed_a_turn(tmp_path: Path) -> None:
    calls: list[tuple[str, int]] = []

    def runner(side: str, job: Job) -> Outcome:
        calls.append((side, job.seed))
        return Outcome({"train_seconds": 1.0})

    plan = Plan(Job(str(tmp_path), "preset", seed=7), ("train",), 2, sides=("train-kerora", "train-peft-best"))
    results = list(measure(plan, runner))
    both = ["train-kerora", "train-peft-best"]
    assert calls == [(side, seed) for seed in (7, 8) for side in both]
    assert [result["repeat"] for result in results] == [0, 0, 1, 1]


def test_session_files_are_written_for_all_sides(tmp_path: Path) -> None:
    plan = Plan(Job(str(tmp_path), "preset", texts=20), ("rows",), 1, texts=30, many=40)
    assert prepare(plan, [], None, 50, 10) == {"train": 50, "test": 10}
    assert len((tmp_path / "reviews.txt").read_text(encoding="utf-8").splitlines()) == 30
    assert len(load_rows(tmp_path / "rows-40.csv")[0]) == 40


def result(side: str, **figures: float) -> dict[str, object]:
    return {"part": side.split("-")[0], "side": side, "repeat": 0, "seed": 1, **figures}


RESULTS = [
    result("train-kerora", train_seconds=40.0, accuracy=0.90, peak_mb=1_400.0),
    result("train-kerora", train_seconds=60.0, accuracy=0.88, peak_mb=1_600.0),
    result("train-kerora", train_seconds=50.0, accuracy=0.89, peak_mb=1_300.0),
    result("train-peft-best", train_seconds=90.0, accuracy=0.90, peak_mb=5_000.0),
    result("rows-kerora@25000", peak_mb=900.0),
    result("rows-kerora@1000000", peak_mb=1_000.0),
    {"part": "train", "side": "train-kerashub", "repeat": 0, "seed": 1, "problem": "keras_hub is not installed"},
]


def test_goals_are_judged_by_medians_and_accuracy_by_means() -> None:
    found = medians(RESULTS)
    assert found["train-kerora"]["train_seconds"] == 50
    verdicts = {goal.title: goal.verdict(found) for goal in GOALS}
    value, verdict = verdicts["train time / PEFT at its best"]
    assert (value, verdict) == (pytest.approx(50 / 90), "missed")
    assert verdicts["peak memory while training"] == (1_400, "met")
    value, verdict = verdicts["accuracy - PEFT's at its best, mean of the seeds"]
    assert (value, verdict) == (pytest.approx(-1.0), "missed")
    assert verdicts["memory for many rows - for few"] == (100, "met")
    assert verdicts["train time / plain KerasHub, extrapolated"] == (None, "not measured")


def test_table_and_json_hold_goals_and_what_was_not_measured(tmp_path: Path) -> None:
    about = facts({"rows": 10})
    text = write(tmp_path / "out" / "speed", about, RESULTS)
    assert text == markdown(about, RESULTS) == (tmp_path / "out" / "speed.md").read_text(encoding="utf-8")
    assert "| train time / PEFT at its best | <= 0.5 x | 0.5556 x | missed |" in text
    assert "- train-kerashub: keras_hub is not installed" in text
    content = json.loads((tmp_path / "out" / "speed.json").read_text(encoding="utf-8"))
    assert len(content["results"]) == len(RESULTS)
    assert len(content["goals"]) == len(GOALS)


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--only takes train"):
        main(["--only", "speed", "--output", str(tmp_path / "x")])


@pytest.mark.slow
def test_the_command_measures_a_cold_prediction(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--rows", "120", "--test-rows", "8", "--repeats", "1", "--texts", "8", "--tokenized-texts", "8"]
    options = ["--only", "cold", "--preset", job.preset, "--max-length", "16", "--output", str(tmp_path / "cold")]
    main([*options, *sizes])
    assert "one sentence from a cold start, time" in capsys.readouterr().out
    content = json.loads((tmp_path / "cold.json").read_text(encoding="utf-8"))
    assert content["medians"]["cold-kerora"]["wall_seconds"] > 0
