"""Adapters that PEFT trained become runs that evaluate, report, merge, export and train on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerora.exchange.training_facts import grouped
from kerora.runfolder import RunFolder
from kerora.runs.open import load, read_config
from tests.exchange.conftest import Kerora
from tests.hub_site import point_client_at, serving
from tests.numerics.test_peft_files import batch, our_logits, their_logits, train_with_peft
from tests.tiny_huggingface import tiny_huggingface
from tests.training.test_fit import write_rows

peft = pytest.importorskip("peft")
CONFIGS: dict[str, dict[str, Any]] = {
    "patterns": {"rank_pattern": {"QUERY": 5}, "alpha_pattern": {"QUERY": 7}, "use_rslora": True},
    "biases": {"bias": "lora_only", "use_dora": True},
    "modules": {"modules_to_save": ["bert.encoder.layer.1.output.dense"]},
}
FACTS = {
    "patterns": "; rank 5 of {0}; alpha 7 of {0}; rsLoRA".format("encoder.layer.0-1.attention.self.query"),
    "biases": "DoRA; biases trained: lora_only",
    "modules": "; trained in full: bert.encoder.layer.1.output.dense\n",
}
"""What their model cards say."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_huggingface("bert", tmp_path_factory.mktemp("base") / "bert", initializer_range=0.1)


@pytest.mark.parametrize("name", CONFIGS)
def test_import_then_merge(name: str, base: Path, tmp_path: Path, kerora: Kerora) -> None:
    theirs = train_with_peft("bert", base, tmp_path / "theirs", CONFIGS[name])
    arguments = ("--peft", tmp_path / "theirs", "--preset", base, "--output", tmp_path / "run")
    answer = kerora("import", *arguments, "--class-names", "bad,fair,good", "--precision", "float32")
    assert answer.code == 0, answer.err
    model = load(tmp_path / "run")
    assert model.classes == ("bad", "fair", "good")
    inputs, theirs_inputs = batch(model)
    assert np.abs(our_logits(model, inputs) - their_logits(theirs, theirs_inputs)).max() < 2e-5
    answer = kerora("merge", tmp_path / "run", "--format", "transformers", "--output", tmp_path / "merged")
    assert answer.code == 0 and "same label 100%" in answer.out, answer.err
    card = (tmp_path / "merged" / "README.md").read_text()
    assert "Imported from the adapter theirs that PEFT trained: LoRA rank" in card and "AdamW" not in card
    assert FACTS[name] in card


def test_an_imported_run_evaluates_reports_and_trains_on(base: Path, tmp_path: Path, kerora: Kerora) -> None:
    settings = peft.LoraConfig(task_type="SEQ_CLS", r=3, target_modules=["query"])
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    peft.get_peft_model(model, settings).save_pretrained(tmp_path / "theirs")
    rows = write_rows(tmp_path / "rows.jsonl", rows=60)
    run = tmp_path / "run"
    arguments = ("--preset", base, "--data", rows, "--max-length", 16, "--precision", "float32")
    answer = kerora("import", "--peft", tmp_path / "theirs", "--output", run, *arguments)
    assert answer.code == 0, answer.err
    assert RunFolder(run).read_manifest()["state"] == "finished"
    assert read_config(RunFolder(run)).lora.targets == tuple(f"encoder.layer.{n}.attention.self.query" for n in (0, 1))
    assert set(json.loads((run / "metrics.json").read_text())) == {"before", "after"}
    for command in ("evaluate", "report"):
        answer = kerora(command, run)
        assert answer.code == 0, answer.err
    more = ("--run", tmp_path / "more", "--from-adapter", run, "--max-steps", 3, "--quiet")
    answer = kerora("fit", *arguments, *more)
    assert answer.code == 0, answer.err
    continued = json.loads((tmp_path / "more" / "adapter" / "adapter_config.json").read_text())
    assert continued["r"] == 3 and len(continued["target_modules"]) == 2


def test_what_cannot_be_imported_is_named(base: Path, tmp_path: Path, kerora: Kerora) -> None:
    train_with_peft("bert", base, tmp_path / "theirs", {})
    arguments = ["--peft", tmp_path / "theirs", "--preset", base, "--output", tmp_path / "run"]
    assert (
        "--class-names has 2 classes (a, b), but the head of the adapter has 3"
        in kerora("import", *arguments, "--class-names", "a,b").error
    )
    config = tmp_path / "theirs" / "adapter_config.json"
    original = json.loads(config.read_text())
    for changes, message in (
        ({"init_lora_weights": "olora"}, "init_lora_weights='olora' changed the base's weights"),
        ({"task_type": "TOKEN_CLS"}, "has task_type 'TOKEN_CLS'"),
        ({"task_type": "CAUSAL_LM"}, "holds the adapter of a language model, but"),
        ({"layer_replication": [[0, 1]], "lora_bias": True}, "lora_bias=True cannot be carried over"),
    ):
        config.write_text(json.dumps({**original, **changes}))
        assert message in kerora("import", *arguments).error
    other = tiny_huggingface("distil_bert", tmp_path / "other")
    config.write_text(json.dumps(original))
    arguments[3] = other
    assert "does not fit this model" in kerora("import", *arguments).error
    assert not (tmp_path / "run").exists()


def test_modules_of_like_name_are_one_item_with_the_numbers_of_their_blocks() -> None:
    modules = [f"layer.{number}.{name}" for number in (0, 1, 2, 5) for name in ("query", "output.dense")]
    assert grouped([*modules, "pooler"]) == "layer.0-2,5.query, layer.0-2,5.output.dense, pooler"
    assert grouped(["query", "transformer_layer_*/value"]) == "query, transformer_layer_*/value"


def test_an_adapter_of_the_hub(base: Path, tmp_path: Path, kerora: Kerora, monkeypatch: pytest.MonkeyPatch) -> None:
    train_with_peft("bert", base, tmp_path / "theirs", {})
    with serving(tmp_path / "uploads") as (site, address):
        point_client_at(address, tmp_path / "hub", monkeypatch)
        site.repositories["models/someone/adapter"] = tmp_path / "theirs"
        site.revisions["v1"] = "1" * 40
        rest = ("--preset", base, "--class-names", "bad,fair,good", "--precision", "float32")
        answer = kerora("import", "--peft", "hf://someone/adapter@v1", *rest, "--output", tmp_path / "run")
        assert answer.code == 0, answer.err
        assert load(tmp_path / "run").classes == ("bad", "fair", "good")
        assert RunFolder(tmp_path / "run").read_manifest()["imported_from"] == "hf://someone/adapter@v1"
        error = kerora("import", "--peft", "hf://someone/other", *rest, "--output", tmp_path / "no").error
        assert "The Hugging Face hub refuses hf://someone/other: there is no repository someone/other" in error
    # the server is gone: the same adapter comes from the cache, another one does not
    answer = kerora("import", "--peft", "hf://someone/adapter@v1", *rest, "--output", tmp_path / "again")
    assert answer.code == 0, answer.err
    error = kerora("import", "--peft", "hf://someone/adapter", *rest, "--output", tmp_path / "no").error
    assert "is not in the cache" in error and not (tmp_path / "no").exists()
