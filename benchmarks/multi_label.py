"""Compares Kerora with PEFT and Trainer on texts with several labels: F1, thresholds, time.

    python benchmarks/multi_label.py --train goemotions_train.jsonl --dev goemotions_dev.jsonl --preset FOLDER

FOLDER is a model in the format of transformers, such as all-MiniLM-L6-v2. The rows are JSON Lines with ``text`` and
``labels``, a list. The first half of the dev rows is for validation: the thresholds are chosen on it. The second half
is the test part. Both tools train with the same rows, base, adapter, learning rate, schedule, batch size, epochs and
length, in float32, or in bfloat16 with --bfloat16. Trainer has its best setting: batches of rows of similar length, no
dropout in the frozen model. Each tool runs in its own process, and the tools alternate. One line of JSON is printed for
each run, and the means at the end. Both are measured by `kerora.evaluation.label_metrics`, which uses scikit-learn.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

SHOWN = ("macro_f1", "macro_f1_at_half", "micro_f1", "map")
ATTENTION = (["query", "value"], ["q_lin", "v_lin"])
"""Names of the query and value projections in BERT and RoBERTa, and in DistilBERT."""
DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")
HEAD_DROPOUT = ("classifier_dropout", "seq_classif_dropout")


def main() -> None:
    """Run both sides by turns with every seed, or one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--rows", type=int, help="training rows. Default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is not None:
        print(json.dumps(SIDES[options.sides[0]](options, options.seeds[0])))
        return
    with tempfile.TemporaryDirectory() as name:
        _write_parts(options, Path(name))
        _compare(options, name)


def _write_parts(options: argparse.Namespace, folder: Path) -> None:
    train = options.train.read_text(encoding="utf-8").splitlines()[: options.rows]
    known = {label for line in train for label in json.loads(line)["labels"]}
    dev = [json.loads(line) for line in options.dev.read_text(encoding="utf-8").splitlines()]
    # fewer training rows may lack a label of the others
    rows = [json.dumps({**row, "labels": [label for label in row["labels"] if label in known]}) for row in dev]
    parts = {"train": train, "validation": rows[: len(rows) // 2], "test": rows[len(rows) // 2 :]}
    for split, lines in parts.items():
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _compare(options: argparse.Namespace, folder: str) -> None:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for seed in options.seeds:
        for side in options.sides:
            # the later options win
            own = ["--sides", side, "--seeds", str(seed), "--folder", folder]
            command = [sys.executable, __file__, *sys.argv[1:], *own]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            result = json.loads(output.strip().splitlines()[-1])
            found[side].append(result)
            print(json.dumps({"side": side, "seed": seed, **result}), flush=True)
    print(f"{'side':>8} {'seconds':>8} " + " ".join(f"{name:>17}" for name in SHOWN))
    for side, results in found.items():
        values = [f"{np.mean([result[name] for result in results]):17.4f}" for name in SHOWN]
        print(f"{side:>8} {np.mean([result['seconds'] for result in results]):8.1f} {' '.join(values)}")


def _kerora(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    folder = options.folder
    command = [
        *(sys.executable, "-m", "kerora", "fit", "--task", "multi-label", "--preset", options.preset, "--seed", seed),
        *(part for split in ("train", "validation", "test") for part in (f"--{split}", folder / f"{split}.jsonl")),
        *("--epochs", options.epochs, "--batch-size", options.batch_size, "--learning-rate", options.learning_rate),
        *("--max-length", options.max_length, "--precision", "bfloat16" if options.bfloat16 else "float32"),
        *("--set", "training.early_stopping=false", "--set", "training.mask_share=0"),
        *("--run", folder / f"run-{seed}", "--force", "--json", "--quiet"),
    ]
    output = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(output.strip().splitlines()[-1])
    return {"seconds": found["training_seconds"], **{name: found["metrics"]["after"]["test"][name] for name in SHOWN}}


def _peft(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    # here, because the other side does not need it
    import torch
    import transformers

    from kerora.evaluation.label_metrics import label_metrics
    from kerora.evaluation.thresholds import best_thresholds

    transformers.set_seed(seed)
    rows = {split: _read(options.folder / f"{split}.jsonl") for split in ("train", "validation", "test")}
    names = sorted({label for _, labels in rows["train"] for label in labels})
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.preset)
    data = {split: _encoded(part, names, tokenizer, options.max_length) for split, part in rows.items()}
    trainer = transformers.Trainer(
        model=_adapted(options.preset, len(names)),
        args=transformers.TrainingArguments(
            output_dir=str(options.folder / "peft"),
            num_train_epochs=options.epochs,
            per_device_train_batch_size=options.batch_size,
            per_device_eval_batch_size=64,
            learning_rate=options.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=0.1,
            weight_decay=0.01,
            bf16=options.bfloat16,
            train_sampling_strategy="group_by_length",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            seed=seed,
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=data["train"],
        processing_class=tokenizer,
    )
    started = time.time()
    trainer.train()
    seconds = time.time() - started
    # the labels of the output, because batches that are grouped by length change the order of the rows
    found = {split: trainer.predict(data[split]) for split in ("validation", "test")}
    labels = {split: part.label_ids > 0.5 for split, part in found.items()}
    scores = {split: 1 / (1 + np.exp(-part.predictions.astype(np.float64))) for split, part in found.items()}
    thresholds = best_thresholds(labels["validation"], scores["validation"])
    metrics = label_metrics(labels["test"], scores["test"], names, thresholds)
    return {"seconds": seconds, **{name: metrics[name] for name in SHOWN}}


def _read(path: Path) -> list[tuple[str, list[str]]]:
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [(row["text"], row["labels"]) for row in rows]


def _encoded(rows: list[tuple[str, list[str]]], names: list[str], tokenizer: Any, length: int) -> list[dict[str, Any]]:
    encoded = tokenizer([text for text, _ in rows], truncation=True, max_length=length)
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": [float(name in labels) for name in names]}
        for ids, mask, (_, labels) in zip(encoded["input_ids"], encoded["attention_mask"], rows, strict=True)
    ]


def _adapted(preset: str, count: int) -> Any:
    import peft
    import transformers

    config = transformers.AutoConfig.from_pretrained(preset)
    # as Kerora: no dropout inside the frozen model, 0.1 in the head
    rates = {
        **dict.fromkeys((name for name in DROPOUT if hasattr(config, name)), 0.0),
        **dict.fromkeys((name for name in HEAD_DROPOUT if hasattr(config, name)), 0.1),
    }
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        preset, num_labels=count, problem_type="multi_label_classification", **rates
    )
    modules = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    targets = next(pair for pair in ATTENTION if modules.issuperset(pair))
    lora = peft.LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, lora_dropout=0.05, target_modules=targets)
    return peft.get_peft_model(model, lora)


SIDES = {"kerora": _kerora, "peft": _peft}


if __name__ == "__main__":
    main()
