"""The headings under which help texts and documentation list the settings of a command."""

from kerora.settings.base import Settings
from kerora.settings.fit import FitConfig
from kerora.settings.language import Sampling
from kerora.settings.pretrain import PretrainConfig
from kerora.settings.tune import TuneConfig

_FIT = {
    "": "Run",
    "data": "Data",
    "model": "Model",
    "lora": "LoRA",
    "training": "Training",
    "language": "Language models",
}
# The same groups with other contents: a pre-training has an output folder, plain text and an encoder.
_PRETRAIN = {**_FIT, "": "Output", "data": "Text", "model": "Encoder", "distillation": "Distillation"}
_HEADINGS: dict[type[Settings], dict[str, str]] = {
    FitConfig: _FIT,
    PretrainConfig: _PRETRAIN,
    TuneConfig: {"": "Search"},
    Sampling: {"": "Sampling"},
}


def heading_of(path: str, root: type[Settings] = FitConfig) -> str:
    """Return the heading of a setting.

    Args:
        path: dotted path of the setting.
        root: the class of all settings of the command.
    """
    # A path without a dot has the group "".
    return _HEADINGS[root][path.rpartition(".")[0]]
