"""Opens a language model's run and continues prompts with it: one at a time as they come, or a file of them."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from kerora.data.documents import Part, prompt_parts
from kerora.errors import ConfigError, RunError
from kerora.lora.files import read_adapter_config
from kerora.lora.inject import merge_lora
from kerora.models.causal_lm import CausalLM
from kerora.models.generation import Continuation, TextGenerator
from kerora.runfolder import RunFolder, atomic_file, check_has_adapter
from kerora.runs.open import load, read_config_for
from kerora.settings.language import Sampling

POOL_BATCHES = 8


class PromptRunner:
    """Runs prompts through the language model of a run, with its adapter merged.

    Args:
        path: the run folder.
        preset: where the base model is now, if not where the run found it.

    Attributes:
        model: the model.
        form: what it was trained on: ``text``, ``completion`` or ``turns``.

    Raises:
        RunError: no run, no language model's run, or it holds no adapter yet.
    """

    def __init__(self, path: Path | str, preset: str | None = None) -> None:
        run = RunFolder.open(path)
        read_config_for(run, "generate")
        check_has_adapter(run)
        self.form = str(read_adapter_config(run.adapter).get("kerora", {}).get("text_form", "text"))
        self.model: CausalLM = load(run.path, preset)
        merge_lora(self.model)
        self.generator = TextGenerator(self.model)

    def stream(self, parts: Sequence[Part], sampling: Sampling, number: int = 0) -> Iterator[tuple[str, Continuation]]:
        """Continue one prompt; yields each new piece of text, with the state of the continuation."""
        shown = 0
        for (row,) in self.generator.stream([self.model.prompt_ids(parts)], sampling, [number]):
            yield row.text[shown : row.shown], row
            shown = max(shown, row.shown)

    def complete(self, prompt: str, sampling: Sampling | None = None) -> str:
        """Return the continuation of a prompt; by default the most probable 64 tokens at most."""
        return "".join(piece for piece, _ in self.stream(self.parts(prompt), sampling or Sampling()))

    def parts(self, prompt: str) -> tuple[Part, ...]:
        """Return a prompt as the texts began that the model was trained on."""
        return prompt_parts(prompt, self.form)


def check_count(count: int, sampling: Sampling) -> None:
    """Check that several continuations of a prompt can differ.

    Raises:
        ConfigError: they cannot.
    """
    if count > 1 and sampling.temperature == 0:
        raise ConfigError(f"--n {count} asks for several continuations, but at temperature 0 all are the same. "
                          "Give a --temperature above 0.")  # fmt: skip


def generate_file(
    runner: PromptRunner,
    prompts: Sequence[tuple[str, Sequence[Part]]],
    sampling: Sampling,
    *,
    count: int = 1,
    batch_size: int = 16,
    output: Path | None = None,
    stream: IO[str] | None = None,
    force: bool = False,
) -> tuple[int, int]:
    """Continue prompts and write a line of JSON for each continuation, in the prompts' order.

    Keys: ``id``, ``prompt`` (what a person would read), ``completion``, ``number`` (from 1, with `count` above 1),
    ``finish`` (``end``, ``stop`` or ``length``), ``tokens`` and, where the prompt did not fit, ``cut``.

    Args:
        runner: the model.
        prompts: id and parts of each.
        sampling: how to go on.
        count: continuations of each prompt; default 1.
        batch_size: prompts at a time; default 16.
        output: file to write, whole or not at all; None writes to `stream`.
        stream: where to write without `output`.
        force: replace an existing output file.

    Returns:
        The number of lines, and of prompts that were cut.

    Raises:
        RunError: the output exists and `force` is False, or cannot be written.
        ConfigError: several continuations, but nothing is drawn.
    """
    check_count(count, sampling)
    if output is None:
        if stream is None:
            raise ConfigError("generate_file needs an output file or a stream.")
        return _write(runner, prompts, sampling, count, batch_size, stream)
    if output.exists() and not force:
        raise RunError(f"{output} exists. Choose another --output or add --force.")
    with atomic_file(output) as target:
        return _write(runner, prompts, sampling, count, batch_size, target)


def _write(
    runner: PromptRunner,
    prompts: Sequence[tuple[str, Sequence[Part]]],
    sampling: Sampling,
    count: int,
    batch_size: int,
    target: IO[str],
) -> tuple[int, int]:
    lines = cut = 0
    jobs = [(name, parts, number) for name, parts in prompts for number in range(count)]
    pool = batch_size * POOL_BATCHES
    for start in range(0, len(jobs), pool):
        part = jobs[start : start + pool]
        ids = [runner.model.prompt_ids(parts) for _, parts, _ in part]
        rows = runner.generator.generate(ids, sampling, batch_size, first=start)
        for (name, parts, number), row in zip(part, rows, strict=True):
            target.write(json.dumps(_line(name, parts, number, count, row), ensure_ascii=False) + "\n")
            lines += 1
            cut += row.cut > 0 and number == 0
    return lines, cut


def _line(name: str, parts: Sequence[Part], number: int, count: int, row: Continuation) -> dict[str, object]:
    line: dict[str, object] = {"id": name, "prompt": "\n".join(part.text.strip("\n") for part in parts)}
    line["completion"] = row.text
    if count > 1:
        line["number"] = number + 1
    line |= {"finish": row.finish, "tokens": len(row.ids)}
    return line | ({"cut": row.cut} if row.cut else {})


class Conversation:
    """A conversation with a model: keeps the turns, and forgets the oldest ones when they no longer fit.

    Args:
        runner: the model.
        sampling: how it answers.
    """

    def __init__(self, runner: PromptRunner, sampling: Sampling) -> None:
        self.runner = runner
        self.sampling = sampling
        self.turns: list[Part] = []
        self.forgotten = 0
        self._answers = 0

    def answer(self, text: str) -> Iterator[str]:
        """Say something; yields the answer piece by piece and keeps both turns."""
        self.turns.append(Part(text, False, True))
        self._forget()
        said = ""
        for piece, row in self.runner.stream(self.turns, self.sampling, self._answers):
            said = row.text
            yield piece
        self.turns.append(Part(said, False, True))
        self._answers += 1

    def reset(self) -> None:
        """Forget all turns."""
        self.turns = []

    def _forget(self) -> None:
        context = self.runner.generator.context
        if context is None:
            return
        room = max(1, context - min(self.sampling.max_tokens, context // 2))
        while len(self.turns) > 1 and len(self.runner.model.prompt_ids(self.turns)) > room:
            del self.turns[0]
            self.forgotten += 1
