"""Training and evaluating language models."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import torch

from kerora.data.audit import text_leakage
from kerora.data.concerns import leakage_concerns
from kerora.data.documents import Documents
from kerora.data.language_batches import LanguageBatches
from kerora.data.rows import Dataset
from kerora.errors import ConfigError
from kerora.evaluation.metrics import LANGUAGE_METRICS
from kerora.models.causal_lm import CausalLM
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig
from kerora.tasks.contract import COURSE_COLUMNS, Evaluation
from kerora.tasks.language.audit_screen import TITLES
from kerora.tasks.language.measure import TextLosses, continue_prompts, document_losses
from kerora.tasks.language.samples import Sample, read_samples, sample_prompts, write_samples
from kerora.tasks.refused import check_no_threshold

COLUMNS = ("epoch", "loss", "perplexity", "val_loss", "val_perplexity", "val_bits_per_byte", *COURSE_COLUMNS)
MONITOR = "val_loss"
# without val_: the values of the training rows, from the training itself
MONITORS = frozenset({"loss", "perplexity", *(f"val_{name}" for name in LANGUAGE_METRICS)})
LOSSES = ("cross-entropy",)


class LanguageReport(keras.callbacks.Callback):
    """Add ``val_loss``, ``val_perplexity``, ``val_bits_per_byte`` and ``validation_seconds`` to the logs.

    Put it before the callbacks that record or monitor them. `losses` holds the newest losses of the texts.

    Args:
        documents: the texts to evaluate on.
        batch_size: rows in a batch. Default: 64.
        stride: see `kerora.tasks.language.measure.document_losses`.
    """

    def __init__(self, documents: Documents, batch_size: int = 64, stride: int | None = None) -> None:
        super().__init__()
        self.documents = documents
        self.batch_size = batch_size
        self.stride = stride
        self.losses: TextLosses | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate, and extend the logs."""
        started = time.perf_counter()
        # evaluation must not change the random numbers of training
        with torch.random.fork_rng(devices=[]):
            self.losses = document_losses(self.model, self.documents, self.batch_size, self.stride)
        # the count of tokens is an int, and a metric without value is None: no callback can follow them
        if logs is not None:
            logs.update(
                {f"val_{name}": value for name, value in self.losses.metrics().items() if isinstance(value, float)}
            )
            logs["validation_seconds"] = time.perf_counter() - started


def check(config: FitConfig, dataset: Dataset[Documents]) -> None:
    """Refuse settings that only classifiers have, and a chat template without conversations."""
    check_no_threshold(config)
    training = config.training
    form, template = dataset["train"].form, config.language.chat_template
    if template is not None and form != "turns":
        raise ConfigError(
            f"--chat-template {template} writes conversations, but the data holds {TITLES[form]}. Leave it out, or "
            "name the column of the conversations with --turns."
        )
    # options that the training of a language model would silently ignore
    given = {
        "--cache-frozen": training.cache_frozen,
        "--mask-share": training.mask_share,
        "--augment": training.augment != "none",
        "--consistency": training.consistency != "none",
        "--start": training.start != "plain",
        "--label-smoothing": training.label_smoothing,
        "--class-weights": training.class_weights != "none",
        "--sampling": training.sampling != "shuffled",
        "--calibrate": bool(training.calibrate),
    }
    wrong = [option for option, value in given.items() if value]
    if wrong:
        verb, them = ("is", "it") if len(wrong) == 1 else ("are", "them")
        raise ConfigError(
            f"{', '.join(wrong)} {verb} for classification, not for --task {config.task}. Leave {them} out."
        )


def prepare(config: FitConfig, dataset: Dataset[Documents], model: CausalLM) -> None:
    """Set nothing: the model needs no preparation."""


def training_batches(config: FitConfig, dataset: Dataset[Documents], model: CausalLM) -> LanguageBatches:
    """Return the training texts, packed according to the settings."""
    return model.text_batches(
        dataset["train"],
        pack=config.language.pack,
        batch_size=config.training.batch_size,
        shuffle=True,
        seed=config.training.seed,
    )


