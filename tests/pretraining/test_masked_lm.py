"""The masked-language model against transformers and by hand; vocabulary, presets and sentence embeddings."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
import transformers

from kerora.backend import import_keras_hub, set_random_seed, without_tensorflow
from kerora.errors import ConfigError, TrainingError
from kerora.models.architectures import ARCHITECTURES
from kerora.models.presets import find_preset
from kerora.models.tokenizer_files import fresh_wordpiece
from kerora.models.write_preset import fresh_backbone, rebuild, write_preset
from kerora.pretraining.masked_lm import LossWeights, MaskedLanguageModel
from kerora.pretraining.masking import Vocabulary, mask_words
from kerora.pretraining.vocabulary import SPECIAL_TOKENS, train_wordpiece
from kerora.settings.pretrain import EncoderConfig
from kerora.training.step import TrainStep
from tests.tiny import WORDS, wordpiece_vocabulary

keras_hub = import_keras_hub()

TOKENS = len(wordpiece_vocabulary())
SMALL = EncoderConfig(layers=2, width=32, heads=2, intermediate=64, max_length=32)
TEXTS = ["the movie was great", "the order is late again", "a boring plot and a terrible ending, really"]


def inputs_and_labels(rows: int = 4, width: int = 24) -> tuple[dict[str, np.ndarray], np.ndarray]:
    generator = np.random.default_rng(0)
    special = np.zeros(TOKENS, bool)
    special[:5] = True
    ids = generator.integers(5, TOKENS, (rows, width)).astype(np.int32)
    mask = np.ones_like(ids)
    ids[1, 15:], mask[1, 15:] = 0, 0
    masked = mask_words(ids, Vocabulary(4, np.ones(TOKENS, bool), special), 0.3, generator)
    inputs = {"token_ids": masked.token_ids, "padding_mask": mask, "mask_positions": masked.positions}
    return inputs, masked.labels


def on_hugging_face(folder: Path, seed: int = 0) -> tuple[MaskedLanguageModel, Any]:
    """A transformers DistilBertForMaskedLM, and ours with its weights."""
    set_random_seed(seed)
    config = transformers.DistilBertConfig(
        vocab_size=TOKENS, n_layers=2, n_heads=2, dim=32, hidden_dim=64, max_position_embeddings=32
    )
    theirs = transformers.DistilBertForMaskedLM(config).eval()
    torch.nn.init.normal_(theirs.vocab_projector.bias)
    theirs.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(wordpiece_vocabulary()) + "\n")
    ours = MaskedLanguageModel.build_on(find_preset(str(folder)).load_backbone())
    head = ours.get_layer("mlm_head")
    head._intermediate_dense.kernel.assign(theirs.vocab_transform.weight.detach().T)
    head._intermediate_dense.bias.assign(theirs.vocab_transform.bias.detach())
    head._intermediate_layer_norm.gamma.assign(theirs.vocab_layer_norm.weight.detach())
    head._intermediate_layer_norm.beta.assign(theirs.vocab_layer_norm.bias.detach())
    head._bias.assign(theirs.vocab_projector.bias.detach())
    return ours, theirs


def test_loss_and_gradient_equal_those_of_transformers(tmp_path: Path) -> None:
    ours, theirs = on_hugging_face(tmp_path)
    inputs, labels = inputs_and_labels()
    targets = torch.full((inputs["token_ids"].size,), -100)
    targets[inputs["mask_positions"]] = torch.from_numpy(labels)
    expected = theirs(
        input_ids=torch.from_numpy(inputs["token_ids"]).long(),
        attention_mask=torch.from_numpy(inputs["padding_mask"]),
        labels=targets.reshape(inputs["token_ids"].shape),
    )
    expected.loss.backward()
    outputs = ours(inputs, training=True)
    loss = ours.compute_loss(y=labels, y_pred=outputs)
    loss.backward()
    assert outputs["logits"].shape == (len(labels), TOKENS)
    chosen = expected.logits.reshape(-1, TOKENS)[inputs["mask_positions"]]
    assert torch.allclose(outputs["logits"], chosen, atol=2e-6)
    assert loss.item() == pytest.approx(expected.loss.item(), rel=1e-6)
    gradient = ours.backbone.token_embedding.embeddings.value.grad
    assert torch.allclose(gradient, theirs.distilbert.embeddings.word_embeddings.weight.grad, atol=1e-6)


def test_loss_equals_a_computation_by_hand_in_float64() -> None:
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(7, 11)).astype(np.float32) * 4, generator.integers(0, 11, 7)
    states = generator.normal(size=(3, 4, 5)).astype(np.float32)
    teacher = generator.integers(-127, 128, (3, 4, 5)).astype(np.int8)
    teacher[1, 2:] = 0  # padding
    weights = LossWeights(0.6, 0.7, 0.8)
    model = MaskedLanguageModel.build_on(
        fresh_backbone(SMALL, TOKENS, "float32"), teacher_width=5, loss_weights=weights
    )
    given = {"logits": torch.from_numpy(logits), "states": torch.from_numpy(states)}
    loss = float(model.compute_loss(y=(labels, teacher), y_pred=given))
    exact = logits.astype(np.float64)
    cross_entropy = np.log(np.exp(exact).sum(1)) - exact[np.arange(7), labels]
    a, b = states.astype(np.float64), teacher.astype(np.float64)
    with np.errstate(invalid="ignore"):
        cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    sentence, tokens = cosine[:, 0].mean(), np.nanmean(cosine)
    assert np.isnan(cosine).sum() == 2
    assert loss == pytest.approx(0.6 * cross_entropy.mean() + 0.7 * (1 - sentence) + 0.8 * (1 - tokens), rel=1e-6)
    metrics = model.compute_metrics(None, (labels, teacher), given)
    assert float(metrics["accuracy"]) == pytest.approx((exact.argmax(1) == labels).mean())
    assert float(metrics["cosine"]) == pytest.approx(sentence, rel=1e-5)
    assert float(metrics["token_cosine"]) == pytest.approx(tokens, rel=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_all_weights_are_float32_and_trained(policy: str) -> None:
    model = MaskedLanguageModel.build_on(fresh_backbone(SMALL, TOKENS, policy), teacher_width=6)
    model.compile(optimizer=keras.optimizers.AdamW(1e-2), step=TrainStep(1))
    inputs, labels = inputs_and_labels()
    before = [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.trainable_variables]
    logs = model.train_step((inputs, (labels, np.ones((4, 24, 6), np.int8))))
    assert {"loss", "mlm_loss", "accuracy", "cosine", "token_cosine"} <= set(logs)
    names = {variable.dtype for variable in model.trainable_variables}
    assert names == {"float32"} and len(before) == len(model.weights)
    unchanged = [
        variable.path
        for variable, old in zip(model.trainable_variables, before, strict=True)
        if (keras.ops.convert_to_numpy(variable) == old).all()
    ]
    assert all("key" in path and path.endswith("bias") for path in unchanged)  # softmax does not see a key's bias


def test_bert_has_segments_and_an_identity_pooler_that_is_not_trained() -> None:
    config = EncoderConfig(architecture="bert", layers=1, width=32, heads=2, intermediate=64, max_length=32)
    backbone = fresh_backbone(config, TOKENS, "float32")
    model = MaskedLanguageModel.build_on(backbone)
    assert set(model.input) == {"token_ids", "segment_ids", "padding_mask", "mask_positions"}
    assert not [variable.path for variable in model.trainable_variables if "pooled_dense" in variable.path]
    assert (np.array(backbone.get_layer("pooled_dense").kernel) == np.eye(32)).all()
    with pytest.raises(ConfigError, match="multiple of --heads"):
        fresh_backbone(EncoderConfig(width=30, heads=4), TOKENS, "float32")


def test_vocabulary() -> None:
    lines = [" ".join(WORDS) + " Café 漢字", "watching watched watchful watch"] * 3
    pieces = train_wordpiece(lambda: lines, 250)
    assert pieces[:5] == list(SPECIAL_TOKENS) and len(set(pieces)) == 250
    assert all(chr(code) in pieces for code in range(33, 127) if not chr(code).isupper())
    assert not any(piece != piece.lower() for piece in pieces[5:]) and "é" not in pieces
    assert all(train_wordpiece(lambda: lines, 250) == pieces for _ in range(4))
    with pytest.raises(ConfigError, match=r"supports a vocabulary of at most [\d,]+ pieces, not 50,000"):
        train_wordpiece(lambda: lines, 50_000)
    with pytest.raises(ConfigError, match="too small: the characters alone need"):
        train_wordpiece(lambda: lines, 40)


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_a_written_preset_gives_equal_outputs_in_plain_keras_hub(tmp_path: Path, storage: str) -> None:
    tokenizer = fresh_wordpiece(wordpiece_vocabulary(), ARCHITECTURES["distil_bert"])
    backbone = fresh_backbone(SMALL, TOKENS, "mixed_bfloat16")
    write_preset(backbone, tokenizer, ARCHITECTURES["distil_bert"], tmp_path / "preset", storage)
    with without_tensorflow():
        loaded = keras_hub.models.Backbone.from_preset(str(tmp_path / "preset"))
        hub_tokenizer = keras_hub.models.Tokenizer.from_preset(str(tmp_path / "preset"))
    assert {variable.dtype for variable in loaded.weights} == {"float32"} == {loaded.compute_dtype}
    for mine, other in zip(backbone.weights, loaded.weights, strict=True):
        expected = np.array(mine).astype(storage).astype(np.float32)
        assert (expected == np.array(other)).all()
    inputs = {key: value for key, value in inputs_and_labels()[0].items() if key != "mask_positions"}
    with torch.no_grad():
        difference = float((rebuild(backbone, "float32", 0.0)(inputs) - loaded(inputs)).abs().max())
    assert difference == 0 if storage == "float32" else difference < 5e-3
    own = find_preset(str(tmp_path / "preset")).load_tokenizer()
    assert own.fingerprint == tokenizer.fingerprint
    assert list(hub_tokenizer("The MOVIE was great, café!")) == list(
        next(iter(own.encode_lines(["The MOVIE was great, café!"]))).ids
    )


def test_float16_refuses_what_does_not_fit(tmp_path: Path) -> None:
    tokenizer = fresh_wordpiece(wordpiece_vocabulary(), ARCHITECTURES["distil_bert"])
    backbone = fresh_backbone(SMALL, TOKENS, "float32")
    backbone.token_embedding.embeddings.assign(np.full((TOKENS, 32), 1e6))
    with pytest.raises(TrainingError, match="does not fit into float16"):
        write_preset(backbone, tokenizer, ARCHITECTURES["distil_bert"], tmp_path / "preset", "float16")
    assert not (tmp_path / "preset" / "config.json").exists()
