"""Peak memory of the loss of a language model, forward and backward: in chunks as in Kerora, or from all logits.

    python benchmarks/causal_lm_memory.py --rows 8 --length 256

The hidden states have the width of GPT-2, the vocabulary has its 50,257 tokens, and all numbers are float32. The kernel
is frozen, as with LoRA. Each way runs in its own process. The output is the peak memory above that of the hidden states
and the kernel.
"""

import argparse
import json
import subprocess
import sys
import time

import psutil
import torch

from kerora.fast.next_token import next_token_loss
from kerora.training.memory import peak_memory_mb

WAYS = ("chunks", "all logits")


def main() -> None:
    """Measure each way in its own process, and print MB and seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in {"rows": 8, "length": 256, "width": 768, "vocabulary": 50257}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--way", choices=WAYS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(_measure(options)))
        return
    for way in WAYS:
        command = [sys.executable, *sys.argv, "--way", way]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        result = json.loads(output.splitlines()[-1])
        print(f"{way:10} {result['megabytes']:8,.0f} MB {result['seconds']:7.2f} s  loss {result['loss']:.4f}")


def _measure(options: argparse.Namespace) -> dict[str, float]:
    torch.manual_seed(0)
    tokens = options.rows * options.length
    hidden = torch.randn(tokens, options.width).requires_grad_()
    kernel = torch.empty(options.vocabulary, options.width).normal_(std=0.02)
    targets = torch.randint(options.vocabulary, (tokens,))
    before, started = psutil.Process().memory_info().rss / 1e6, time.perf_counter()
    if options.way == "chunks":
        loss = next_token_loss(hidden, kernel, targets, torch.ones(tokens)) / tokens
    else:
        loss = torch.nn.functional.cross_entropy(hidden @ kernel.T, targets)
    loss.backward()
    return {
        "megabytes": peak_memory_mb() - before,
        "seconds": time.perf_counter() - started,
        "loss": loss.item(),
    }


if __name__ == "__main__":
    main()
