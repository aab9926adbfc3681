"""Compares a regression with Kerora and with the Trainer of transformers and PEFT, on the same rows and settings.

    python benchmarks/regression.py --train stsb_train.tsv --dev stsb_dev.tsv --preset minilm --seeds 0 1 2

Each training runs in its own process, and the tools alternate. Both train LoRA of rank 8 on query and value and a full
head, for the same number of epochs without early stopping. They are measured on the rows of --dev, which neither uses
for a choice. The Trainer has its best setting: batches of similar length, targets that are standardised (--raw leaves
them as they are), and Kerora's schedule, decay, clipping and dropout. The times are those of the training alone. --rows
takes the first rows of the training file. --keep FOLDER keeps the runs and the results.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

METRICS = ("pearson", "spearman", "rmse", "mae")


def main() -> None:
    """Train every tool with every seed by turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--text", default="sentence1,sentence2")
    parser.add_argument("--label", default="score")
    parser.add_argument("--preset", default="minilm")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--loss", choices=("mse", "mae", "huber"), default="mse", help="of Kerora; the Trainer has mse")
    parser.add_argument("--precision", default="float32", help="of Kerora; the Trainer has float32")
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--tools", nargs="+", choices=("kerora", "peft"), default=["kerora", "peft"])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.seed is not None:
        print(json.dumps(train_with_peft(options)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        if options.rows is not None:
            options.train = _first_rows(options.train, folder / "first_rows.tsv", options.rows)
        _measure(folder, options)


def _measure(folder: Path, options: argparse.Namespace) -> None:
    found: dict[str, list[dict[str, float]]] = {tool: [] for tool in options.tools}
    print(f"{'seed':>6} {'tool':>8}" + "".join(f" {name:>9}" for name in METRICS) + "  train s", flush=True)
    for place, seed in enumerate(options.seeds):
        # the first tool changes, as a machine can become slower while it works
        for tool in options.tools if place % 2 == 0 else options.tools[::-1]:
            result = {"kerora": _kerora, "peft": _peft}[tool](folder, options, seed)
            found[tool].append(result)
            print(_line(str(seed), tool, result), flush=True)
    for tool, results in found.items():
        means = {name: float(np.mean([one[name] for one in results])) for name in (*METRICS, "seconds")}
        print(_line("mean", tool, means))
    (folder / "results.json").write_text(json.dumps(found, indent=2), encoding="utf-8")


def _line(seed: str, tool: str, result: dict[str, float]) -> str:
    return f"{seed:>6} {tool:>8}" + "".join(f" {result[name]:9.4f}" for name in METRICS) + f"  {result['seconds']:7.1f}"


def _kerora(folder: Path, options: argparse.Namespace, seed: int) -> dict[str, float]:
    run = folder / f"kerora-{seed}"
    same = ("epochs", "batch_size", "learning_rate", "max_length", "loss", "precision", "preset", "text", "label")
    settings = [part for name in same for part in (f"--{name.replace('_', '-')}", str(getattr(options, name)))]
    command = ["fit", "--task", "regression", "--train", options.train, "--test", options.dev, "--run", run, "--force"]
    command += ["--validation-split", 0, "--seed", seed, "--quiet", *settings]
    if "," in options.text:
        command += ["--text-join", "pair"]
    subprocess.run([sys.executable, "-m", "kerora", *map(str, command)], check=True)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["after"]["test"]
    seconds = json.loads((run / "run.json").read_text(encoding="utf-8"))["training_seconds"]
    return {**{name: metrics[name] for name in METRICS}, "seconds": seconds}


def _peft(folder: Path, options: argparse.Namespace, seed: int) -> dict[str, float]:
    given = ("train", "dev", "text", "label", "preset", "epochs", "batch_size", "learning_rate", "max_length")
    command = [part for name in given for part in (f"--{name.replace('_', '-')}", str(getattr(options, name)))]
    command += ["--seed", str(seed), "--keep", str(folder), *(["--raw"] if options.raw else [])]
    done = subprocess.run([sys.executable, __file__, *command], check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def train_with_peft(options: argparse.Namespace) -> dict[str, float]:
    """Train with the Trainer and PEFT. Return the metrics on the rows of --dev and the training time."""
    # here, because the process that only starts others needs neither
    import peft
    import transformers

    from kerora.models.presets import find_preset

    base = str(find_preset(options.preset).directory)
    transformers.set_seed(options.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    (train, targets), (dev, true) = (_encoded(path, tokenizer, options) for path in (options.train, options.dev))
    mean, deviation = (0.0, 1.0) if options.raw else (targets.mean(), targets.std())
    rows = [{**row, "labels": float(value)} for row, value in zip(train, (targets - mean) / deviation, strict=True)]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, problem_type="regression", **_no_dropout(transformers.AutoConfig.from_pretrained(base))
    )
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    targeted = ["query", "value"] if "query" in names else ["q_lin", "v_lin"]
    lora = peft.LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, lora_dropout=0.05, target_modules=targeted)
    arguments = transformers.TrainingArguments(
        output_dir=str(options.keep / "trainer"),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        weight_decay=0.01,
        max_grad_norm=1.0,
        train_sampling_strategy="group_by_length",
        save_strategy="no",
        report_to="none",
        logging_strategy="no",
        disable_tqdm=True,
        seed=options.seed,
    )
    trainer = transformers.Trainer(
        model=peft.get_peft_model(model, lora), args=arguments, train_dataset=rows, processing_class=tokenizer
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    # the labels of the output, because the batches are grouped by length and change the order of the rows
    output = trainer.predict([{**row, "labels": float(value)} for row, value in zip(dev, true, strict=True)])
    found = output.predictions[:, 0].astype(np.float64) * deviation + mean
    return {**_metrics(np.asarray(output.label_ids, np.float64).reshape(-1), found), "seconds": seconds}


def _metrics(true: np.ndarray, found: np.ndarray) -> dict[str, float]:
    return {
        "pearson": float(stats.pearsonr(true, found).statistic),
        "spearman": float(stats.spearmanr(true, found).statistic),
        "rmse": float(np.sqrt(np.mean((true - found) ** 2))),
        "mae": float(np.mean(np.abs(true - found))),
    }


def _encoded(path: Path, tokenizer: Any, options: argparse.Namespace) -> tuple[list[dict[str, Any]], np.ndarray]:
    rows = _rows(path)
    texts = [[row[name] for row in rows] for name in options.text.split(",")]
    encoded = tokenizer(*texts, truncation=True, max_length=options.max_length)
    values = [dict(zip(encoded, parts, strict=True)) for parts in zip(*encoded.values(), strict=True)]
    return values, np.array([float(row[options.label]) for row in rows])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        # the quotes of TSV files are part of the text
        dialect: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if path.suffix == ".tsv" else {}
        return list(csv.DictReader(stream, **dialect))


def _first_rows(source: Path, target: Path, count: int) -> Path:
    target = target.with_suffix(source.suffix)
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    target.write_text("".join(lines[: count + 1]), encoding="utf-8")
    return target


def _no_dropout(config: Any) -> dict[str, float]:
    inside = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")
    head = ("classifier_dropout", "seq_classif_dropout")
    found = dict.fromkeys((name for name in inside if hasattr(config, name)), 0.0)
    return {**found, **dict.fromkeys((name for name in head if hasattr(config, name)), 0.1)}


if __name__ == "__main__":
    main()
