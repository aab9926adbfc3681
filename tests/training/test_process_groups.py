"""With a torch process group, each process trains, measures and predicts by itself. Keras 3.16 would join the ranks."""

import datetime
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch.distributed

from kerora.backend import set_random_seed
from kerora.lora.inject import enable_lora
from kerora.models.causal_lm import CausalLM
from kerora.models.classifier import TextClassifier
from kerora.models.task import SteppedModel
from kerora.models.write_preset import fresh_backbone
from kerora.pretraining.masked_lm import MaskedLanguageModel
from kerora.settings.pretrain import EncoderConfig
from kerora.training.step import TrainStep
from tests.conftest import ROOT
from tests.tiny_huggingface import tiny_huggingface

TEXTS = ["a wonderful film", "boring and awful story", "great actor", "the worst movie ever"] * 3
LABELS = np.array([1, 0, 1, 0] * 3)
Result = dict[str, list[float]]
RANK = """
from kerora.fast.lean_import import import_keras_lean
import_keras_lean()
import sys
from tests.training.test_process_groups import main
main(*sys.argv[1:])
"""


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory, tiny_preset: Path) -> dict[str, Path]:
    gpt2 = tiny_huggingface("gpt2", tmp_path_factory.mktemp("gpt2") / "tiny_gpt2", task="LMHeadModel")
    return {"classifier": tiny_preset, "causal_lm": gpt2}


def rank_rows(rank: int) -> slice:
    """Give each rank rows of its own, and the second one a batch less."""
    return slice(0, 12) if rank == 0 else slice(1, 9)


