"""Generation: greedy equal to transformers, batches equal to single rows, sampling, stop texts, limits."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from kerora.errors import ConfigError
from kerora.lora.inject import enable_lora, lora_layers, merge_lora
from kerora.models.causal_lm import CausalLM
from kerora.models.generation import Continuation, TextGenerator, choose
from kerora.settings.language import Sampling
from tests.tiny_huggingface import tiny_huggingface

PROMPTS = [[5, 6, 7], [40, 41, 42, 43, 44, 45, 46, 47], [9], [100, 101, 102]]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2") / "tiny_gpt2"
    return tiny_huggingface("gpt2", folder, task="LMHeadModel", initializer_range=0.3)


@pytest.fixture(scope="module")
def model(gpt2: Path) -> CausalLM:
    return CausalLM.from_preset(str(gpt2))


@pytest.fixture(scope="module")
def theirs(gpt2: Path) -> Any:
    return transformers.GPT2LMHeadModel.from_pretrained(gpt2).eval()


def their_tokens(theirs: Any, prompt: list[int], count: int, **options: Any) -> list[int]:
    ids = torch.tensor([prompt])
    out = theirs.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, pad_token_id=0, **options
    )
    found: list[int] = out[0, len(prompt) :].tolist()
    return found[: found.index(0)] if 0 in found else found


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_equals_transformers(penalty: float, model: CausalLM, theirs: Any) -> None:
    sampling = Sampling(max_tokens=30, repetition_penalty=penalty)
    found = TextGenerator(model).generate(PROMPTS, sampling)
    for prompt, row in zip(PROMPTS, found, strict=True):
        assert row.ids == their_tokens(theirs, prompt, 30, repetition_penalty=penalty)
        assert row.finish == ("length" if len(row.ids) == 30 else "end")
    assert len({tuple(row.ids) for row in found}) == len(PROMPTS)


@pytest.mark.usefixtures("side")
def test_greedy_equals_transformers_with_the_same_merged_weights(gpt2: Path, tmp_path: Path) -> None:
    model = CausalLM.from_preset(str(gpt2))
    enable_lora(model, rank=4, targets=("c_attn", "c_proj"))
    generator = torch.Generator().manual_seed(0)
    for layer in lora_layers(model):
        layer.update.b.assign(torch.randn(layer.update.b.shape, generator=generator) * 0.1)
    unmerged = TextGenerator(model).generate(PROMPTS, Sampling(max_tokens=20))
    merge_lora(model)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(gpt2).eval()
    state = theirs.state_dict()
    kernels = {variable.path: variable.value.detach() for variable in model.backbone.variables}
    for layer in model.preset.architecture.layers:
        for pair in layer.expand(2):
            for path, name in pair.variables():
                target = state[f"transformer.{name}"]
                if pair.part is not None:
                    target = torch.chunk(target, pair.part[1], dim=-1)[pair.part[0]]
                target.copy_(kernels[path].reshape(target.shape))
    merged = TextGenerator(model).generate(PROMPTS, Sampling(max_tokens=20))
    for prompt, row, other in zip(PROMPTS, merged, unmerged, strict=True):
        assert row.ids == other.ids == their_tokens(theirs, prompt, 20)


def test_a_batch_gives_what_single_rows_give(model: CausalLM) -> None:
    sampling = Sampling(max_tokens=12, temperature=0.9, top_k=50, seed=3)
    together = TextGenerator(model).generate(PROMPTS, sampling)
    alone = TextGenerator(model).generate(PROMPTS, sampling, batch_size=1)
    assert [row.ids for row in together] == [row.ids for row in alone]
    assert [row.ids for row in together] == [row.ids for row in TextGenerator(model).generate(PROMPTS, sampling)]
    other = TextGenerator(model).generate(PROMPTS, Sampling(max_tokens=12, temperature=0.9, top_k=50, seed=4))
    assert [row.ids for row in together] != [row.ids for row in other]


def test_low_precision(gpt2: Path) -> None:
    row = TextGenerator(CausalLM.from_preset(str(gpt2), dtype="bfloat16")).generate(
        [PROMPTS[0]], Sampling(max_tokens=4)
    )
    assert len(row[0].ids) == 4


@pytest.mark.parametrize("options", [{"top_k": 5}, {"top_p": 0.6}, {"top_k": 20, "top_p": 0.8, "temperature": 0.5}])
def test_what_may_be_drawn_is_what_transformers_allows(options: dict[str, Any]) -> None:
    logits = torch.randn(60, generator=torch.Generator().manual_seed(1)) * 2
    sampling = Sampling(**{"temperature": 1.0, **options})
    scores = logits[None] / sampling.temperature
    if sampling.top_k:
        scores = transformers.TopKLogitsWarper(sampling.top_k)(None, scores)
    if sampling.top_p:
        scores = transformers.TopPLogitsWarper(sampling.top_p)(None, scores)
    draw = torch.Generator().manual_seed(0)
    drawn = torch.bincount(torch.tensor([choose(logits, [], sampling, draw) for _ in range(4000)]), minlength=60)
    expected = scores[0].softmax(-1)
    assert set(drawn.nonzero().flatten().tolist()) <= set(expected.nonzero().flatten().tolist())
    torch.testing.assert_close(drawn / 4000, expected, atol=0.04, rtol=0)


def test_stop_texts_end_a_continuation_and_are_never_shown(model: CausalLM) -> None:
    free = TextGenerator(model).generate([PROMPTS[1]], Sampling(max_tokens=25))[0].text
    stop = free[10:13]
    sampling = Sampling(max_tokens=25, stop=("not there", stop))
    shown = ""
    rows: list[Continuation] = []
    for rows in TextGenerator(model).stream([PROMPTS[1]], sampling):
        assert rows[0].text.startswith(shown)
        shown = rows[0].text[: rows[0].shown]
    assert rows[0].finish == "stop"
    assert shown == rows[0].text == free[: free.find(stop)]


def test_a_prompt_longer_than_the_context_loses_its_start(model: CausalLM) -> None:
    prompt = list(range(1, 101))
    row = TextGenerator(model).generate([prompt], Sampling(max_tokens=10))[0]
    assert row.prompt == prompt[-54:] and row.cut == 46 and len(row.ids) == 10
    row = TextGenerator(model).generate([prompt], Sampling(max_tokens=1000))[0]
    assert row.prompt == prompt[-32:] and row.cut == 68 and len(row.ids) == 32
    assert row.finish == "length"


def test_the_context_ends_a_continuation(model: CausalLM, theirs: Any) -> None:
    row = TextGenerator(model).generate([list(range(1, 61))], Sampling(max_tokens=50))[0]
    assert (row.cut, row.finish, len(row.ids)) == (0, "length", 4)
    assert row.ids == their_tokens(theirs, list(range(1, 61)), 4)


def test_an_empty_prompt_starts_from_the_end_token(model: CausalLM, theirs: Any) -> None:
    assert TextGenerator(model).generate([[]], Sampling(max_tokens=5))[0].ids == their_tokens(theirs, [0], 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_tokens": 0}, "'max_tokens' must be 1 or more. Received: 0"),
        ({"temperature": -1.0}, "'temperature' must be 0 or more"),
        ({"temperature": 1.0, "top_p": 0.0}, "'top_p' must be greater than 0"),
        ({"temperature": 1.0, "top_p": 1.5}, "'top_p' must be 1 or less"),
        ({"temperature": 1.0, "top_k": 0}, "'top_k' must be 1 or more"),
        ({"top_k": 5}, "temperature is 0. Give a temperature"),
        ({"repetition_penalty": 0.0}, "'repetition_penalty' must be greater than 0"),
        ({"stop": ("",)}, "'stop' must not hold an empty text"),
    ],
)
def test_settings_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sampling(**values)
