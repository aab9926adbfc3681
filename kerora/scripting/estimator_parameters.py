"""The parameters of the estimators: the settings of a fit by the names of their options."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from kerora.errors import ConfigError, nearest
from kerora.settings.base import shown
from kerora.settings.fit import FitConfig
from kerora.settings.flat import by_option, from_flat
from kerora.settings.foreign import own_name
from kerora.settings.python_words import in_python
from kerora.settings.resolve import resolve

GROUPS = ("model", "lora", "training")
# scikit-learn has names of its own for these
RENAMED = {"training.seed": "random_state", "training.class_weights": "class_weight"}
OWN: dict[str, Any] = {
    **{"class_weight": None, "random_state": 42, "validation_fraction": 0.1},
    # scikit-learn compares estimators by itself
    "baseline": False,
    **{"callbacks": None, "verbose": 0, "run": None, "runs_dir": None},
}
"""The parameters that are no settings of a fit, or have another default, with their defaults."""
SETTINGS: dict[str, Any] = {
    name: items[0].default
    for name, items in by_option().items()
    if items[0].path.partition(".")[0] in GROUPS and items[0].path not in RENAMED
}
"""The parameters that are settings of a fit, with their defaults."""
DEFAULTS = {**SETTINGS, **OWN}

WORDS = {
    **{"seed": "random_state", "class_weights": "class_weight"},
    **{"validation": "eval_set", "validation_split": "validation_fraction"},
}

# settings of the data, which an estimator does not have
_OF_DATA = re.compile(
    r", or (?:drop them|name [a-z ]*column) with (?:--skip-bad-rows|--label|skip_bad_rows=True|label=)"
)


def in_words_of_sklearn(text: str) -> str:
    """Return a message of a fit with the names that an estimator has for settings and rows."""
    for written, own in (("train (dict)", "X"), ("validation (dict)", "eval_set")):
        text = text.replace(written, own)
    return in_python(_OF_DATA.sub("", text), WORDS)


def signature() -> inspect.Signature:
    """Return the signature of an estimator's constructor. scikit-learn reads the parameters from it."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return inspect.Signature(
        [own, *(inspect.Parameter(name, keyword, default=default) for name, default in DEFAULTS.items())]
    )


def checked_names(parameters: Mapping[str, Any], estimator: str) -> None:
    """Check the names of parameters.

    Raises:
        TypeError: a name is unknown. The error gives the nearest one.
    """
    unknown = next((name for name in parameters if name not in DEFAULTS), None)
    if unknown is not None:
        own = own_name(unknown, DEFAULTS)
        hint = f" Here it is '{own}'." if own else nearest(unknown, DEFAULTS)
        raise TypeError(f"{estimator} has no parameter '{unknown}'.{hint}")


def config_of(parameters: Mapping[str, Any], seed: int, with_validation: bool) -> FitConfig:
    """Return the settings of a fit.

    Args:
        parameters: the parameters of the estimator.
        seed: the seed that `random_state` stands for.
        with_validation: whether validation rows are given, so that none are cut.

    Raises:
        ConfigError: a value is wrong.
    """
    weight, fraction = parameters["class_weight"], parameters["validation_fraction"]
    if weight not in (None, "balanced"):
        raise ConfigError(f"class_weight must be None or 'balanced'. Received: {shown(weight)}")
    return resolve(
        from_flat({name: parameters[name] for name in SETTINGS}),
        {
            "training.seed": seed,
            "training.class_weights": weight or "none",
            "data.validation_split": 0.0 if with_validation else fraction,
        },
    )