def classifier(presets: dict[str, Path], rank: int, own_step: bool) -> Result:
    model = TextClassifier.from_preset(str(presets["classifier"]), ["neg", "pos"], seed=0)
    enable_lora(model, rank=2)
    rows = rank_rows(rank)
    inputs, labels = model.encode(TEXTS[rows]), LABELS[rows]
    step = TrainStep(len(labels) // 4) if own_step else None
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"], step=step)
    return measured(model, inputs, labels)


def causal_lm(presets: dict[str, Path], rank: int, own_step: bool) -> Result:
    model = CausalLM.from_preset(str(presets["causal_lm"]))
    enable_lora(model, rank=2)
    ids = np.random.default_rng(rank).integers(1, 300, (12, 8))[rank_rows(rank)]
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    step = TrainStep(len(ids) // 4) if own_step else None
    model.compile(keras.optimizers.Adam(1e-2), step=step)  # the loss is its own
    return measured(model, inputs, np.roll(ids, -1, axis=1))


class Masked(keras.utils.PyDataset):
    """Batches of a masked-language model. One rank has one batch less than the other."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank

    def __len__(self) -> int:
        return 3 - self.rank

    def __getitem__(self, index: int) -> Any:
        ids = np.random.default_rng(10 * self.rank + index).integers(5, 60, (4, 8)).astype(np.int32)
        places = np.arange(0, 32, 4, dtype=np.int32)
        inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids), "mask_positions": places}
        return inputs, ids.reshape(-1)[places].astype(np.int64)


def masked_lm(presets: dict[str, Path], rank: int, own_step: bool) -> Result:
    config = EncoderConfig(layers=1, width=16, heads=2, intermediate=32, vocabulary_size=100, max_length=8)
    model = MaskedLanguageModel.build_on(fresh_backbone(config, 60, "float32"))
    model.compile(optimizer=keras.optimizers.Adam(1e-2), step=TrainStep(3 - rank) if own_step else None)
    history = model.fit(Masked(rank), epochs=2, shuffle=False, verbose=0).history
    return {**history, "evaluate": list(model.evaluate(Masked(rank), return_dict=True, verbose=0).values())}


def measured(model: Any, inputs: Any, labels: np.ndarray) -> Result:
    history = model.fit(inputs, labels, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    return {
        **history,
        "evaluate": model.evaluate(inputs, labels, batch_size=4, verbose=0),
        "predict": model.predict(inputs, batch_size=4, verbose=0).ravel()[:20].astype(float).tolist(),
    }


MODELS: dict[str, Callable[[dict[str, Path], int, bool], Result]] = {
    "classifier": classifier,
    "causal_lm": causal_lm,
    "masked_lm": masked_lm,
}


def results(presets: dict[str, Path], rank: int) -> dict[str, Result]:
    """Train, measure and predict with each model, by Kerora's step and by Keras' own."""
    found = {}
    for name, run in MODELS.items():
        for own_step in (True, False):
            set_random_seed(7)
            found[f"{name}, own step: {own_step}"] = run(presets, rank, own_step)
    return found


def start_group(store: Path, rank: int, size: int) -> None:
    # minutes of waiting for the other rank would be the fault that is looked for
    wait = datetime.timedelta(seconds=60)
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=size, timeout=wait)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A process group of one rank."""
    start_group(tmp_path / "store", 0, 1)
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def later_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any Keras go through the hooks that 3.16 and later goes through."""
    trainer = next(kind for kind in keras.Model.__mro__ if "make_train_function" in vars(kind))

    def forbidden(self: Any) -> Any:
        raise AssertionError("Keras looked for the other ranks")

    def with_hook(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(self: Any, force: bool = False) -> Any:
            self._initialize_ddp()
            return make(self, force)

        return made

    monkeypatch.setattr(trainer, "_initialize_ddp", forbidden, raising=False)
    monkeypatch.setattr(trainer, "get_metrics_result", forbidden, raising=False)
    for name in ("make_train_function", "make_test_function", "make_predict_function"):
        monkeypatch.setattr(trainer, name, with_hook(getattr(trainer, name)))


def assert_equal(found: dict[str, Result], wanted: dict[str, Result]) -> None:
    assert found.keys() == wanted.keys() and len(found) == 2 * len(MODELS)
    for name, measures in wanted.items():
        assert found[name].keys() == measures.keys()
        for measure, values in measures.items():
            np.testing.assert_allclose(found[name][measure], values, rtol=2e-5, atol=1e-6, err_msg=f"{name} {measure}")


def test_a_group_of_one_rank_changes_nothing(presets: dict[str, Path], tmp_path: Path) -> None:
    wanted = results(presets, 0)
    start_group(tmp_path / "store", 0, 1)
    try:
        assert_equal(results(presets, 0), wanted)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("later_keras", "alone")
def test_kerora_s_models_override_the_hooks_of_later_keras(presets: dict[str, Path]) -> None:
    assert results(presets, 0)


@pytest.mark.usefixtures("later_keras", "alone")
def test_a_model_that_does_not_override_them_is_noticed() -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(AssertionError, match="other ranks"):
        model.predict(np.ones((4, 2)), verbose=0)


def test_results_are_those_of_keras_without_a_group() -> None:
    inputs = keras.Input((2,))
    outputs = {"a": keras.layers.Dense(1, name="a")(inputs), "b": keras.layers.Dense(1, name="b")(inputs)}
    options: dict[str, Any] = {"loss": {"a": "mse", "b": "mae"}, "metrics": {"a": ["mae"], "b": ["mse"]}}
    data = (np.ones((4, 2)), {"a": np.zeros((4, 1)), "b": np.zeros((4, 1))})
    found = []
    for kind in (SteppedModel, keras.Model):
        model = kind(inputs, outputs)
        model.compile("sgd", **options)
        found.append(model.evaluate(*data, return_dict=True, verbose=0))
    assert found[0] == found[1] and len(found[0]) == 5


@pytest.mark.slow
def test_two_ranks_do_not_wait_for_one_another(presets: dict[str, Path], tmp_path: Path) -> None:
    places = [tmp_path / f"rank{rank}.json" for rank in (0, 1)]
    command = [sys.executable, "-c", RANK, json.dumps(presets, default=str)]
    arguments = [[str(tmp_path / "store"), str(rank), str(place)] for rank, place in enumerate(places)]
    processes = [subprocess.Popen([*command, *rest], cwd=ROOT) for rest in arguments]
    try:
        assert [process.wait(timeout=250) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    for rank, place in enumerate(places):
        assert_equal(json.loads(place.read_text()), results(presets, rank))


def main(presets: str, store: str, rank: str, place: str) -> None:
    start_group(Path(store), int(rank), 2)
    found = results({name: Path(path) for name, path in json.loads(presets).items()}, int(rank))
    # gloo's threads end together: the rank that is done first must not take the store away
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    Path(place).write_text(json.dumps(found))
