"""The model card of a pre-trained preset, made from the manifest and the history of its run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerora.evaluation.plots import curves, png
from kerora.evaluation.wording import duration
from kerora.models.architectures import ARCHITECTURES, Architecture, fresh_architecture

WORD_COLUMNS = ("mlm_loss", "val_loss", "val_accuracy")
HEADS_LEFT_OUT = "- The masked-language-model head and the projection to the teacher are not part of the preset."


def _is_causal(manifest: Mapping[str, Any]) -> bool:
    return manifest["settings"].get("objective") == "clm"


def model_card(name: str, manifest: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> str:
    """Return the card as Markdown.

    Args:
        name: the preset's name.
        manifest: the contents of pretrain.json.
        history: the rows of history.csv.
    """
    parts = [_title(name, manifest), _model(manifest), _data(manifest), _training(manifest, history)]
    return "\n\n".join([*parts, _limits(manifest)]) + "\n"


def card_curves(history: Sequence[Mapping[str, Any]], words: bool = True) -> bytes:
    """Return the picture of the card as PNG: the loss and, with a teacher, the cosines by epoch.

    Args:
        history: the rows of history.csv.
        words: whether masked words were learnt. If not, the picture leaves their loss out.
    """
    # from the columns, because this function gets no manifest
    causal = "mlm_loss" not in history[0]
    shown = {"loss": ("loss", "val_loss")} if causal else {"masked-language-model loss": ("mlm_loss", "val_loss")}
    shown = shown if words else {}
    if history[0].get("cosine") is not None:
        shown["cosine, sentences"] = ("cosine", "val_cosine")
        shown["cosine, tokens"] = ("token_cosine", "val_token_cosine")
    columns = {"epoch": "epoch"}
    for title, (train, held_out) in shown.items():
        columns |= {title: train, f"val_{title}": held_out}
    values = {
        # NaN leaves a gap in the line: without a held-out part the columns of it are empty
        title: np.array([np.nan if row.get(name) is None else row[name] for row in history], float)
        for title, name in columns.items()
    }
    return png(curves(values, columns=tuple(shown)))


def _title(name: str, manifest: Mapping[str, Any]) -> str:
    teacher = manifest["teacher"]
    objective = f"{'causal' if _is_causal(manifest) else 'masked'}-language modelling"
    ways = [objective] if learns_words(manifest) else []
    how = ", and ".join([*ways, f"distillation from {teacher['name']}"] if teacher else ways)
    what = "A language model" if _is_causal(manifest) else "A text encoder"
    return (
        f"# {name}\n\n{what} in KerasHub's preset format, pre-trained by {how} with "
        f"`kerora pretrain` (Kerora {manifest['kerora']}). `keras_hub.models.Backbone.from_preset` loads it; "
        "`kerora fit --preset` fine-tunes it."
    )


def _model(manifest: Mapping[str, Any]) -> str:
    settings, init = manifest["settings"]["model"], manifest["init"]
    if init is None:
        title = _fresh(manifest).title
        pieces = "byte-pair" if _is_causal(manifest) else "uncased WordPiece"
        start = (
            f"{title}, {settings['layers']} layers, {settings['width']} wide, {settings['heads']} heads, "
            f"{settings['intermediate']} inside the feed-forward layers, at most {settings['max_length']} tokens; "
            f"{pieces} vocabulary of {settings['vocabulary_size']:,} pieces, trained on the same text"
        )
    else:
        start = f"{ARCHITECTURES[init['kind']].title}, continued from {init['name']} with its own tokenizer"
    size = f"{manifest['parameters']:,} weights, {manifest['weights_bytes'] / 1e6:.1f} MB"
    stored = {
        "float16": "stored as float16 (compressed) and widened to float32 by Keras when they are loaded; the held-out "
        "numbers below are those of the rounded weights",
        "float32": "stored as float32",
    }[settings["storage"]]
    # without a next-sentence task no loss reaches the pooler, so a new BERT keeps the start of `fresh_backbone`
    pooler = (
        "\n\nThe pooler is not trained: it is the identity followed by tanh."
        if init is None and _fresh(manifest).head.from_pooler
        else ""
    )
    return f"## Model\n\n{start}.\n\n{size}, {stored}.{pooler}"


def _fresh(manifest: Mapping[str, Any]) -> Architecture:
    objective = "clm" if _is_causal(manifest) else "mlm"
    return fresh_architecture(objective, manifest["settings"]["model"]["architecture"])


def _data(manifest: Mapping[str, Any]) -> str:
    data = manifest["data"]
    # sixteen hex digits (64 bits) are enough to tell files apart, and fit into the table
    files = [f"| {item['file']} | {item['bytes']:,} | `{item['sha256'][:16]}` |" for item in data["files"]]
    table = "\n".join(["| file | bytes | sha256 |", "|---|---:|---|", *files])
    counts = (
        f"{data['documents']:,} documents, {data['characters']:,} characters; {data['held_out_documents']:,} documents "
        "were held out."
    )
    return f"## Data\n\n{table}\n\n{counts} The preset holds the vocabulary and the weights, no text."


def _training(manifest: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> str:
    settings, device = manifest["settings"]["training"], manifest["device"]
    teacher, distillation = manifest["teacher"], manifest["settings"]["distillation"]
    task = (
        "Each token is predicted from those before it, in blocks that follow one another in the text."
        if _is_causal(manifest)
        else f"Whole-word masking of {settings['mask_share']:.0%} of the words (80 % masked, 10 % replaced, 10 % "
        "kept), new masks in each epoch."
    )
    length = f"{settings['max_steps']:,} updates" if settings["max_steps"] else f"{len(history)} epochs"
    sentences = [
        task,
        f"AdamW, learning rate {settings['learning_rate']:g} with {settings['schedule']} schedule, "
        f"{settings['batch_size'] * settings['accumulate']} rows an update, {length}, "
        f"{manifest['settings']['model']['precision']} arithmetic on float32 weights, seed {settings['seed']}.",
    ]
    if teacher is not None:
        sentences.append(_lesson(teacher, distillation, fresh=manifest["init"] is None))
    sentences.append(f"Training took {duration(manifest['training_seconds'])} on {device}.")
    picture = "![Loss by epoch, training and held-out text](curves.png)"
    left_out = () if learns_words(manifest) else WORD_COLUMNS
    return f"## Training\n\n{' '.join(sentences)}\n\n{picture}\n\n{_curve(history, left_out)}{_final(manifest)}"


def learns_words(manifest: Mapping[str, Any]) -> bool:
    """Tell whether the masked-language-model head was trained. If not, its loss and accuracy mean nothing."""
    return manifest["teacher"] is None or manifest["settings"]["distillation"]["mlm_weight"] > 0


def _lesson(teacher: Mapping[str, Any], distillation: Mapping[str, Any], fresh: bool) -> str:
    start = (
        " Token embeddings and projection started from the teacher's states for single pieces."
        if fresh and distillation["init_embeddings"]
        else ""
    )
    times = distillation["teacher_words"]
    words = (
        f" Excerpts of the text were added in which words of the teacher's vocabulary replace every second word, each "
        f"of them {times} times."
        if times
        else ""
    )
    return (
        f"Teacher: {teacher['name']} ({ARCHITECTURES[teacher['kind']].title}). A linear projection of the last hidden "
        "states learns the states of the teacher. The model reads the masked text, the teacher the whole text. The "
        "target of a token is the mean state of its word. The target of the first and the last token is the mean over "
        "the row, which is the sentence embedding of the teacher. The loss is "
        f"{distillation['mlm_weight']:g} x cross entropy (MLM) + {distillation['sentence_weight']:g} x cosine distance "
        f"of the first tokens + {distillation['token_weight']:g} x cosine distance of all tokens.{start}{words}"
    )


def _curve(history: Sequence[Mapping[str, Any]], left_out: Sequence[str]) -> str:
    columns = {
        "epoch": "epoch",
        "mlm_loss": "training loss (MLM)",
        "perplexity": "training perplexity",
        "val_loss": "held-out loss",
        "val_perplexity": "held-out perplexity",
        "val_bits_per_byte": "held-out bits per byte",
        "val_accuracy": "held-out accuracy (MLM)",
        "val_cosine": "held-out cosine to the teacher (sentences)",
        "val_token_cosine": "held-out cosine to the teacher (tokens)",
    }
    # the columns of the other objective, or of a teacher that is not there, are empty in every row
    shown = [name for name in columns if name not in left_out and any(row.get(name) is not None for row in history)]
    head = ["| " + " | ".join(columns[name] for name in shown) + " |", "|" + "---:|" * len(shown)]
    body = ["| " + " | ".join(_cell(row[name]) for name in shown) + " |" for row in history]
    return "\n".join([*head, *body])


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _final(manifest: Mapping[str, Any]) -> str:
    left_out = () if learns_words(manifest) else ("loss", "accuracy")
    held_out = {name: value for name, value in manifest["held_out"].items() if name not in left_out}
    values = ", ".join(f"{name} {value:.4f}" for name, value in held_out.items())
    return f"\n\nThe stored weights on the held-out part: {values}." if values else ""


def _limits(manifest: Mapping[str, Any]) -> str:
    longest = manifest["settings"]["model"]["max_length"]
    size = manifest["data"]["characters"] / 1e6
    lines = [
        f"- It was trained on {size:.1f} million characters. It knows their language and style, and has their biases.",
        f"- It was trained on rows of up to {longest} tokens.",
        *(() if _is_causal(manifest) else (HEADS_LEFT_OUT,)),
        "- Terms of use follow from the licences of the texts and of the teacher or the continued model.",
    ]
    return "## Limits\n\n" + "\n".join(lines)
