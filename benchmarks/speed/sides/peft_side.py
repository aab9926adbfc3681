"""transformers: training by Trainer and PEFT, prediction by `pipeline`."""

import time
from collections.abc import Sequence
from typing import Any

import peft
import torch
import transformers

from benchmarks.speed.work import Job, load_rows

WARM_ROWS = 64
ATTENTION = (["query", "value"], ["q_lin", "v_lin"])
"""Names of the query and value projections in BERT and RoBERTa, and in DistilBERT."""


def train_defaults(job: Job) -> dict[str, Any]:
    """Train as in the guides: float32, random batches, the default dropout of the model."""
    return _train(job, {}, {})


def train_best(job: Job) -> dict[str, Any]:
    """Train with bfloat16 if the hardware supports it, batches of similar length, and Kerora's schedule and dropout."""
    arguments = {
        "bf16": job.bfloat16,
        "train_sampling_strategy": "group_by_length",
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "weight_decay": 0.01,
    }
    return _train(job, arguments, _no_dropout(transformers.AutoConfig.from_pretrained(job.preset)))


def _no_dropout(config: Any) -> dict[str, float]:
    inside = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")
    head = ("classifier_dropout", "seq_classif_dropout")
    found = dict.fromkeys((name for name in inside if hasattr(config, name)), 0.0)
    return {**found, **dict.fromkeys((name for name in head if hasattr(config, name)), 0.1)}


def _train(job: Job, arguments: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    transformers.set_seed(job.seed)
    texts, labels, names = load_rows(job.path / "train.csv")
    tokenizer = transformers.AutoTokenizer.from_pretrained(job.preset)
    encode = _Encoder(tokenizer, job.max_length)
    train, test = encode(texts, labels), encode(*load_rows(job.path / "test.csv")[:2])
    trainer = transformers.Trainer(
        model=_adapted(job, len(names), options),
        args=transformers.TrainingArguments(
            output_dir=str(job.path / "peft"),
            num_train_epochs=job.epochs,
            per_device_train_batch_size=job.batch_size,
            per_device_eval_batch_size=64,
            learning_rate=job.learning_rate,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            seed=job.seed,
            use_cpu=not torch.cuda.is_available(),  # Trainer refuses bf16 without a GPU otherwise
            **arguments,
        ),
        train_dataset=train,
        processing_class=tokenizer,
    )
    ready = time.time()
    trainer.train()
    seconds = time.time() - ready
    started = time.perf_counter()
    found = trainer.predict(test)
    # the labels of the output, because the batches here are grouped by length too and change the order of the rows
    right = int((found.predictions.argmax(axis=1) == found.label_ids).sum())
    return {
        "train_seconds": seconds,
        "tokens_per_second": job.epochs * sum(len(row["input_ids"]) for row in train) / seconds,
        "accuracy": right / len(test),
        "startup_seconds": ready - job.started,
        "evaluate_rows_per_second": len(test) / (time.perf_counter() - started),
    }


class _Encoder:
    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length

    def __call__(self, texts: Sequence[str], labels: Sequence[int]) -> list[dict[str, Any]]:
        encoded = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)
        rows = zip(encoded["input_ids"], encoded["attention_mask"], labels, strict=True)
        return [{"input_ids": ids, "attention_mask": mask, "labels": label} for ids, mask, label in rows]


def _adapted(job: Job, classes: int, options: dict[str, Any]) -> Any:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(job.preset, num_labels=classes, **options)
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    targets = next(pair for pair in ATTENTION if names.issuperset(pair))
    lora = peft.LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, lora_dropout=0.05, target_modules=targets)
    return peft.get_peft_model(model, lora)


def predict_float32(job: Job) -> dict[str, Any]:
    """Predict reviews in float32, including tokenising."""
    return _predict(job, torch.float32)


def predict_bfloat16(job: Job) -> dict[str, Any]:
    """Predict reviews in bfloat16, including tokenising."""
    return _predict(job, torch.bfloat16)


def _predict(job: Job, dtype: torch.dtype) -> dict[str, Any]:
    texts = (job.path / "reviews.txt").read_text(encoding="utf-8").splitlines()[: job.texts]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(job.preset, num_labels=4, dtype=dtype)
    tokenizer = transformers.AutoTokenizer.from_pretrained(job.preset)
    classify = transformers.pipeline(
        "text-classification", model=model, tokenizer=tokenizer, batch_size=32, device="cpu"
    )
    options = {"truncation": True, "max_length": job.max_length}
    classify(texts[:WARM_ROWS], **options)
    started = time.perf_counter()
    classify(texts, **options)
    return {"rows_per_second": len(texts) / (time.perf_counter() - started)}
