"""The model card from the facts of a run: every number it shows, and what it leaves out."""

import copy
import io
import re
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from kerora.pretraining.card import HEADS_LEFT_OUT, WORD_COLUMNS, card_curves, learns_words, model_card
from kerora.settings.pretrain import PretrainConfig
from kerora.settings.resolve import resolve, to_dict


def manifest(**changes: Any) -> dict[str, Any]:
    """The facts of a made-up run; `changes` are dotted settings."""
    config = resolve({"training.learning_rate": 3e-4, "model.precision": "float32"}, changes, root=PretrainConfig)
    return {
        "kerora": "1.2.3",
        "device": "cpu",
        "settings": to_dict(config),
        "data": {
            "files": [{"file": "a.txt", "bytes": 1_234_567, "sha256": "ab" * 32}],
            "documents": 4_321,
            "characters": 2_345_678,
            "held_out_documents": 43,
        },
        "init": None,
        "teacher": None,
        "parameters": 9_876_543,
        "weights_bytes": 12_340_000,
        "training_seconds": 3_725.0,
        "held_out": {"loss": 2.34567, "accuracy": 0.51234},
    }


TEACHER = {"name": "big", "kind": "bert", "fingerprint": "0" * 64}


def history(epochs: int = 3, **columns: Any) -> list[dict[str, Any]]:
    names = {"mlm_loss": 5.0, "val_loss": 5.1, "val_accuracy": 0.2, "cosine": None, "token_cosine": None}
    start = {**names, "val_cosine": None, "val_token_cosine": None, **columns}
    return [{"epoch": n + 1} | {k: v if v is None else v * (0.9**n) for k, v in start.items()} for n in range(epochs)]


def with_teacher(**changes: Any) -> dict[str, Any]:
    found = manifest(**{name.replace("__", "."): value for name, value in changes.items()})
    return {**found, "teacher": TEACHER, "held_out": {**found["held_out"], "cosine": 0.9, "token_cosine": 0.8}}


COSINES = {"cosine": 0.3, "token_cosine": 0.2, "val_cosine": 0.31, "val_token_cosine": 0.21}


def table_of(card: str) -> list[list[str]]:
    """The cells of the table of epochs."""
    lines = card[card.index("| epoch") :].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]


def test_the_card_of_a_fresh_encoder_holds_its_facts() -> None:
    card = model_card("mini", manifest(), history())
    for fact in (
        "# mini\n\nA text encoder in KerasHub's preset format",
        "DistilBERT, 4 layers, 256 wide, 4 heads, 1024 inside the feed-forward layers, at most 128 tokens; "
        "uncased WordPiece vocabulary of 8,000 pieces",
        "9,876,543 weights, 12.3 MB, stored as float32.",
        "| a.txt | 1,234,567 | `abababababababab` |",
        "4,321 documents, 2,345,678 characters; 43 documents were held out.",
        "Whole-word masking of 15% of the words",
        "learning rate 0.0003 with cosine schedule, 64 rows an update, 3 epochs, float32 arithmetic",
        "The stored weights on the held-out part: loss 2.3457, accuracy 0.5123.",
        "It was trained on 2.3 million characters.",
        HEADS_LEFT_OUT,
    ):
        assert fact in card, fact
    assert "distillation" not in card and "None" not in card and "nan" not in card.lower().split()
    assert card.endswith("\n") and not card.endswith("\n\n")
    assert re.findall(r"^#+ .*", card, re.M) == ["# mini", "## Model", "## Data", "## Training", "## Limits"]


def test_the_table_has_a_row_an_epoch_and_the_columns_that_have_values() -> None:
    rows = history(4)
    header, *body = table_of(model_card("mini", manifest(), rows))
    assert header == ["epoch", "training loss (MLM)", "held-out loss", "held-out accuracy (MLM)"]
    expected = [[str(r["epoch"]), *(f"{r[name]:.4f}" for name in WORD_COLUMNS)] for r in rows]
    assert body == expected


def test_a_column_that_some_epoch_lacks_is_still_shown() -> None:
    rows = history(2)
    rows[0]["val_loss"] = None
    header, first, second = table_of(model_card("mini", manifest(), rows))
    assert len(header) == len(first) == len(second) == 4 and first[2] == "None"


def test_rows_an_update_count_the_accumulated_batches() -> None:
    changes = {"training.batch_size": 24, "training.accumulate": 3, "training.mask_share": 0.3}
    card = model_card("mini", manifest(**changes), history())
    assert "72 rows an update" in card and "masking of 30% of the words" in card


