"""The commands on a language model's run: fit, evaluate, report, generate, chat; and what they refuse."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kerora.cli.main import run as kerora
from kerora.lora.files import read_adapter_config
from kerora.lora.inject import merge_lora
from kerora.models.generation import TextGenerator
from kerora.runfolder import RunFolder
from kerora.runs.open import load
from kerora.settings.language import Sampling
from tests.tiny import WORDS
from tests.tiny_huggingface import tiny_huggingface

Output = tuple[str, str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("language")


@pytest.fixture(scope="module")
def preset(folder: Path) -> Path:
    return tiny_huggingface("gpt2", folder / "tiny_gpt2", task="LMHeadModel", initializer_range=0.4)


@pytest.fixture(scope="module")
def run(folder: Path, preset: Path) -> Path:
    """A run on texts."""
    book = folder / "book.txt"
    book.write_text("\n".join(" ".join(WORDS[at : at + 9]) for at in range(0, 300, 3)), encoding="utf-8")
    arguments = f"--task causal-lm --preset {preset} --data {book} --test-split 0.1 --run {folder}/runs/book"
    more = (
        "--max-length 32 --batch-size 8 --max-steps 12 --logging-steps 4 --targets c_attn --precision float32 --quiet"
    )
    assert kerora(["fit", *arguments.split(), *more.split(), "--quiet"]) == 0
    return folder / "runs" / "book"


@pytest.fixture(scope="module")
def chat_run(folder: Path, preset: Path) -> Path:
    """A run on conversations."""
    rows = [{"turns": [WORDS[n], WORDS[n + 1], WORDS[n + 2], WORDS[n + 3]]} for n in range(60)]
    (folder / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = f"--task causal-lm --preset {preset} --data {folder}/chat.jsonl --run {folder}/runs/chat"
    more = "--max-length 32 --max-steps 4 --targets c_attn --precision float32 --quiet"
    assert kerora(["fit", *arguments.split(), *more.split()]) == 0
    return folder / "runs" / "chat"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Output]:
    """Run a command that must succeed; return what it wrote to stdout and stderr."""

    def succeed(*arguments: object, code: int = 0) -> Output:
        capsys.readouterr()
        assert kerora([str(argument) for argument in arguments]) == code
        return capsys.readouterr()

    return succeed


Call = Callable[..., Output]


def test_fit_tells_perplexity_and_what_comes_next(folder: Path, preset: Path, run: Path, call: Call) -> None:
    out, _ = call(
        *("fit", "--task", "causal-lm", "--preset", preset, "--data", folder / "book.txt", "--run", folder / "second"),
        *("--max-length", 32, "--max-steps", 2, "--samples", 0),
    )
    assert re.search(r"Perplexity +[\d,]+\.\d+ +[\d,]+\.\d+", out) and "Bits per byte" in out
    assert "kerora report" in out


def test_evaluate_renews_and_measures_other_texts(run: Path, folder: Path, call: Call) -> None:
    recorded = json.loads((run / "metrics.json").read_text())
    out, _ = call("evaluate", run)
    assert "perplexity" in out and "test" in out
    assert json.loads((run / "metrics.json").read_text()) == recorded
    (folder / "other.txt").write_text("two sales are new again\n" * 30, encoding="utf-8")
    out, _ = call("evaluate", run, "--data", folder / "other.txt", "--json")
    result = json.loads(out)
    assert result["metrics"]["test"]["tokens"] > 100
    assert Path(result["folder"]) == run / "evaluations" / "other.txt"


def test_report(run: Path, call: Call) -> None:
    out, _ = call("report", run)
    assert "Perplexity" in out and "before" in out and "after" in out
    page = (run / "report" / "report.html").read_text(encoding="utf-8")
    assert {path.name for path in (run / "report").iterdir()} == {"report.html", "curves.png"}
    for word in ("Perplexity", "Bits per byte", "Samples", "Training loss by update", "Loss and perplexity"):
        assert word in page, word
    assert "onfusion" not in re.sub(r"<(style|script).*?</\1>", "", page, flags=re.DOTALL)
    sample = json.loads((run / "samples.json").read_text())["samples"][0]
    assert sample["prompt"].split("\n")[0] in page
    summary = json.loads(call("report", run, "--json")[0])
    assert summary["runs"][0]["metrics"]["after"]["test"]["perplexity"] > 1


def test_generate_writes_what_the_model_says(run: Path, call: Call) -> None:
    model = load(run)
    merge_lora(model)
    expected = TextGenerator(model).generate([model.tokenizer.plain_ids(["the movie"])[0]], Sampling(max_tokens=12))
    out, _ = call("generate", run, "--prompt", "the movie", "--max-tokens", 12)
    assert out == f"the movie{expected[0].text}\n"


def test_generate_from_a_file(run: Path, tmp_path: Path, call: Call) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("the movie\n\nhe said\n", encoding="utf-8")
    out, _ = call("generate", run, "--prompts", prompts, "--max-tokens", 5)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["id"] for line in lines] == ["1", "3"]
    assert set(lines[0]) == {"id", "prompt", "completion", "finish", "tokens"}
    options = ("--max-tokens", 5, "--temperature", 0.9, "--top-p", 0.9, "--n", 3, "--seed", 5)
    target = tmp_path / "out.jsonl"
    _, told = call("generate", run, "--prompts", prompts, *options, "-o", target)
    drawn = [json.loads(line) for line in target.read_text().splitlines()]
    assert "6 continuations" in told
    assert [(line["id"], line["number"]) for line in drawn] == [(i, n) for i in ("1", "3") for n in (1, 2, 3)]
    assert len({line["completion"] for line in drawn}) > 3
    again, _ = call("generate", run, "--prompts", prompts, *options, "--batch-size", 2)
    assert again == target.read_text()
    _, told = call("generate", run, "--prompts", prompts, "-o", target, code=2)
    assert "exists. Choose another --output or add --force." in told


def test_generate_stops_and_repeats_with_a_seed(run: Path, call: Call) -> None:
    free, _ = call("generate", run, "--prompt", "the", "--max-tokens", 20)
    word = free[3:].split()[1]
    cut, _ = call("generate", run, "--prompt", "the", "--max-tokens", 20, "--stop", word)
    assert cut.rstrip("\n") == free[: free.find(word, 3)].rstrip("\n")
    options = ("generate", run, "--prompt", "the", "--temperature", 1, "--n", 2, "--max-tokens", 8)
    assert call(*options) == call(*options) != call(*options, "--seed", 7)


def test_a_prompt_longer_than_the_context_says_what_is_cut(run: Path, tmp_path: Path, call: Call) -> None:
    long = ("the movie was great " * 40).strip()
    _, told = call("generate", run, "--prompt", long, "--max-tokens", 4)
    cut = re.search(r"The prompt is too long for the model. Its first (\d+) tokens were cut", told)
    assert cut
    (tmp_path / "prompts.txt").write_text(f"{long}\nhe\n", encoding="utf-8")
    out, told = call("generate", run, "--prompts", tmp_path / "prompts.txt", "--max-tokens", 4)
    assert [json.loads(line).get("cut") for line in out.splitlines()] == [int(cut[1]), None]
    assert told == "Prompts that are too long for the model, so their start was cut: 1.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give texts with --prompt, or a file of them with --prompts."),
        (("--prompt", "a", "--prompts", "b.txt"), "Give texts with --prompt, or a file"),
        (("--prompt", "a", "--n", "2"), "at temperature 0 all are equal. Give a --temperature above 0."),
        (("--prompt", "a", "--top-k", "2"), "temperature is 0. Give a temperature above 0."),
        (("--prompt", "a", "--max-tokens", "0"), "'max_tokens' must be 1 or more"),
        (("--prompts", "nothing.txt"), "There is no file nothing.txt"),
    ],
)
def test_generate_refuses(arguments: tuple[str, ...], message: str, run: Path, call: Call) -> None:
    assert message in call("generate", run, *arguments, code=2)[1]


def test_prompt_files_with_bad_rows(run: Path, tmp_path: Path, call: Call) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "he"}\n{"prompt": " "}\n{"prompt": 3}\n', encoding="utf-8")
    _, told = call("generate", run, "--prompts", path, code=2)
    assert "2 rows cannot be used: row 2 (line 2) has an empty text in 'prompt'; row 3 (line 3) has non-string" in told
    out, _ = call("generate", run, "--prompts", path, "--skip-bad-rows", "--max-tokens", 2)
    assert [json.loads(line)["prompt"] for line in out.splitlines()] == ["he"]
    path.write_text("", encoding="utf-8")
    assert "is empty" in call("generate", run, "--prompts", path, code=2)[1]


def test_other_commands_and_other_runs_are_refused(run: Path, folder: Path, tiny_preset: Path, call: Call) -> None:
    _, told = call("predict", run, "-", code=2)
    assert (
        "for causal-lm. `kerora predict` does not work with such a run. Use another command: `kerora generate`" in told
    )
    _, told = call("report", run, run, code=2)
    assert "is given more than once" in told
    call("fit", "--preset", tiny_preset, "--run", folder / "tickets", "--max-steps", 1, "--max-length", 16, "--quiet")
    _, told = call("generate", folder / "tickets", "--prompt", "a", code=2)
    assert (
        "for classification. `kerora generate` does not work with such a run. Use another command: `kerora predict`"
        in told
    )


def test_chat_keeps_turns(chat_run: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_adapter_config(RunFolder(chat_run).adapter)["kerora"]["text_form"] == "turns"

    def say(*lines: str) -> list[str]:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return call("chat", chat_run, "--temperature", 0, "--max-tokens", 6)[0].splitlines()

    model = load(chat_run)
    merge_lora(model)
    generator, tokenizer = TextGenerator(model), model.tokenizer
    ids: list[int] = []
    wanted = []
    for text in ("hello", "again"):
        ids += [*tokenizer.plain_ids([text])[0], tokenizer.end_id]
        row = generator.generate([ids], Sampling(max_tokens=6))[0]
        wanted.append(row.text)
        ids += [*tokenizer.plain_ids([row.text])[0], tokenizer.end_id]
    assert "\n".join(say("hello", "again", "/quit", "never read")) == "\n".join(wanted)
    assert "\n".join(say("hello", "/reset", "hello")) == f"{wanted[0]}\n{wanted[0]}"


def test_chat_forgets_the_oldest_turns(chat_run: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "".join(f"{' '.join(WORDS[:12])}\n" for _ in range(6))
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    _, told = call("chat", chat_run, "--temperature", 0, "--max-tokens", 6)
    assert "turns no longer fit" in told
