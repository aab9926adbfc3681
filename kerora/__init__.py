"""Kerora: fine-tune Keras text models with LoRA.

Importing the package selects the torch backend for Keras and loads nothing else; the names
below are imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kerora.backend import offer_to_keras, select_torch_backend
from kerora.errors import speak_to_scripts
from kerora.places import settle_home
from kerora.version import __version__

if TYPE_CHECKING:
    from kerora.backend import set_random_seed
    from kerora.data.batches import Batches
    from kerora.exchange.export import export_run as export
    from kerora.exchange.export import merge_runs as merge
    from kerora.lora.files import load_adapter, save_adapter
    from kerora.lora.inject import disable_adapter, enable_lora, merge_lora, remove_lora, unmerge_lora
    from kerora.models.causal_lm import CausalLM
    from kerora.models.classifier import TextClassifier
    from kerora.models.long_texts import LongTexts
    from kerora.models.multi_label import MultiLabelClassifier
    from kerora.models.regressor import TextRegressor
    from kerora.pretraining.pretrain import pretrain
    from kerora.runs.generate import PromptRunner
    from kerora.runs.open import load
    from kerora.runs.report import report
    from kerora.scripting.classifier import KeroraClassifier
    from kerora.scripting.data import load_dataset
    from kerora.scripting.embed import embed
    from kerora.scripting.fit import fit
    from kerora.scripting.multi_label import KeroraMultiLabelClassifier
    from kerora.scripting.regressor import KeroraRegressor
    from kerora.scripting.result import FitResult
    from kerora.scripting.runs import evaluate, predict
    from kerora.scripting.save_run import save_run
    from kerora.scripting.tune import tune
    from kerora.settings.fit import FitConfig
    from kerora.settings.language import Sampling
    from kerora.settings.pretrain import PretrainConfig
    from kerora.settings.tune import TuneConfig
    from kerora.training.schedules import WarmupSchedule
    from kerora.training.step import TrainStep

settle_home()
select_torch_backend()
# Imported with the first message: `import kerora` loads no settings.
speak_to_scripts(lambda text: str(importlib.import_module("kerora.settings.python_words").in_python(text)))
offer_to_keras(
    {
        "CausalLM": "kerora.models.causal_lm",
        "CrossEntropy": "kerora.tasks.classification.losses",
        "RegressionLoss": "kerora.models.regression_loss",
        "LabelCrossEntropy": "kerora.tasks.multi_label.losses",
        "MultiLabelClassifier": "kerora.models.multi_label",
        "TextClassifier": "kerora.models.classifier",
        "TextRegressor": "kerora.models.regressor",
        "WarmupSchedule": "kerora.training.schedules",
    }
)

_HOMES = {
    "Batches": "kerora.data.batches",
    "CausalLM": "kerora.models.causal_lm",
    "FitConfig": "kerora.settings.fit",
    "FitResult": "kerora.scripting.result",
    "KeroraClassifier": "kerora.scripting.classifier",
    "KeroraRegressor": "kerora.scripting.regressor",
    "LongTexts": "kerora.models.long_texts",
    "KeroraMultiLabelClassifier": "kerora.scripting.multi_label",
    "MultiLabelClassifier": "kerora.models.multi_label",
    "PretrainConfig": "kerora.settings.pretrain",
    "PromptRunner": "kerora.runs.generate",
    "Sampling": "kerora.settings.language",
    "TextClassifier": "kerora.models.classifier",
    "TextRegressor": "kerora.models.regressor",
    "TrainStep": "kerora.training.step",
    "TuneConfig": "kerora.settings.tune",
    "WarmupSchedule": "kerora.training.schedules",
    "disable_adapter": "kerora.lora.inject",
    "embed": "kerora.scripting.embed",
    "enable_lora": "kerora.lora.inject",
    "evaluate": "kerora.scripting.runs",
    "export": "kerora.exchange.export:export_run",
    "fit": "kerora.scripting.fit",
    "load": "kerora.runs.open",
    "load_adapter": "kerora.lora.files",
    "load_dataset": "kerora.scripting.data",
    "merge": "kerora.exchange.export:merge_runs",
    "merge_lora": "kerora.lora.inject",
    "predict": "kerora.scripting.runs",
    "pretrain": "kerora.pretraining.pretrain",
    "remove_lora": "kerora.lora.inject",
    "report": "kerora.runs.report",
    "save_adapter": "kerora.lora.files",
    "save_run": "kerora.scripting.save_run",
    "set_random_seed": "kerora.backend",
    "tune": "kerora.scripting.tune",
    "unmerge_lora": "kerora.lora.inject",
}
"""Where each public name is defined, and what it is called there where that differs."""

__all__ = [
    "Batches",
    "CausalLM",
    "FitConfig",
    "FitResult",
    "KeroraClassifier",
    "KeroraMultiLabelClassifier",
    "KeroraRegressor",
    "LongTexts",
    "MultiLabelClassifier",
    "PretrainConfig",
    "PromptRunner",
    "Sampling",
    "TextClassifier",
    "TextRegressor",
    "TrainStep",
    "TuneConfig",
    "WarmupSchedule",
    "__version__",
    "disable_adapter",
    "embed",
    "enable_lora",
    "evaluate",
    "export",
    "fit",
    "load",
    "load_adapter",
    "load_dataset",
    "merge",
    "merge_lora",
    "predict",
    "pretrain",
    "remove_lora",
    "report",
    "save_adapter",
    "save_run",
    "set_random_seed",
    "tune",
    "unmerge_lora",
]


def __getattr__(name: str) -> Any:
    if name == "callbacks":
        return importlib.import_module("kerora.callbacks")
    if name in _HOMES:
        module, _, own_name = _HOMES[name].partition(":")
        return getattr(importlib.import_module(module), own_name or name)
    raise AttributeError(f"module 'kerora' has no attribute '{name}'")
