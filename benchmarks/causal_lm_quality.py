"""The gain of LoRA on the text that a language model is adapted to, and the loss on other text.

    python benchmarks/causal_lm_quality.py --pretrain book_holmes.txt book_pride.txt --target tinyshakespeare.txt

`kerora pretrain --objective clm` trains a small GPT-2 on the books, without the last tenth of each book. Then `kerora
fit --task causal-lm` adapts it to the target, without the last tenth of the target. The output is the perplexity before
and after on the last tenth of the target and on the last tenth of the last book, for each seed. --keep FOLDER keeps the
model and the runs. A model that an earlier call left in FOLDER is used again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HELD_OUT = 0.1
SHAPE = ("--layers", "4", "--width", "128", "--heads", "4", "--intermediate", "512", "--vocabulary-size", "2000")
OPTIONS = ("--max-length", "256", "--batch-size", "16", "--learning-rate", "2e-3", "--warmup", "0.1")


def main() -> None:
    """Pre-train once, adapt with every seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pretrain", nargs="+", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--pretrain-epochs", type=int, default=5)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--targets", default="all-linear")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44])
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        _measure(folder, options)


def _measure(folder: Path, options: argparse.Namespace) -> None:
    books = [_parted(path, folder) for path in options.pretrain]
    if not (folder / "gpt2" / "config.json").exists():
        texts = ",".join(str(head) for head, _ in books)
        epochs = ("--epochs", options.pretrain_epochs)
        _kerora(
            "pretrain", "--objective", "clm", "--text", texts, "--output", folder / "gpt2", *SHAPE, *OPTIONS, *epochs
        )
    target, other = _parted(options.target, folder), books[-1][1]
    print(f"{'seed':>6} {'text':>24} {'before':>10} {'after':>10} {'change':>8}  fit s")
    for seed in options.seeds:
        found = _adapt(folder, target, other, options, seed)
        for split, path in (("validation", options.target), ("test", options.pretrain[-1])):
            before, after = (found["metrics"][when][split]["perplexity"] for when in ("before", "after"))
            change, seconds = f"{after / before - 1:+8.1%}", found["training_seconds"]
            print(f"{seed:6} {path.name:>24} {before:10.1f} {after:10.1f} {change}  {seconds:5.1f}", flush=True)


def _parted(path: Path, folder: Path) -> tuple[Path, Path]:
    """Write the first nine tenths of the lines of a text and the last tenth, and return the two paths."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    cut = round(len(lines) * (1 - HELD_OUT))
    parts = {f"{path.stem}_first.txt": lines[:cut], f"{path.stem}_last.txt": lines[cut:]}
    for name, part in parts.items():
        (folder / name).write_text("".join(part), encoding="utf-8")
    first, last = (folder / name for name in parts)
    return first, last


def _adapt(folder: Path, target: tuple[Path, Path], other: Path, options: argparse.Namespace, seed: int) -> dict:
    return _kerora(
        "fit", "--task", "causal-lm", "--preset", folder / "gpt2", "--train", target[0], "--validation", target[1],
        "--test", other, "--targets", options.targets, "--rank", options.rank, "--alpha", 2 * options.rank,
        "--epochs", options.epochs, "--learning-rate", options.learning_rate, "--batch-size", 16, "--seed", seed,
        "--run", folder / f"run{seed}", "--force", "--json",
    )  # fmt: skip


def _kerora(*arguments: object) -> dict:
    """Run a command, and return the JSON of its last line with --json."""
    command = [sys.executable, "-m", "kerora", *map(str, arguments), "--quiet"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return json.loads(output.splitlines()[-1]) if "--json" in command else {}


if __name__ == "__main__":
    main()
