"""Samplers and pruners of Optuna, with a separate seed for each trial."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from kerora.compat import trials_of
from kerora.errors import ConfigError
from kerora.settings.tune import TuneConfig
from kerora.tuning.space import Space, Value
from kerora.tuning.storage import RETRY_OF, SURPLUS, quiet

LEAST_RANDOM, MOST_RANDOM = 4, 10  # random trials before a model is used; 10 is the default of TPE in Optuna
PRUNER_WARM_UP = 4
"""Number of complete trials before the median pruner starts to prune."""


def place_of(study: optuna.Study, trial: FrozenTrial) -> int:
    """Return the number of trials before this one, without repeated attempts and surplus trials."""
    # a repeated attempt keeps the settings of the first one, so it takes no new place
    earlier = (other for other in trials_of(study) if other.number < trial.number)
    return sum(not (other.user_attrs.get(SURPLUS) or RETRY_OF in other.system_attrs) for other in earlier)


class SeededSampler(BaseSampler):
    """A sampler whose proposals depend only on the seed, the number of the trial and the trials before it.

    A continued search therefore proposes the same trials as a search without a stop, and workers do not propose the
    same trial twice.

    Args:
        make: makes the sampler of one trial from a seed.
        seed: seed of the study.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make = make
        self._seed = seed
        self._inner = make(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Make the sampler of this trial."""
        # SeedSequence mixes the two numbers well: neighbouring trials get independent seeds
        seed = int(np.random.SeedSequence([self._seed, place_of(study, trial)]).generate_state(1)[0])
        with quiet():
            self._inner = self._make(seed)
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the trial's sampler does."""
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the trial's sampler does."""
        with quiet():
            return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the trial's sampler does."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As the trial's sampler does."""
        self._inner.after_trial(study, trial, state, values)


class GridPoints(BaseSampler):
    """Proposes the points of a grid in order, each once, in whatever process.

    Args:
        points: the values of each point.
    """

    def __init__(self, points: Sequence[Mapping[str, Value]]) -> None:
        self._points = points
        self._point: Mapping[str, Value] = {}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Choose the next point: its number is the number of trials that took a point before."""
        taken = place_of(study, trial) - 1  # the first trial is the defaults
        # min: a surplus trial comes after the last point, and is dropped before it trains
        self._point = self._points[min(taken, len(self._points) - 1)] if self._points else {}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return nothing, because `sample_independent` gives the values one by one."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing, because `sample_independent` gives the values one by one."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value of the chosen point."""
        return self._point[param_name]


def make_sampler(settings: TuneConfig, space: Space, seed: int, defaults: Mapping[str, Value]) -> BaseSampler:
    """Make the sampler of a study.

    Args:
        settings: the kind of sampler, and the number of trials.
        space: the search space.
        seed: seed of the study.
        defaults: values of the first trial. The grid leaves them out.

    Raises:
        ConfigError: the sampler does not support the space, or the package of the sampler is not installed.
    """
    if settings.sampler == "grid":
        return GridPoints(grid_points(space, seed, defaults))
    if settings.sampler == "random":
        return SeededSampler(lambda own: optuna.samplers.RandomSampler(seed=own), seed)
    if settings.sampler == "cmaes":
        check_cmaes(space)
        start = max(1, min(LEAST_RANDOM, settings.trials // 3))
        return SeededSampler(
            lambda own: optuna.samplers.CmaEsSampler(seed=own, n_startup_trials=start, warn_independent_sampling=False),
            seed,
        )
    start = min(MOST_RANDOM, max(LEAST_RANDOM, settings.trials // 3))
    # multivariate: settings such as rank and learning rate depend on each other; group: conditions leave some out
    with quiet():
        return SeededSampler(
            lambda own: optuna.samplers.TPESampler(seed=own, n_startup_trials=start, multivariate=True, group=True),
            seed,
        )


def grid_points(space: Space, seed: int, defaults: Mapping[str, Value]) -> list[dict[str, Value]]:
    """Return the grid without the point of the defaults, in a random order that depends on the seed."""
    points = space.grid()
    points = [point for point in points if any(defaults.get(path) != value for path, value in point.items())]
    # in random order, so that a timeout does not leave one corner of the grid untried
    order = np.random.default_rng(seed).permutation(len(points))
    return [points[place] for place in order]


def check_cmaes(space: Space) -> None:
    """Check that CMA-ES supports the space and is installed.

    Raises:
        ConfigError: fewer than two numbers are searched in every trial, or the package is not installed.
    """
    # Optuna's CMA-ES needs two numbers that every trial has. It samples all other settings at random.
    numbers = [parameter.path for parameter in space.parameters if parameter.range is not None and not parameter.when]
    if len(numbers) < 2:
        raise ConfigError(
            "The sampler cmaes needs at least two settings with low and high and without a condition. The space has "
            f"{len(numbers)}. Use --sampler tpe."
        )
    if importlib.util.find_spec("cmaes") is None:
        raise ConfigError(
            "The sampler cmaes needs the package cmaes, which is not installed. Install it with: pip install cmaes, "
            "or use --sampler tpe."
        )


def make_pruner(settings: TuneConfig, most_epochs: int) -> optuna.pruners.BasePruner:
    """Make the pruner of a study. `most_epochs` is the largest number of epochs that the space allows."""
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=PRUNER_WARM_UP)
    if settings.pruner == "hyperband":
        # Li et al. 2018 (arXiv:1603.06560); the resource is the epoch, and each rung keeps about a third
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(1, most_epochs), reduction_factor=3)
    return optuna.pruners.NopPruner()
