"""Conversations through the commands: a chat template in training, answers, exports and imports."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import transformers

from kerora.cli.main import run as kerora
from kerora.data.documents import turn
from kerora.runs.open import load
from tests.models.chat_templates import GEMMA, MARKED
from tests.tiny import WORDS
from tests.tiny_decoders import tiny_decoder

Output = tuple[str, str]
TEMPLATE = (
    "{% for m in messages %}{{ '<s>' + m.role + ': ' + m.content + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant: ' }}{% endif %}"
)
OPTIONS = "--task causal-lm --max-length 64 --max-steps 3 --precision float32 --no-baseline --samples 1 --quiet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chats")
    rows = [
        {"messages": [{"role": "user", "content": f"{WORDS[n]} {n}"}, {"role": "assistant", "content": WORDS[n + 1]}]}
        for n in range(40)
    ]
    (folder / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def preset(folder: Path) -> Path:
    preset = tiny_decoder("llama3", folder / "tiny_llama")
    path = preset / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": TEMPLATE}))
    return preset


@pytest.fixture(scope="module")
def run(folder: Path, preset: Path) -> Path:
    arguments = f"--preset {preset} --data {folder}/chat.jsonl --run {folder}/run"
    assert kerora(["fit", *OPTIONS.split(), *arguments.split()]) == 0
    return folder / "run"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Output]:
    """Run a command that must succeed; return what it wrote to stdout and stderr."""

    def call(*arguments: object, code: int = 0) -> Output:
        capsys.readouterr()
        found = kerora([str(argument) for argument in arguments])
        written = capsys.readouterr()
        assert found == code, written.err
        return written.out, written.err

    return call


def test_a_run_keeps_the_template_of_its_preset(run: Path) -> None:
    assert (run / "adapter" / "chat_template.jinja").read_text() == TEMPLATE
    model = load(run)
    ids = model.prompt_ids([turn("hi", False)])
    assert model.tokenizer.decode(ids, skip_special=False) == "<s>user: hi</s><s>assistant: "
    samples = json.loads((run / "samples.json").read_text())["samples"]
    assert samples[0]["prompt"].split()[0] in WORDS, "a sample is the question of a conversation"


def test_keras_hub_has_the_end_token_of_llama_in_its_code(
    run: Path, call: Callable[..., Output], tmp_path: Path
) -> None:
    _, said = call("export", run, "--format", "keras", "--output", tmp_path / "out", code=2)
    assert "Cannot find special token" in said and "--format transformers" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["transformers", "onnx", "kerora", "peft"])
def test_exports_hold_the_template(form: str, run: Path, call: Callable[..., Output], tmp_path: Path) -> None:
    call("export", run, "--format", form, "--output", tmp_path / "out")
    place = tmp_path / "out" / ("adapter" if form == "kerora" else "")
    assert (place / "chat_template.jinja").read_text() == TEMPLATE
    if form == "transformers":
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
        ids = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], return_dict=False)
        assert tokenizer.decode(ids) == "<s>user: hi</s>"


def test_answers_begin_after_the_template(
    run: Path, call: Callable[..., Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    from kerora.models.generation import TextGenerator

    original = TextGenerator.stream

    def stream(self: TextGenerator, prompts: list[list[int]], *rest: object) -> object:
        seen.extend(self.model.tokenizer.decode(prompt, skip_special=False) for prompt in prompts)
        return original(self, prompts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(TextGenerator, "stream", stream)
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n"))
    call("chat", run, "--system", "Be short.", "--temperature", "0", "--max-tokens", "3")
    assert seen[0] == "<s>system: Be short.</s><s>user: one</s><s>assistant: "
    assert seen[1].startswith(seen[0]) and seen[1].endswith("<s>user: two</s><s>assistant: ")
    call("generate", run, "--prompt", "three", "--max-tokens", "3")
    assert seen[2] == "<s>user: three</s><s>assistant: "


def test_a_file_replaces_the_template(
    folder: Path, preset: Path, call: Callable[..., Output], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "marked.jinja").write_text(MARKED)
    arguments = f"--preset {preset} --data {folder}/chat.jsonl --chat-template {tmp_path}/marked.jinja"
    call("fit", *OPTIONS.replace(" --quiet", "").split(), *arguments.split(), "--run", tmp_path / "run")
    assert (tmp_path / "run" / "adapter" / "chat_template.jinja").read_text() == MARKED
    (tmp_path / "marked.jinja").unlink()
    assert load(tmp_path / "run").tokenizer.chat.source == MARKED
    call("evaluate", tmp_path / "run", "--data", folder / "chat.jsonl", "--output", tmp_path / "again")
    plain = [*OPTIONS.split(), "--preset", preset, "--data", folder / "chat.jsonl", "--run", tmp_path / "plain"]
    call("fit", *plain, "--chat-template", "none")
    assert not (tmp_path / "plain" / "adapter" / "chat_template.jinja").exists()
    assert load(tmp_path / "plain").tokenizer.chat is None


def test_a_text_run_of_a_chat_model_can_chat(
    folder: Path, preset: Path, call: Callable[..., Output], tmp_path: Path
) -> None:
    (tmp_path / "book.txt").write_text(" ".join(WORDS) * 9)
    call("fit", *OPTIONS.split(), "--preset", preset, "--data", tmp_path / "book.txt", "--run", tmp_path / "run")
    out, _ = call("generate", tmp_path / "run", "--prompt", "hello", "--chat", "--max-tokens", "2")
    assert out.startswith("hello\n"), "an answer begins on a line of its own"
    _, said = call("generate", tmp_path / "run", "--prompt", "hello", "--system", "Be short.", code=2)
    assert "--system is for conversations, but" in said and "Add --chat." in said


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing", None, "Cannot read the chat template"),
        ("broken", "{% for %}", "cannot be used: line 1"),
        ("system", GEMMA.replace("['role'] == 'user'", "['role'] == 'nobody'"), "must alternate"),
        (
            "deaf",
            "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",
            "leaves out",
        ),
    ],
)
def test_templates_that_cannot_be_used(
    name: str,
    content: str | None,
    message: str,
    folder: Path,
    preset: Path,
    call: Callable[..., Output],
    tmp_path: Path,
) -> None:
    path = tmp_path / f"{name}.jinja"
    if content is not None:
        path.write_text(content)
    arguments = [*OPTIONS.split(), "--preset", preset, "--run", tmp_path / "run", "--data", folder / "chat.jsonl"]
    _, said = call("fit", *arguments, "--chat-template", path, code=2)
    assert message in said and len(said.strip().splitlines()) == 1, said
    assert str(path) in said


def test_a_template_needs_conversations(preset: Path, call: Callable[..., Output], tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(" ".join(WORDS) * 9)
    (tmp_path / "t.jinja").write_text(TEMPLATE)
    arguments = [*OPTIONS.split(), "--preset", preset, "--run", tmp_path / "run", "--data", tmp_path / "book.txt"]
    _, said = call("fit", *arguments, "--chat-template", tmp_path / "t.jinja", code=2)
    assert "writes conversations, but the data holds texts" in said


def test_calls_without_text_need_a_template(preset: Path, call: Callable[..., Output], tmp_path: Path) -> None:
    calls = [{"function": {"name": "f", "arguments": {}}}]
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": calls}]
    (tmp_path / "calls.jsonl").write_text((json.dumps({"messages": turns}) + "\n") * 9)
    arguments = [*OPTIONS.split(), "--preset", preset, "--run", tmp_path / "run", "--data", tmp_path / "calls.jsonl"]
    _, said = call("fit", *arguments, "--chat-template", "none", code=2)
    assert "Turn 2 of a conversation calls tools and has no text" in said


def test_an_imported_adapter_brings_its_template(preset: Path, call: Callable[..., Output], tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(preset)
    adapter = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    adapter.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "chat_template.jinja").write_text(MARKED)
    call(
        "import", "--peft", tmp_path / "theirs", "--preset", preset, "--output", tmp_path / "run", "--turns", "messages"
    )
    assert load(tmp_path / "run").tokenizer.chat.source == MARKED
    shutil.rmtree(tmp_path / "theirs")
