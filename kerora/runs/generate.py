"""Opens the run of a language model and continues prompts with it: single prompts or a file of prompts."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from kerora.data.documents import Part, prompt_parts, turn
from kerora.errors import ConfigError
from kerora.lora.files import read_adapter_config
from kerora.lora.inject import merge_lora
from kerora.models.causal_lm import CausalLM
from kerora.models.generation import Continuation, TextGenerator
from kerora.places import check_output
from kerora.runfolder import RunFolder, atomic_file, check_has_adapter
from kerora.runs.open import load, read_config_for
from kerora.settings.language import Sampling

POOL_BATCHES = 8


class PromptRunner:
    """Runs prompts through the language model of a run, with its adapter merged.

    Args:
        path: the run folder.
        preset: path or name of the base model, if it moved since the run was made.
        chat: whether prompts are turns of a conversation, whatever the run was trained on. Default: False.
        system: what conversations without a system turn begin with. Default: nothing.

    Attributes:
        model: the model.
        trained_on: the form of the training texts: ``text``, ``completion`` or ``turns``.
        form: the form of the prompts. It is that of the training texts without `chat`.

    Raises:
        RunError: the path is not a run, not of a language model, or holds no adapter yet.
        ConfigError: `system` is given for a model without conversations.
    """

    def __init__(
        self, path: Path | str, preset: str | Path | None = None, *, chat: bool = False, system: str | None = None
    ) -> None:
        run = RunFolder.open(path)
        read_config_for(run, "generate")
        check_has_adapter(run)
        self.trained_on = str(read_adapter_config(run.adapter).get("kerora", {}).get("text_form", "text"))
        self.form = "turns" if chat else self.trained_on
        self.system = system
        if system and self.form != "turns":
            raise ConfigError(f"--system is for conversations, but {path} was trained on {self.form}s. Add --chat.")
        self.model: CausalLM = load(run.path, preset)
        # the adapter is fixed here, and a merged kernel costs no more than that of the base model
        merge_lora(self.model)
        self.generator = TextGenerator(self.model, laid_out=True)

    def stream(self, parts: Sequence[Part], sampling: Sampling, number: int = 0) -> Iterator[tuple[str, Continuation]]:
        """Continue one prompt. Yield each new piece of text with the state of the continuation."""
        shown = 0
        for (row,) in self.generator.stream([self.prompt_ids(parts)], sampling, [number]):
            # only the text up to row.shown is final
            yield row.text[shown : row.shown], row
            shown = max(shown, row.shown)

    def complete(self, prompt: str, sampling: Sampling | None = None) -> str:
        """Return the continuation of a prompt. Default: the most probable tokens, at most 64."""
        return "".join(piece for piece, _ in self.stream(self.parts(prompt), sampling or Sampling()))

    def prompt_ids(self, parts: Sequence[Part]) -> list[int]:
        """Return the tokens of a prompt, with the system turn in front if there is none."""
        if self.system and parts and parts[0].role and not any(part.role == "system" for part in parts):
            parts = [turn(self.system, counted=False, role="system"), *parts]
        return self.model.prompt_ids(parts)

    def parts(self, prompt: str) -> tuple[Part, ...]:
        """Return a prompt in the form of the training texts."""
        return prompt_parts(prompt, self.form)


def check_count(count: int, sampling: Sampling) -> None:
    """Check that several continuations of a prompt can differ.

    Raises:
        ConfigError: they cannot, because the temperature is 0.
    """
    if count > 1 and sampling.temperature == 0:
        raise ConfigError(f"--n {count} asks for several continuations, but at temperature 0 all are equal. "
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
    """Continue prompts and write one line of JSON per continuation, in the order of the prompts.

    Keys: ``id``, ``prompt`` (as a person reads it), ``completion``, ``number`` (from 1, if `count` is above 1),
    ``finish`` (``end``, ``stop`` or ``length``), ``tokens`` and, if the prompt was truncated, ``cut``.

    Args:
        runner: the model.
        prompts: id and parts of each prompt.
        sampling: how to choose the next token.
        count: continuations per prompt. Default: 1.
        batch_size: prompts in a batch. Default: 16.
        output: file to write. On an error, no file is left. None writes to `stream`.
        stream: the target if `output` is None.
        force: whether to replace an existing output file.

    Returns:
        The number of lines, and the number of truncated prompts.

    Raises:
        RunError: the output exists and `force` is False, or cannot be written.
        ConfigError: `count` is above 1, but the temperature is 0.
    """
    check_count(count, sampling)
    if output is None:
        if stream is None:
            raise ConfigError("generate_file needs an output file or a stream.")
        return _write(runner, prompts, sampling, count, batch_size, stream)
    check_output(output, force)
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
    # pools bound the memory, and batches of one pool can hold prompts of similar length
    pool = batch_size * POOL_BATCHES
    for start in range(0, len(jobs), pool):
        part = jobs[start : start + pool]
        ids = [runner.prompt_ids(parts) for _, parts, _ in part]
        # first: the seed of a row depends on its number among all jobs, not on its place in the batch
        rows = runner.generator.generate(ids, sampling, batch_size, first=start)
        for (name, parts, number), row in zip(part, rows, strict=True):
            target.write(json.dumps(_line(name, parts, number, count, row), ensure_ascii=False) + "\n")
            lines += 1
            # once for each prompt, however many continuations it has
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
    """A conversation with a model. It keeps the turns. It removes the oldest turns if all do not fit into the context.

    Args:
        runner: the model.
        sampling: how to choose the next token of an answer.
    """

    def __init__(self, runner: PromptRunner, sampling: Sampling) -> None:
        self.runner = runner
        self.sampling = sampling
        self.turns: list[Part] = []
        self.forgotten = 0
        self._answers = 0

    def answer(self, text: str) -> Iterator[str]:
        """Add a turn, and yield the answer of the model piece by piece. Both turns are kept."""
        self.turns.append(turn(text, counted=False))
        self._forget()
        said = ""
        for piece, row in self.runner.stream(self.turns, self.sampling, self._answers):
            said = row.text
            yield piece
        self.turns.append(turn(said, counted=False, role="assistant"))
        self._answers += 1

    def reset(self) -> None:
        """Remove all turns."""
        self.turns = []

    def _forget(self) -> None:
        context = self.runner.generator.context
        if context is None:
            return
        # half of the context at most is reserved for the answer
        room = max(1, context - min(self.sampling.max_tokens, context // 2))
        # the newest turn stays in any case: it holds the question
        while len(self.turns) > 1 and len(self.runner.prompt_ids(self.turns)) > room:
            # a question leaves with its answer: many templates ask for turns that alternate
            del self.turns[:2]
            self.forgotten += 2
