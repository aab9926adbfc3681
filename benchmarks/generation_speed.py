"""Tokens a second of greedy generation: Kerora beside `generate` of transformers, in turns on the same prompt.

    python benchmarks/generation_speed.py --model smollm2 --batches 1,16 --tokens 48 --threads 2

`--model` is a Hugging Face folder of a language model. Both models are in memory at the same time. The sides alternate,
so that other load on the machine affects both. A ratio is that of neighbouring turns, and the output is the median of
the turns with their range. The share of the memory rate is the size of the weights times the tokens a second of one
row, divided by the rate at which a tensor of half a gigabyte is summed. `--plain` computes Kerora's side with the
layers of Keras.
"""

import argparse
import os
import statistics
import sys
import time
from typing import Any

PROMPT = "The weather in the north was bad, and nobody had seen the ship for three days. When the keeper of the light"


def main() -> None:
    """Measure every precision and batch, and print a line for each."""
    options = _options()
    if options.plain:
        os.environ["KERORA_PLAIN"] = "1"
    import torch

    torch.set_num_threads(options.threads)
    rate = _memory_rate()
    print(
        f"{torch.get_num_threads()} threads, memory {rate / 1e9:.1f} GB/s, {options.tokens} tokens, "
        f"{options.turns} turns"
    )
    for precision in options.precisions.split(","):
        for rows in map(int, options.batches.split(",")):
            _measure(options, precision, rows, rate)


def _measure(options: argparse.Namespace, precision: str, rows: int, rate: float) -> None:
    ours, size = _kerora(options, precision, rows)
    theirs = _transformers(options, precision, rows)
    mine, other = ours(), theirs()
    same = [a[: options.tokens] == b[: len(a)] for a, b in zip(mine, other, strict=True)]
    speeds = [(_speed(ours), _speed(theirs)) for _ in range(options.turns)]
    ratios = sorted(first / second for first, second in speeds)
    median = [statistics.median(speed[side] for speed in speeds) for side in (0, 1)]
    share = f", {size * median[0] / rate:.0%} of the memory rate" if rows == 1 else ""
    print(
        f"{precision:9} batch {rows:2}: Kerora {median[0]:.1f} tokens/s, transformers {median[1]:.1f}, ratio "
        f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), the same tokens in {sum(same)} of "
        f"{rows} rows{share}",
        flush=True,
    )


def _speed(side: Any) -> float:
    started = time.perf_counter()
    tokens = sum(map(len, side()))
    return tokens / (time.perf_counter() - started)


def _kerora(options: argparse.Namespace, precision: str, rows: int) -> tuple[Any, int]:
    from kerora.models.causal_lm import CausalLM
    from kerora.models.generation import TextGenerator
    from kerora.settings.language import Sampling

    model = CausalLM.from_preset(options.model, dtype=precision)
    generator = TextGenerator(model, laid_out=True)
    # Both sides generate all tokens, so that they do the same work.
    generator.ends = frozenset()
    ids = [model.tokenizer.plain_ids([PROMPT])[0]] * rows
    size = sum(variable.value.numel() * variable.value.element_size() for variable in model.backbone.variables)
    return lambda: [row.ids for row in generator.generate(ids, Sampling(max_tokens=options.tokens), rows)], size


def _transformers(options: argparse.Namespace, precision: str, rows: int) -> Any:
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=getattr(torch, precision)).eval()
    ids = transformers.AutoTokenizer.from_pretrained(options.model)([PROMPT] * rows, return_tensors="pt").input_ids
    settings = {"max_new_tokens": options.tokens, "min_new_tokens": options.tokens, "do_sample": False}

    def generate() -> list[list[int]]:
        found = model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **settings)
        return found[:, ids.shape[1] :].tolist()

    return generate


def _memory_rate() -> float:
    import torch

    values = torch.ones(1 << 27)
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        values.sum()
        taken.append(time.perf_counter() - started)
    return values.numel() * 4 / min(taken)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--precisions", default="float32")
    for name, default in {"tokens": 48, "threads": 2, "turns": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--plain", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
