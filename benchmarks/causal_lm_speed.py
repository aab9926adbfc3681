"""Training step and peak memory of a GPT-2 with LoRA: Kerora and the best setting of PEFT, on the same shapes.

    python benchmarks/causal_lm_speed.py --layers 12 --width 768 --rows 8 --length 256 --steps 8

Weights and tokens are random. LoRA has rank 16 on c_attn and c_proj. Each side runs in its own process, in float32 and,
if the hardware supports it, in bfloat16. The better of the two counts. The sides alternate after each step, so that
other load on the machine affects all of them. All sides are in memory at the same time. The step of PEFT is forward
with labels, backward and AdamW, as in the Trainer. A third side computes only the products with the frozen kernels,
forward and for the gradient of their inputs. No implementation can need less. The output is seconds per step (median),
peak resident memory, and the ratios.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kerora.models.precision import resolve_precision

RANK, ALPHA, WARM = 16, 32, 2
PAUSE = 0.3
"""Seconds until the threads of the previous side are idle."""
HEAD_ROWS = 256
"""Number of tokens for which the side ``products`` computes logits at once."""


def main() -> None:
    """Make the model, run every setting in its own process, and print the table."""
    options = _options()
    if options.side:
        _serve(options)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make_model(folder, options)
        found = _measure(folder, options.steps)
    for (side, precision), result in found.items():
        print(f"{side:7} {precision:9} {result['seconds']:.3f} s a step, {result['megabytes']:,.0f} MB")
    best = {side: min((r for (s, _), r in found.items() if s == side), key=lambda r: r["seconds"])
            for side in SIDES}  # fmt: skip
    ratios = {key: best["kerora"][key] / best["peft"][key] for key in ("seconds", "megabytes")}
    print(f"Kerora / PEFT's best: step {ratios['seconds']:.2f}, memory {ratios['megabytes']:.2f}")
    least = best["products"]["seconds"]
    shares = {side: least / best[side]["seconds"] for side in ("kerora", "peft")}
    print(f"The products alone: {shares['kerora']:.2f} of Kerora's step, {shares['peft']:.2f} of PEFT's")


def _measure(folder: Path, steps: int) -> dict[tuple[str, str], dict[str, float]]:
    """Run the steps of all sides alternately, and return medians by side and precision."""
    precisions = sorted({"float32", resolve_precision("auto")})
    processes = {(side, precision): _start(folder, side, precision) for precision in precisions for side in SIDES}
    taken: dict[tuple[str, str], list[dict[str, float]]] = {key: [] for key in processes}
    try:
        for turn in range(WARM + steps):
            # the order changes in each turn, so that no side always runs after the same other one
            for key in sorted(processes, reverse=turn % 2 == 1):
                time.sleep(PAUSE)
                taken[key].append(_ask(processes[key]))
    finally:
        for process in processes.values():
            process.kill()
    return {
        key: {figure: statistics.median(one[figure] for one in results[WARM:]) for figure in results[0]}
        for key, results in taken.items()
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    sizes = {"layers": 12, "width": 768, "heads": 12, "vocabulary": 50257, "rows": 8, "length": 256, "steps": 8}
    for name, default in {**sizes, "threads": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--side", choices=tuple(SIDES))
    parser.add_argument("--precision", default="float32")
    return parser.parse_args()


def _make_model(folder: Path, options: argparse.Namespace) -> None:
    import transformers
    from tokenizers import Tokenizer, models

    config = transformers.GPT2Config(
        n_layer=options.layers, n_embd=options.width, n_head=options.heads, vocab_size=options.vocabulary
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    Tokenizer(models.BPE(vocab={"<|endoftext|>": 0}, merges=[])).save(str(folder / "tokenizer.json"))


def _start(folder: Path, side: str, precision: str) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, *sys.argv[1:], "--folder", str(folder), "--side", side]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*command, "--precision", precision], text=True, **pipes)


def _ask(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdin and process.stdout
    process.stdin.write("step\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"A side ended with status {process.wait()}. Run it alone to see its error: {process.args}")
    return dict(json.loads(answer))


def _serve(options: argparse.Namespace) -> None:
    """Run one step for each line of the standard input, and print its time and the peak memory."""
    import numpy as np
    import torch

    torch.set_num_threads(options.threads)
    ids = np.random.default_rng(0).integers(1, options.vocabulary, (options.rows, options.length))
    step = SIDES[options.side](options, ids)

    from kerora.training.memory import peak_memory_mb

    for _ in sys.stdin:
        started = time.perf_counter()
        step()
        print(json.dumps({"seconds": time.perf_counter() - started, "megabytes": peak_memory_mb()}), flush=True)


def _kerora_step(options: argparse.Namespace, ids: Any) -> Any:
    import kerora  # noqa: I001 (before keras, whose backend it selects)
    import keras
    import numpy as np
    import torch

    model = kerora.CausalLM.from_preset(str(options.folder), max_length=options.length, dtype=options.precision)
    kerora.enable_lora(model, rank=RANK, alpha=ALPHA, dropout=0.05, targets=("c_attn", "c_proj"))
    model.compile(keras.optimizers.AdamW(1e-4, global_clipnorm=1.0), step=kerora.TrainStep(1_000))
    x = {"token_ids": torch.tensor(ids), "padding_mask": torch.ones(ids.shape, dtype=torch.int32)}
    weights = torch.ones(ids.shape)
    weights[:, -1] = 0
    data = (x, torch.tensor(np.roll(ids, -1, 1)), weights)
    return lambda: model.train_step(data)


def _peft_step(options: argparse.Namespace, ids: Any) -> Any:
    import peft
    import torch
    import transformers

    model = transformers.GPT2LMHeadModel.from_pretrained(options.folder, attn_implementation="sdpa")
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, lora_dropout=0.05, target_modules=["c_attn", "c_proj"],
        fan_in_fan_out=True,
    )  # fmt: skip
    wrapped = peft.get_peft_model(model, config).train()
    parameters = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    tokens = torch.tensor(ids)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
            loss = wrapped(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _products_step(options: argparse.Namespace, ids: Any) -> Any:
    import torch

    width, dtype = options.width, getattr(torch, options.precision)
    shapes = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    kernels = [torch.randn(shape, dtype=dtype) for shape in shapes] * options.layers
    rows = {size: torch.randn(ids.size, size, dtype=dtype) for size in (width, 3 * width, 4 * width)}
    results = {size: torch.empty_like(values) for size, values in rows.items()}
    head = torch.randn(options.vocabulary, width, dtype=dtype)
    logits = torch.empty(options.vocabulary, HEAD_ROWS, dtype=dtype)

    def step() -> None:
        for kernel in kernels:
            inner, outer = kernel.shape
            torch.mm(rows[inner], kernel, out=results[outer])
            torch.mm(rows[outer], kernel.T, out=results[inner])
        for part, result in zip(rows[width].split(HEAD_ROWS), results[width].split(HEAD_ROWS), strict=True):
            torch.mm(head, part.T, out=logits[:, : len(part)])
            torch.mm(logits[:, : len(part)].T, head, out=result)

    return step


SIDES = {"kerora": _kerora_step, "peft": _peft_step, "products": _products_step}


if __name__ == "__main__":
    main()