def test_a_teacher_is_named_with_the_weights_of_the_losses() -> None:
    facts = with_teacher(distillation__mlm_weight=0.5, distillation__token_weight=2.0, distillation__teacher_words=7)
    card = model_card("mini", facts, history(**COSINES))
    assert ", and distillation from big with" in card and "Teacher: big (BERT)." in card
    assert "0.5 x cross entropy (MLM) + 1 x cosine distance of the first tokens + 2 x cosine distance of all" in card
    assert (
        "Token embeddings and projection started from the teacher's states" in card and "each of them 7 times" in card
    )
    assert len(table_of(card)[0]) == 6 and "cosine 0.9000, token_cosine 0.8000" in card


def test_a_head_that_was_not_trained_has_no_numbers() -> None:
    facts = with_teacher(distillation__mlm_weight=0.0, distillation__init_embeddings=False)
    card = model_card("mini", facts, history(**COSINES))
    assert not learns_words(facts) and learns_words(manifest(**{"distillation.mlm_weight": 0.0}))
    assert [*table_of(card)[0][1:]] == [
        "held-out cosine to the teacher (sentences)", "held-out cosine to the teacher (tokens)",
    ]  # fmt: skip
    assert "held-out part: cosine 0.9000" in card and "accuracy 0.5123" not in card
    assert "Token embeddings and projection" not in card and "Excerpts" not in card
    assert "pre-trained by distillation from big with" in card


def test_a_training_of_so_many_updates_names_them() -> None:
    card = model_card("mini", manifest(**{"training.max_steps": 4600}), history())
    assert "64 rows an update, 4,600 updates, float32" in card and "3 epochs" not in card


def test_a_continued_encoder_names_where_it_came_from_and_not_a_shape_of_its_own() -> None:
    facts = {**with_teacher(), "init": {"name": "start", "kind": "roberta", "fingerprint": "1" * 64}}
    card = model_card("mini", facts, history(**COSINES))
    assert "RoBERTa, continued from start with its own tokenizer." in card
    assert "256 wide" not in card and "Token embeddings and projection started" not in card


def test_float16_says_that_the_numbers_are_those_of_the_rounded_weights() -> None:
    card = model_card("mini", manifest(**{"model.storage": "float16"}), history())
    assert "stored as float16 (compressed)" in card and "those of the rounded weights." in card


def test_only_bert_has_a_pooler_to_speak_of() -> None:
    assert "pooler" not in model_card("mini", manifest(), history())
    assert "The pooler is not trained" in model_card("mini", manifest(**{"model.architecture": "bert"}), history())


def test_a_language_model_has_no_masks() -> None:
    facts = manifest(objective="clm")
    facts["held_out"] = {}
    rows = [{"epoch": 1, "loss": 4.0, "perplexity": 54.6, "val_loss": 4.1, "val_bits_per_byte": 1.9}]
    card = model_card("mini", facts, rows)
    assert "A language model in" in card and "GPT-2, 4 layers" in card and "byte-pair vocabulary" in card
    assert "mask" not in card.lower() and "held-out part:" not in card
    header, row = table_of(card)
    assert header == ["epoch", "training perplexity", "held-out loss", "held-out bits per byte"]
    assert row == ["1", "54.6000", "4.1000", "1.9000"]


def test_the_card_does_not_change_its_facts() -> None:
    facts, rows = with_teacher(), history(**COSINES)
    before = copy.deepcopy((facts, rows))
    assert model_card("mini", facts, rows) == model_card("mini", facts, rows)
    assert (facts, rows) == before


def picture(rows: list[dict[str, Any]], words: bool = True) -> np.ndarray:
    return matplotlib.image.imread(io.BytesIO(card_curves(rows, words)), format="png")


@pytest.mark.parametrize(("cosines", "words", "panels"), [({}, True, 1), (COSINES, True, 3), (COSINES, False, 2)])
def test_the_picture_has_a_panel_a_value(
    monkeypatch: pytest.MonkeyPatch, cosines: dict[str, Any], words: bool, panels: int
) -> None:
    seen: list[Any] = []
    real = card_curves.__globals__["curves"]

    def curves(values: Any, columns: Any) -> Any:
        seen.append((values, columns))
        return real(values, columns=columns)

    monkeypatch.setitem(card_curves.__globals__, "curves", curves)
    rows = history(**cosines)
    rows[1]["val_loss"] = None  # an epoch that was not measured is a gap
    image = picture(rows, words)
    (values, columns), *_ = seen
    assert len(columns) == panels and image.ndim == 3 and image[..., :3].std() > 0.01
    assert values["epoch"].tolist() == [1, 2, 3]
    if words:
        assert np.isnan(values["val_masked-language-model loss"]).tolist() == [False, True, False]
