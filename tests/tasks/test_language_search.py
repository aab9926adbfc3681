"""What a search of language models stores and resamples, against the losses themselves."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kerora.data.rows import Dataset
from kerora.errors import ConfigError
from kerora.evaluation.metrics import LANGUAGE_METRICS
from kerora.tasks.language.measure import TextLosses
from kerora.tasks.language.search import check, predictions, resampled
from kerora.tasks.language.task import LanguageReport
from kerora.tuning.packing import pack, unpack

LOSSES = TextLosses(np.arange(12) + 0.5, np.arange(12), 3 * np.arange(12))


def dataset(texts: int) -> Dataset[Any]:
    return Dataset("made", (), {"validation": [""] * texts})  # type: ignore[dict-item]


def stored(losses: TextLosses) -> dict[str, np.ndarray]:
    report: Any = LanguageReport(SimpleNamespace())  # type: ignore[arg-type]
    report.losses = losses
    text = pack(predictions(report, SimpleNamespace()))  # type: ignore[arg-type]
    assert text is not None
    return unpack(text)


@pytest.mark.parametrize("metric", LANGUAGE_METRICS)
def test_a_resampled_metric_is_that_of_the_repeated_texts(metric: str) -> None:
    function = resampled(metric, stored(LOSSES), dataset(12))
    assert not isinstance(function, str)
    for counts in (np.ones(12, np.int64), np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12))):
        total, tokens, size = (
            sum(float(value) * int(count) for value, count in zip(column, counts, strict=True))
            for column in (LOSSES.losses, LOSSES.tokens, LOSSES.sizes)
        )
        expected = {
            "loss": total / tokens, "perplexity": math.exp(total / tokens), "bits_per_byte": total / math.log(2) / size,
        }  # fmt: skip
        assert function(counts) == pytest.approx(expected[metric])


def test_texts_without_a_predicted_token_have_no_value() -> None:
    function = resampled("loss", stored(LOSSES), dataset(12))
    assert not isinstance(function, str)
    # the first text has no token
    assert math.isnan(function(np.eye(12, dtype=np.int64)[0] * 12))


def test_one_book_is_too_little_to_resample() -> None:
    assert resampled("loss", {}, dataset(1)) == "the test needs at least 10 validation texts. Their number is 1"


def test_base_models_are_compared_by_bytes() -> None:
    check("bits_per_byte", dataset(3), ["model.preset"])
    check("loss", dataset(3), ["lora.rank"])
    with pytest.raises(ConfigError, match="Use --metric bits_per_byte"):
        check("perplexity", dataset(3), ["lora.rank", "model.preset"])
