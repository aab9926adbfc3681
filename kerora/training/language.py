"""Language modelling as a task of `kerora fit`."""

import time
from typing import Any

import keras
import torch

from kerora.data.batches import Batches
from kerora.data.documents import Documents
from kerora.data.language import load_documents
from kerora.data.language_batches import LanguageBatches
from kerora.data.rows import Dataset
from kerora.evaluation.language import continue_prompts, evaluate_documents
from kerora.evaluation.samples import Sample, read_samples, sample_prompts, write_samples
from kerora.models.causal_lm import CausalLM
from kerora.models.precision import backbone_dtype
from kerora.models.presets import Preset
from kerora.models.task import Task
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig
from kerora.training.callbacks import HISTORY_COLUMNS
from kerora.training.tasks import EVALUATED, Parts

LANGUAGE_COLUMNS = (
    "epoch",
    "loss",
    "perplexity",
    "val_loss",
    "val_perplexity",
    "val_bits_per_byte",
    *HISTORY_COLUMNS[HISTORY_COLUMNS.index("learning_rate") :],
)


class LanguageReport(keras.callbacks.Callback):
    """Put ``val_loss``, ``val_perplexity``, ``val_bits_per_byte`` and ``validation_seconds`` into the logs.

    Put it before the callbacks that record or monitor them.

    Args:
        documents: the texts to measure on.
        batch_size: rows in a batch; default 64.
        stride: see `kerora.evaluation.language.evaluate_documents`.
    """

    def __init__(self, documents: Documents, batch_size: int = 64, stride: int | None = None) -> None:
        super().__init__()
        self.documents = documents
        self.batch_size = batch_size
        self.stride = stride

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure, and extend the logs."""
        started = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            metrics = evaluate_documents(self.model, self.documents, self.batch_size, self.stride)
        if logs is not None:
            logs.update({f"val_{name}": value for name, value in metrics.items() if isinstance(value, float)})
            logs["validation_seconds"] = time.perf_counter() - started


class LanguageModelling:
    """Causal language modelling; see `kerora.training.tasks.FitTask`."""

    columns: tuple[str, ...] = LANGUAGE_COLUMNS

    def load(self, config: FitConfig) -> Dataset:
        """Load texts."""
        return load_documents(config.data, config.language, config.training.seed)

    def build(self, config: FitConfig, preset: Preset, dataset: Dataset) -> Task:
        """Build the language model; it has no head of its own."""
        return CausalLM.from_preset(preset, max_length=config.model.max_length, dtype=backbone_dtype(config))

    def training_batches(self, config: FitConfig, dataset: Dataset, model: Task) -> Batches:
        """Return the training texts, packed as the settings say."""
        assert isinstance(model, CausalLM)
        return model.text_batches(
            _documents(dataset, "train"),
            pack=config.language.pack,
            batch_size=config.training.batch_size,
            shuffle=True,
            seed=config.training.seed,
        )

    def compile(self, model: Task, config: FitConfig, optimizer: Any, step: Any) -> None:
        """Compile; the loss is the model's own."""
        model.compile(optimizer=optimizer, step=step)

    def validation(self, parts: Parts) -> keras.callbacks.Callback:
        """Measure loss, perplexity and bits per byte."""
        size = parts.config.training.evaluation_batch_size
        return LanguageReport(_documents(parts.dataset, "validation"), size, parts.config.language.stride)

    def notes(self, parts: Parts) -> list[str]:
        """Name the data, its texts and tokens, and what was cut."""
        dataset, batches = parts.dataset, parts.batches
        assert isinstance(batches, LanguageBatches)
        texts = ", ".join(f"{len(rows):,} {split}" for split, rows in dataset)
        skipped = sum(dataset.skipped.values())
        dropped = f"; {skipped:,} bad rows skipped" if skipped else ""
        rows = batches.rows
        lines = [
            f"Data: {dataset.name}, {texts} texts{dropped}; training on {len(batches.table.ids):,} tokens in "
            f"{len(rows):,} rows of {int(rows.lengths.max())} at most"
        ]
        if rows.cut:
            lines.append(
                f"Cut: {rows.cut:,} texts are longer than {parts.model.max_length} tokens; the start of the prompt was "
                "cut, and where the completion alone is too long, its end. --max-length keeps more."
            )
        return lines

    def measure(self, parts: Parts, run: RunFolder, *, trained: bool) -> dict[str, dict[str, Any]]:
        """Evaluate, and write the continuations of some prompts into samples.json."""
        config, model = parts.config, _model(parts)
        size, stride = config.training.evaluation_batch_size, config.language.stride
        metrics = {
            split: evaluate_documents(model, _documents(parts.dataset, split), size, stride)
            for split in parts.dataset.splits
            if split in EVALUATED
        }
        self._sample(parts, run, trained)
        return metrics

    def _sample(self, parts: Parts, run: RunFolder, trained: bool) -> None:
        source = next(split for split in ("test", "validation", "train") if split in parts.dataset.splits)
        chosen = sample_prompts(_documents(parts.dataset, source), parts.config.language.samples)
        prompts = [prompt for _, prompt in chosen]
        texts = continue_prompts(_model(parts), prompts, parts.config.language.sample_tokens)
        earlier = {sample.prompt: sample.before for sample in read_samples(run.samples)} if trained else {}
        samples = [
            Sample(sample.id, sample.prompt, earlier.get(sample.prompt), text)
            if trained
            else Sample(sample.id, sample.prompt, text)
            for (sample, _), text in zip(chosen, texts, strict=True)
        ]
        if samples:
            write_samples(run.samples, samples)

    def adapter_facts(self, parts: Parts) -> dict[str, Any]:
        """Say what the texts were, for prompts are written like them."""
        return {"text_form": _documents(parts.dataset, "train").form}

    def write_labels(self, parts: Parts, run: RunFolder) -> None:
        """Write nothing: there are no classes."""


def _model(parts: Parts) -> CausalLM:
    assert isinstance(parts.model, CausalLM)
    return parts.model


def _documents(dataset: Dataset, split: str) -> Documents:
    documents = dataset[split]
    assert isinstance(documents, Documents)
    return documents
