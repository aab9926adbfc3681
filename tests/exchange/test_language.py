"""Language models travel too: exported, merged and imported, each compared where it is loaded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.config import resolve
from kerora.errors import ConfigError, PresetError
from kerora.exchange.export import export_run
from kerora.exchange.merge import merged_model
from kerora.lora.files import read_adapter_config
from kerora.models.causal_lm import CausalLM
from kerora.models.classifier import TextClassifier
from kerora.runfolder import RunFolder
from kerora.runs.open import load
from kerora.training.fit import fit
from tests.exchange.conftest import Kerora, Trained
from tests.numerics.test_peft_files import batch, our_logits, their_logits
from tests.tiny import WORDS
from tests.tiny_decoders import MODELS, tiny_decoder
from tests.tiny_huggingface import tiny_huggingface

keras_hub = import_keras_hub()
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
Run = Callable[..., RunFolder]
Base = Callable[[str], Path]


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a text in which each word names the next."""
    starts = np.random.default_rng(0).integers(0, 40, 400)
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text("\n".join(" ".join(WORDS[(at + step) % 40] for step in range(12)) for at in starts))
    return path


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Return the folder of a tiny language model of a kind.

    ``own-qwen`` has a tokenizer as Qwen's, ``thin-qwen`` one layer.
    """
    folder = tmp_path_factory.mktemp("bases")

    def make(name: str) -> Path:
        path = folder / name
        form, _, kind = name.rpartition("-")
        if not path.exists() and kind == "gpt2":
            tiny_huggingface("gpt2", path, task="LMHeadModel", initializer_range=0.4)
        elif not path.exists():
            layers = {"num_hidden_layers": 1} if form == "thin" else {}
            tiny_decoder(kind, path, own_tokenizer=form == "own", **layers)
        return path

    return make


@pytest.fixture(scope="session")
def language_run(tmp_path_factory: pytest.TempPathFactory, book: Path, base: Base) -> Run:
    """Return a finished run of a kind, or on a preset folder; equal settings give the same run."""
    folder = tmp_path_factory.mktemp("language")
    made: dict[str, RunFolder] = {}

    def run(kind: str | Path, **changes: Any) -> RunFolder:
        key = f"{kind}-{sorted(changes.items())}"
        if key not in made:
            settings = {
                "task": "causal-lm",
                "run": f"run{len(made)}",
                "runs_dir": str(folder),
                "data.source": str(book),
                "model.preset": str(kind if isinstance(kind, Path) else base(kind)),
                "model.max_length": 32,
                "model.precision": "float32",
                "lora.targets": "all-linear",
                "language.samples": 1,
                "language.sample_tokens": 4,
                "training.max_steps": 12,
                "training.batch_size": 8,
                "training.learning_rate": 0.01,
            }
            made[key] = fit(resolve(settings, {name.replace("__", "."): value for name, value in changes.items()})).run
        return made[key]

    return run


def check(found: Any, tolerance: float = 1e-4) -> None:
    assert found.rows == 32 and found.tokens > 500 and found.agreement == 1.0
    assert found.largest_difference < tolerance
    assert f"({found.tokens:,} tokens)" in str(found) and "same next token 100%" in str(found)


@pytest.mark.parametrize("form", ["peft", "transformers", "keras", "onnx", "kerora"])
def test_gpt2_goes_everywhere(form: str, language_run: Run, tmp_path: Path) -> None:
    run = language_run("gpt2")
    found = export_run(str(run.path), form, tmp_path / "out")
    check(found)
    assert found.text_agreement in ((None,) if form in ("peft", "kerora") else (1.0,))
    assert json.loads((tmp_path / "out" / "verification.json").read_text())["tokens"] == found.tokens
    card = (tmp_path / "out" / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata["pipeline_tag"] == "text-generation" and str(tmp_path) not in card
    metrics = {item["type"] for item in metadata["model-index"][0]["results"][0]["metrics"]}
    assert metrics == {"perplexity", "loss"} and "| validation |" in card
    assert not (tmp_path / "out" / "samples.json").exists(), "it holds texts"


@pytest.mark.parametrize("form", ["peft", "transformers"])
@pytest.mark.parametrize("kind", MODELS)
def test_other_decoders_go_to_transformers_and_peft(kind: str, form: str, language_run: Run, tmp_path: Path) -> None:
    changes = {"lora__bias": "lora_only"} if kind == "qwen" else {}
    check(export_run(str(language_run(kind, **changes).path), form, tmp_path / "out"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_other_decoders_go_to_keras(kind: str, language_run: Run, tmp_path: Path) -> None:
    run = language_run(f"own-{kind}")
    found = export_run(str(run.path), "keras", tmp_path / "out")
    fixed = 1e-3 if kind == "qwen3" else 1e-4  # KerasHub fixes the epsilon of the norms of its queries and keys
    check(found, fixed)
    assert found.text_agreement is not None and found.text_agreement > 0.9
    model = load(run.path)
    options = {"preprocessor": None} if kind == "gemma3" else {}  # which KerasHub makes with TensorFlow alone
    inputs, _ = batch(model)
    with without_tensorflow():
        plain = keras_hub.models.CausalLM.from_preset(str(tmp_path / "out"), **options)
    with torch.no_grad():
        logits = plain({name: inputs[name] for name in plain.backbone.input}).numpy()
    real = inputs["padding_mask"] > 0
    wanted = our_logits(model, inputs)
    assert np.abs(logits[real] - wanted[real]).max() < fixed
    again = CausalLM.from_preset(str(tmp_path / "out"), max_length=32)
    assert np.abs(our_logits(again, inputs) - wanted).max() < 5e-5, "Kerora keeps the model's epsilon"


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_classifiers_on_other_decoders_go_to_keras(kind: str, base: Base, trained: Trained, tmp_path: Path) -> None:
    run = trained("bert", model__preset=str(base(f"own-{kind}")))
    found = export_run(str(run.path), "keras", tmp_path / "out")
    assert found.largest_difference is not None and found.largest_difference < 1e-4 and found.agreement == 1.0
    assert found.text_agreement is not None and found.text_agreement > 0.9
    again = TextClassifier.from_preset(str(tmp_path / "out"))
    inputs = again.encode(["great movie love it", "terrible order broken"])
    assert again.classes == ("bad", "good")
    assert np.abs(our_logits(again, inputs) - our_logits(load(run.path), inputs)).max() < 1e-4


# torch's exporter needs seconds for each layer. The layers of these kinds are alike up to the fourth; only those of
# Gemma 2 take turns, and GPT-2 above has two as well.
FOR_ONNX = [kind if kind == "gemma2" else f"thin-{kind}" for kind in MODELS]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FOR_ONNX)
def test_other_decoders_go_to_onnx(kind: str, language_run: Run, tmp_path: Path) -> None:
    check(export_run(str(language_run(kind).path), "onnx", tmp_path / "out"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["thin-qwen3", "thin-gemma3"])
def test_classifiers_on_other_decoders_go_to_onnx(kind: str, base: Base, trained: Trained, tmp_path: Path) -> None:
    run = trained("bert", model__preset=str(base(kind)))
    found = export_run(str(run.path), "onnx", tmp_path / "out")
    assert found.largest_difference is not None and found.largest_difference < 1e-4 and found.agreement == 1.0


@pytest.mark.parametrize("form", ["peft", "transformers"])
@pytest.mark.parametrize("kind", ["llama3", "gemma"])
def test_classifiers_on_other_decoders(kind: str, form: str, base: Base, trained: Trained, tmp_path: Path) -> None:
    run = trained("bert", model__preset=str(base(kind)))
    found = export_run(str(run.path), form, tmp_path / "out")
    assert found.largest_difference is not None and found.largest_difference < 1e-4 and found.agreement == 1.0
    if form == "transformers":
        again = TextClassifier.from_preset(str(tmp_path / "out"))
        assert again.classes == ("bad", "good")


def test_a_transformers_export_generates_what_the_run_does(language_run: Run, tmp_path: Path, kerora: Kerora) -> None:
    run = language_run("gpt2")
    export_run(str(run.path), "transformers", tmp_path / "out")
    written = json.loads(
        kerora("generate", run.path, "--prompt", "the order", "--max-tokens", 8, "-o", tmp_path / "o").out
        or (tmp_path / "o").read_text()
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = tokenizer("the order", return_tensors="pt")
    answer = model.generate(**ids, max_new_tokens=8, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True) == written["completion"]


def test_keras_presets_both_ways(language_run: Run, tmp_path: Path, kerora: Kerora) -> None:
    run = language_run("gpt2")
    answer = kerora("merge", run.path, "--output", tmp_path / "merged")
    assert answer.code == 0 and "Verified with keras-hub" in answer.out, answer.err
    model = load(run.path)
    inputs, _ = batch(model)
    with without_tensorflow():
        plain = keras_hub.models.CausalLM.from_preset(str(tmp_path / "merged"))
    with torch.no_grad():
        logits = plain({name: inputs[name] for name in ("token_ids", "padding_mask")}).numpy()
    real = inputs["padding_mask"] > 0
    assert np.abs(logits[real] - our_logits(model, inputs)[real]).max() < 1e-4
    again = language_run(tmp_path / "merged")  # a run on a Keras preset, whose base PEFT has never seen
    for form in ("peft", "transformers"):
        check(export_run(str(again.path), form, tmp_path / form))


def test_merging_two_language_models(language_run: Run, trained: Trained, tmp_path: Path, kerora: Kerora) -> None:
    first, second = (str(language_run("gpt2", training__seed=seed).path) for seed in (1, 2))
    summed = merged_model([first, second], [0.5, 2.0])
    parts = [merged_model([run]) for run in (first, second)]
    plain = CausalLM.from_preset(summed.preset)
    path = "transformer_layer_0/self_attention/query/kernel"
    kernel, one, two, base = (
        next(v for v in model.variables if v.path == path).value.detach() for model in (summed, *parts, plain)
    )
    torch.testing.assert_close(kernel, base + 0.5 * (one - base) + 2.0 * (two - base))
    out = ("--format", "transformers", "--output", tmp_path / "m")
    answer = kerora("merge", first, second, "--weights", "0.5,0.5", *out)
    assert answer.code == 0 and "same next token 100%" in answer.out, answer.err
    classifier = str(trained("bert", model__preset=str(summed.preset.directory)).path)
    with pytest.raises(ConfigError, match=r"no classes \(a language model\)"):
        merged_model([classifier, first])


def test_many_adapters_over_one_base(language_run: Run) -> None:
    runs = {
        "a": language_run("gpt2", training__seed=1),
        "b": language_run("gpt2", training__seed=2),
        "dora": language_run("gpt2", lora__use_dora=True, lora__rank=3),
    }
    model = load(language_run("gpt2").path)
    inputs, _ = batch(model)
    own = model.logits(inputs)
    for name, run in runs.items():
        model.load_adapter(run.path, name)
    alone = {name: load(run.path).logits(inputs) for name, run in runs.items()} | {"default": own}
    alone[None] = CausalLM.from_preset(model.preset, max_length=32).logits(inputs)
    for name, expected in alone.items():
        model.set_adapter(name)
        torch.testing.assert_close(model.logits(inputs), expected, atol=1e-5, rtol=0)
    model.set_adapter("default")
    names = ["a", None, "dora", "default"]
    mixed = model.logits(inputs, adapter=names)
    for row, name in enumerate(names):
        torch.testing.assert_close(mixed[row], alone[name][row], atol=5e-5, rtol=0)
    assert torch.equal(model.logits(inputs), own), "a mixed batch leaves the model as it was"
    with pytest.raises(ConfigError, match="a name for each of the 4 rows. Received: 1"):
        model.logits(inputs, adapter=["a"])


@pytest.mark.slow
def test_variants(language_run: Run, tmp_path: Path) -> None:
    for number, changes in enumerate(
        ({"lora__use_dora": True}, {"lora__init": "pissa"}, {"model__quantize": "int8"}, {"lora__method": "full"})
    ):
        run = str(language_run("gpt2", lora__rank=3, **changes).path)
        for form in ("peft", "transformers", "keras"):
            if form == "peft" and "lora__method" in changes:
                continue
            check(export_run(run, form, tmp_path / f"{form}{number}"))


def test_what_cannot_be_carried_is_named(language_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    llama = language_run("llama3", lora__method="full", training__learning_rate=0.001)
    with pytest.raises(PresetError, match="All weights of Llama were trained"):
        export_run(str(llama.path), "transformers", out)
    gemma = language_run("gemma")
    with pytest.raises(PresetError, match="KerasHub cannot convert the Gemma tokenizer"):
        export_run(str(gemma.path), "keras", out)  # which wants its SentencePiece model
    assert not list(tmp_path.iterdir())


CONFIGS: dict[str, dict[str, Any]] = {
    "c_attn and c_proj": {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True},
    "rslora with biases": {
        **{"target_modules": ["c_attn"], "fan_in_fan_out": True},
        **{"use_rslora": True, "bias": "lora_only"},
    },
    "llama": {"target_modules": ["q_proj", "v_proj", "down_proj"], "rank_pattern": {"down_proj": 2}},
    "dora": {"target_modules": ["mlp.c_fc"], "fan_in_fan_out": True, "use_dora": True},
}


def train_with_peft(folder: Path, output: Path, settings: dict[str, Any]) -> Any:
    """Let PEFT train an adapter for a few steps and save it."""
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=6, **settings))
    optimizer = torch.optim.AdamW([p for p in wrapped.parameters() if p.requires_grad], lr=0.02)
    ids = torch.randint(5, 200, (4, 12))
    for _ in range(5):
        optimizer.zero_grad()
        wrapped(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    wrapped.save_pretrained(output)
    return wrapped


@pytest.mark.parametrize("name", CONFIGS)
def test_adapters_of_peft(name: str, base: Base, book: Path, tmp_path: Path, kerora: Kerora) -> None:
    folder = base("llama3" if name == "llama" else "gpt2")
    theirs = train_with_peft(folder, tmp_path / "theirs", CONFIGS[name])
    run = tmp_path / "run"
    arguments = ("--preset", folder, "--max-length", 32, "--precision", "float32")
    answer = kerora("import", "--peft", tmp_path / "theirs", "--output", run, *arguments)
    assert answer.code == 0 and "kerora generate" in answer.out, answer.err
    model = load(run)
    inputs, theirs_inputs = batch(model)
    assert np.abs(our_logits(model, inputs) - their_logits(theirs, theirs_inputs)).max() < 5e-5
    check_back = export_run(str(run), "peft", tmp_path / "back")
    assert check_back.largest_difference is not None and check_back.largest_difference < 1e-4
    again = peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(folder), str(tmp_path / "back")
    )
    difference = their_logits(again, theirs_inputs) - their_logits(theirs, theirs_inputs)
    assert np.abs(difference).max() < 5e-5
    answer = kerora("merge", run, "--format", "transformers", "--output", tmp_path / "merged")
    assert answer.code == 0 and "same next token 100%" in answer.out, answer.err


def test_an_imported_language_model_evaluates_reports_and_trains_on(
    base: Base, book: Path, tmp_path: Path, kerora: Kerora
) -> None:
    train_with_peft(base("gpt2"), tmp_path / "theirs", CONFIGS["c_attn and c_proj"])
    run = tmp_path / "run"
    arguments = ("--preset", base("gpt2"), "--data", book, "--max-length", 32, "--precision", "float32")
    answer = kerora("import", "--peft", tmp_path / "theirs", "--output", run, *arguments, "--samples", 1)
    assert answer.code == 0 and "kerora report" in answer.out, answer.err
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["before"]["validation"]["loss"] != metrics["after"]["validation"]["loss"]
    for command in (("evaluate", run), ("report", run), ("generate", run, "--prompt", "the", "--max-tokens", 3)):
        answer = kerora(*command)
        assert answer.code == 0, answer.err
    more = ("--task", "causal-lm", "--run", tmp_path / "more", "--from-adapter", run, "--max-steps", 2, "--quiet")
    answer = kerora("fit", *arguments, *more)
    assert answer.code == 0, answer.err


def test_what_peft_trained_beside_the_layers_is_refused(base: Base, tmp_path: Path, kerora: Kerora) -> None:
    settings = {"target_modules": ["c_attn"], "fan_in_fan_out": True, "modules_to_save": ["lm_head"]}
    train_with_peft(base("gpt2"), tmp_path / "theirs", settings)
    error = kerora(
        "import", "--peft", tmp_path / "theirs", "--preset", base("gpt2"), "--output", tmp_path / "run"
    ).error
    assert "lm_head" in error
    config = tmp_path / "theirs" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "task_type": "TOKEN_CLS"}))
    error = kerora(
        "import", "--peft", tmp_path / "theirs", "--preset", base("gpt2"), "--output", tmp_path / "run"
    ).error
    assert "has task_type 'TOKEN_CLS'" in error
    assert not (tmp_path / "run").exists()


def test_the_form_of_the_texts_can_be_told(base: Base, tmp_path: Path, kerora: Kerora) -> None:
    train_with_peft(base("gpt2"), tmp_path / "theirs", CONFIGS["dora"])
    arguments = ("--peft", tmp_path / "theirs", "--preset", base("gpt2"), "--output", tmp_path / "run")
    assert kerora("import", *arguments, "--turns", "messages").code == 0
    assert read_adapter_config(tmp_path / "run" / "adapter")["kerora"]["text_form"] == "turns"
