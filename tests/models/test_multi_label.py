"""Several labels per text: loss and gradients of torch and transformers, labels in every form, thresholds, adapters."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import kerora
from kerora import MultiLabelClassifier, TrainStep
from kerora.data.rows import Rows
from kerora.errors import ConfigError, DataError, PresetError
from kerora.models.multi_label import sigmoid
from kerora.notices import Notice
from kerora.tasks.multi_label.callback import MultiLabelReport
from kerora.tasks.multi_label.losses import LabelCrossEntropy, balanced_weights
from kerora.training.step import row_parts
from tests.tiny import tiny_huggingface

TEXTS = ["late parcel", "a broken movie, and a very long text about it", "great", "late refund", "movie", "parcel"]
LISTS: list[list[str]] = [["late"], ["broken", "movie"], [], ["late"], ["movie"], []]
MATRIX = np.array([[0, 1, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
NAMES = ("broken", "late", "movie")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_huggingface("distil_bert", folder, n_layers=1)
    return folder


@pytest.fixture
def model(base: Path) -> MultiLabelClassifier:
    return MultiLabelClassifier.from_preset(base, NAMES, max_length=32, seed=0)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, (0.5, 3.0, 20.0, 1.0)])
def test_the_loss_and_its_gradient_are_those_of_torch(smoothing: float, weights: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(7, 4, generator=generator) * 4).requires_grad_()
    targets = (torch.rand(7, 4, generator=generator) < 0.4).float()
    ours = LabelCrossEntropy(smoothing, weights)(targets, logits)
    (gradient,) = torch.autograd.grad(ours, logits)
    smooth = targets * (1 - smoothing) + smoothing / 2
    positive = None if weights is None else torch.tensor(weights)
    theirs = torch.nn.BCEWithLogitsLoss(pos_weight=positive)(logits, smooth)
    assert torch.allclose(ours, theirs) and torch.allclose(gradient, torch.autograd.grad(theirs, logits)[0])
    if weights is None:
        keras_loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing)(targets, logits)
        assert float(keras_loss) == pytest.approx(float(ours), rel=1e-5)


def test_row_weights_weight_the_rows() -> None:
    logits, targets = torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    each = [float(LabelCrossEntropy()(targets[row : row + 1], logits[row : row + 1])) for row in (0, 1)]
    found = LabelCrossEntropy()(targets, logits, sample_weight=torch.tensor([3.0, 1.0]))
    assert float(found) == pytest.approx((3 * each[0] + each[1]) / 4)


def test_transformers_computes_the_same_loss(base: Path) -> None:
    import transformers

    config = transformers.AutoConfig.from_pretrained(base, num_labels=3, problem_type="multi_label_classification")
    theirs = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    model = MultiLabelClassifier.from_preset(base, NAMES, max_length=32)
    inputs = {"input_ids": model.encode(TEXTS)["token_ids"], "attention_mask": model.encode(TEXTS)["padding_mask"]}
    with torch.no_grad():
        found = theirs(
            **{name: torch.as_tensor(value).long() for name, value in inputs.items()},
            labels=torch.tensor(MATRIX).float(),
        )
    assert float(found.loss) == pytest.approx(float(LabelCrossEntropy()(torch.tensor(MATRIX), found.logits)), rel=1e-6)


def test_balanced_weights() -> None:
    labels = np.zeros((1000, 4), bool)
    labels[:2, 0], labels[:250, 1], labels[:, 2] = True, True, True
    # 998 / 2 is limited; the label of all rows keeps a small weight; a label without rows has weight 1
    assert balanced_weights(labels) == [100.0, 3.0, 0.01, 1.0]


def test_sums_of_parts_and_accumulated_batches_are_one_update(base: Path) -> None:
    rows: Rows[tuple[int, ...]] = Rows.numbered(TEXTS, [tuple(np.flatnonzero(row).tolist()) for row in MATRIX])
    found = []
    for size, accumulate in ((6, 1), (2, 3)):
        model = MultiLabelClassifier.from_preset(base, NAMES, max_length=32, seed=0, head_dropout=0.0)
        batches = model.batches(rows, batch_size=size, cache=False)
        model.compile(keras.optimizers.SGD(0.5), LabelCrossEntropy(), step=TrainStep(len(batches), accumulate))
        model.fit(batches, epochs=1, verbose=0)
        found.append(model.predict_logits(TEXTS))
    assert np.abs(found[0] - found[1]).max() < 1e-5


def test_labels_are_not_cut_like_tokens() -> None:
    # as many labels as the batch is long, but the rows are shorter
    mask = np.zeros((4, 32), np.int32)
    mask[:, :5] = 1
    tokens, labels = torch.as_tensor(mask), torch.rand(4, 32)
    parts = list(row_parts({"padding_mask": tokens}, labels, None, 64))
    assert [part[1].shape for part in parts] == [(2, 32), (2, 32)] and parts[0][0]["padding_mask"].shape == (2, 8)
    # targets of tokens are token ids, and are cut
    assert [part[1].shape for part in row_parts({"padding_mask": tokens}, tokens.long(), None, 64)] == [(2, 8)] * 2


def test_labels_in_every_form(model: MultiLabelClassifier) -> None:
    import pandas as pd
    import scipy.sparse

    numbers = [np.flatnonzero(row).tolist() for row in MATRIX]
    model.compile()
    found = [
        model.evaluate(TEXTS, labels, verbose=0)[0]
        for labels in (
            *(
                LISTS,
                MATRIX,
                MATRIX.astype(bool),
                MATRIX.tolist(),
                numbers,
                pd.Series(LISTS),
                [set(row) for row in LISTS],
            ),
            *(pd.DataFrame(MATRIX, columns=list(NAMES)), scipy.sparse.csr_matrix(MATRIX), torch.tensor(MATRIX)),
        )
    ]
    assert np.ptp(found) == 0
    for bad, message in (
        ([["late"], ["lat"], [], [], [], []], "Label 'lat' at position 1 is no class.*'late'"),
        ([[3], [], [], [], [], []], "Label 3 at position 0 is no class"),
        (MATRIX * 2, "A matrix of labels holds numbers from 0 to 1"),
        (MATRIX[:, :2], "a column for each class, and there are 3. Received: 2"),
        (["late"] * 6, "must be a list of labels"),
    ):
        with pytest.raises(DataError, match=message):
            model.evaluate(TEXTS, bad, verbose=0)


def test_it_learns_with_the_defaults_of_compile(model: MultiLabelClassifier) -> None:
    model.enable_lora(rank=4, targets="all-linear")
    model.compile(optimizer=keras.optimizers.AdamW(0.02))
    report = MultiLabelReport((model.encode(TEXTS), MATRIX), NAMES)
    history = model.fit(TEXTS, LISTS, epochs=25, batch_size=3, verbose=0, callbacks=[report]).history
    assert history["loss"][-1] < 0.5 * history["loss"][0] and history["accuracy"][-1] > 0.7
    assert report.metrics["macro_f1"] > 0.9 and report.standard_error("val_macro_f1") >= 0
    likely = model.predict_probabilities(TEXTS) >= 0.5
    assert model.predict_labels(TEXTS) == [[NAMES[n] for n in np.flatnonzero(row)] for row in likely] and likely.any()
    assert np.allclose(model.predict_probabilities(TEXTS), 1 / (1 + np.exp(-model.predict_logits(TEXTS).astype(float))))


def test_losses_of_keras(model: MultiLabelClassifier) -> None:
    with pytest.warns(Notice, match="binary_crossentropy is computed with from_logits=True"):
        model.compile(loss="binary_crossentropy")
    assert model.loss.get_config()["from_logits"] is True
    for loss in ("sparse_categorical_crossentropy", "categorical_crossentropy", keras.losses.CategoricalCrossentropy()):
        with pytest.raises(ConfigError, match="is for one class in each row"):
            model.compile(loss=loss)


def test_thresholds(model: MultiLabelClassifier, tmp_path: Path) -> None:
    assert model.thresholds.tolist() == [0.5] * 3
    model.thresholds = [0.0, 1.0, 0.4]
    assert model.predict_labels(["late"])[0][:1] == ["broken"] and "late" not in model.predict_labels(["late"])[0]
    for bad in ([0.5, 0.5], [0.1, 0.2, 1.5], [float("nan")] * 3, -0.1, "abc", None):
        with pytest.raises(ConfigError, match="thresholds must be 3 numbers from 0 to 1"):
            model.thresholds = bad  # type: ignore[assignment]
    model.compile()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.thresholds.tolist() == [0.0, 1.0, 0.4] and again.classes == NAMES
    assert np.array_equal(again.predict_logits(TEXTS), model.predict_logits(TEXTS))
    # they belong to the weights that they were chosen for
    model.fit(TEXTS, LISTS, epochs=1, verbose=0)
    assert model.thresholds.tolist() == [0.5] * 3


def test_sigmoid_of_any_number() -> None:
    values = np.array([-1000.0, -1.0, 0.0, 1.0, 1000.0], np.float32)
    with np.errstate(all="raise", under="ignore"):
        assert sigmoid(values).tolist() == pytest.approx([0, 1 / (1 + np.e), 0.5, np.e / (1 + np.e), 1])


def test_a_preset_without_such_a_head(base: Path) -> None:
    with pytest.raises(PresetError, match="holds no head for several labels per text"):
        MultiLabelClassifier.from_preset(base)
    with pytest.raises(ConfigError, match="at least two classes"):
        MultiLabelClassifier.from_preset(base, ["one"])


def test_several_adapters_in_one_batch(base: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"preset": str(base), "epochs": 1, "max_length": 32, "precision": "float32"}
    settings |= {"batch_size": 3, "validation_split": 0, "force": True}
    texts, lists = TEXTS * 2, LISTS * 2
    first = kerora.fit(train=(texts, lists), run=str(tmp_path / "first"), threshold=0.2, **settings)
    other = [["x", "y"] if row else ["y"] for row in lists]
    second = kerora.fit(train=(texts, other), run=str(tmp_path / "second"), threshold=0.9, seed=3, **settings)
    model = first.model
    model.load_adapter(second.run.path, "second")
    assert model.thresholds_of("second").tolist() == [0.9] * 2 and model.thresholds.tolist() == [0.2] * 3
    names = ["default", "second", None, "second", "default", "default"]
    mixed = model.predict_labels(TEXTS, adapter=names)
    alone = {"default": first.predict(TEXTS), "second": second.predict(TEXTS)}
    assert [row for row, name in zip(mixed, names, strict=True) if name] == [
        alone[name][place] for place, name in enumerate(names) if name
    ]
    model.set_adapter("second")
    assert model.classes == ("x", "y") and model.thresholds.tolist() == [0.9] * 2
    assert model.predict_labels(TEXTS) == alone["second"]