def compile(model: CausalLM, config: FitConfig, optimizer: Any, step: Any) -> None:
    """Compile the model. It has a loss of its own."""
    model.compile(optimizer=optimizer, step=step)


def validation(config: FitConfig, dataset: Dataset[Documents], model: CausalLM) -> keras.callbacks.Callback:
    """Return the callback that evaluates the validation texts."""
    return LanguageReport(dataset["validation"], config.training.evaluation_batch_size, config.language.window_step)


def notes(dataset: Dataset[Documents], model: CausalLM, batches: LanguageBatches) -> list[str]:
    """Return lines with the name of the data, its texts and tokens, and the truncated texts."""
    texts = ", ".join(f"{len(rows):,} {split}" for split, rows in dataset)
    rows = batches.rows
    lines = [
        f"Data: {dataset.name}, {texts} texts{dataset.dropped()}; training on {len(batches.table.ids):,} tokens in "
        f"{len(rows):,} rows of at most {int(rows.lengths.max())} tokens"
    ]
    if dataset["train"].form == "turns":
        lines.append(_template_note(model))
    if rows.cut:
        lines.append(
            f"Truncated: {rows.cut:,} texts are longer than {model.max_length} tokens. The start of the prompt is left "
            "out. If the completion alone is too long, its end is left out. A higher --max-length keeps more."
        )
    return lines


def _template_note(model: CausalLM) -> str:
    """Return a line that says how conversations are written, and what of them the loss counts."""
    chat = model.tokenizer.chat
    if chat is None:
        return (
            "Conversations: the end-of-text token ends each turn, as in DialoGPT. There is no chat template "
            "(--chat-template FILE gives one)"
        )
    counted = "what {% generation %} marks" if chat.marks else "the text of the assistant's turns, with their end"
    return f"Conversations: the chat template of {chat.origin}. The loss counts {counted}"


def concerns(config: FitConfig, dataset: Dataset[Documents], model: CausalLM) -> list[str]:
    """Return the texts of other parts that are training texts. `notes` names texts that are cut."""
    return leakage_concerns(text_leakage(dataset), {split: len(rows) for split, rows in dataset})


def evaluate(model: CausalLM, rows: Mapping[str, Documents], config: FitConfig, *, cache: bool = False) -> Evaluation:
    """Return loss, perplexity and bits per byte. The details are the `TextLosses` of each split."""
    size, stride = config.training.evaluation_batch_size, config.language.window_step
    found = {split: document_losses(model, part, size, stride) for split, part in rows.items()}
    return Evaluation({split: losses.metrics() for split, losses in found.items()}, found)


def settle(model: CausalLM, evaluation: Evaluation, config: FitConfig) -> Evaluation:
    """Return the evaluation as it is: nothing is fitted after the training."""
    return evaluation


def write_details(folder: RunFolder, model: CausalLM, evaluation: Evaluation) -> None:
    """Write nothing: there are only metrics."""


def demonstrate(model: CausalLM, rows: Documents, config: FitConfig) -> list[tuple[Sample, str]]:
    """Return the model's continuations of some beginnings of texts."""
    chosen = sample_prompts(rows, config.language.samples)
    texts = continue_prompts(model, [prompt for _, prompt in chosen], config.language.sample_tokens)
    return [(sample, text) for (sample, _), text in zip(chosen, texts, strict=True)]


def write_demonstration(run: RunFolder, found: Sequence[tuple[Sample, str]], trained: bool) -> None:
    """Write samples.json. After training, it holds the continuations from before and after training."""
    earlier = {sample.prompt: sample.before for sample in read_samples(run.samples)} if trained else {}
    samples = [
        Sample(sample.id, sample.prompt, earlier.get(sample.prompt), text)
        if trained
        else Sample(sample.id, sample.prompt, text)
        for sample, text in found
    ]
    if samples:
        write_samples(run.samples, samples)


def adapter_facts(config: FitConfig, dataset: Dataset[Documents] | None) -> dict[str, Any]:
    """Return the form of the texts, because prompts must have the same form."""
    # `kerora generate` gives its prompts this form
    language = config.language
    if dataset is None:
        return {"text_form": "turns" if language.turns else "completion" if language.prompt else "text"}
    return {"text_form": dataset["train"].form}
