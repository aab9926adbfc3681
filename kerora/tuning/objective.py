"""One trial: settings from Optuna, one training per seed, the recorded results, and pruning."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from kerora.errors import KeroraError
from kerora.settings.fit import FitConfig
from kerora.settings.resolve import resolve, to_dict
from kerora.settings.tune import TuneConfig
from kerora.tracking.tracking import Tracking
from kerora.training.interrupt import InterruptFlag
from kerora.training.loop import is_out_of_memory
from kerora.training.track import tracked
from kerora.tuning.packing import pack
from kerora.tuning.records import PREDICTIONS, RESULTS, SETTINGS
from kerora.tuning.space import Space, Value
from kerora.tuning.storage import DEFAULTS, ERROR, PROCESS, SURPLUS, counted, requeue, this_worker
from kerora.tuning.workbench import OnEpoch, Outcome, Workbench


class TrialFailed(Exception):
    """A trial failed. The reason is recorded with the trial, and the search continues."""


class Objective:
    """Trains the settings of a trial and returns the score.

    Args:
        bench: data and base models.
        space: the search space.
        settings: the settled metric, repeats, and the number of trials.
        defaults: default values of the searched settings.
        shown: called after each epoch, for a live table.
        flag: records signals. It is held outside of training, see `run_trials`.
        logs: folder for the logs of the trials. They are made only if the setting `log` names a tool.
    """

    def __init__(
        self,
        bench: Workbench,
        space: Space,
        settings: TuneConfig,
        defaults: Mapping[str, Value],
        shown: Callable[[], None],
        flag: InterruptFlag,
        logs: Path,
    ) -> None:
        self.bench = bench
        self.space = space
        self.settings = settings
        self.defaults = defaults
        self.shown = shown
        self.flag = flag
        self.logs = logs

    def __call__(self, trial: optuna.Trial) -> float:
        """Return the mean score of the seeds.

        Raises:
            TrialFailed: the settings do not fit, training failed, or the study already has enough trials.
            optuna.TrialPruned: the pruner stopped the trial.
        """
        try:
            # first of all: without this record, a crash is found only after the grace period
            trial.set_user_attr(PROCESS, this_worker())
            if self._is_surplus(trial):
                trial.set_user_attr(SURPLUS, True)
                raise TrialFailed
            values = self._values(trial)
            trial.set_user_attr(SETTINGS, values)
            self.shown()
            return self._score(trial, values)
        except KeyboardInterrupt:
            # the trial is queued again, so that a continued study trains it first; the stop is no failed attempt
            frozen = next(item for item in trial.study.get_trials(deepcopy=False) if item.number == trial.number)
            requeue(trial.study, frozen, counts=False)
            raise
        except Exception as error:
            # Settings that do not fit end only their trial. Any other error is a bug, and must end the search.
            if not isinstance(error, KeroraError) and not is_out_of_memory(error):
                raise
            message = str(error) if isinstance(error, KeroraError) else "There is not enough memory."
            trial.set_user_attr(ERROR, message)
            raise TrialFailed(message) from error

    def _is_surplus(self, trial: optuna.Trial) -> bool:
        # Two workers can ask for the last trial at the same moment. The number of the trial decides who keeps it.
        numbers = [item.number for item in counted(trial.study.get_trials(deepcopy=False))]
        return trial.number in numbers[self.settings.trials :]

    def _values(self, trial: optuna.Trial) -> dict[str, Value]:
        if not trial.user_attrs.get(DEFAULTS):
            return self.space.suggest(trial)
        values: dict[str, Value] = {}
        for parameter in self.space.parameters:
            value = self.defaults[parameter.path]
            if self.space.active(parameter, values) and parameter.holds(value):
                # Through Optuna, so that the sampler learns from the value. A value outside of the space cannot be
                # suggested.
                value = parameter.suggest(trial)
            values[parameter.path] = value
        return values

    def _score(self, trial: optuna.Trial, values: Mapping[str, Value]) -> float:
        metric, base = self.settings.metric, self.bench.config
        assert metric is not None
        # the untouched settings, so that this trial is exactly `kerora fit`
        config = base if trial.user_attrs.get(DEFAULTS) else resolve(to_dict(base), dict(values))
        outcomes: list[Outcome] = []
        for repeat in range(self.settings.repeats):
            # only the seed of the training: the splits stay, because the data is loaded with the seed of the study
            seeded = resolve(to_dict(config), {"training.seed": base.training.seed + repeat})
            # only the first seed reports: Optuna takes one value per epoch number
            on_epoch = self._on_epoch(trial) if repeat == 0 else None
            # training may be interrupted at any point: it holds no connection to the storage
            with self.flag.release(), self._tracking(trial, seeded) as tracking:
                outcomes.append(self.bench.train(seeded, metric, on_epoch, tracking.log))
                tracking.conclude({"after": {"validation": outcomes[-1].metrics}}, ())
        trial.set_user_attr(RESULTS, _results(outcomes, metric))
        packed = [pack(outcome.predictions) for outcome in outcomes]
        # all or none: the comparison with the defaults is a mean over the seeds
        if None not in packed:
            trial.set_user_attr(PREDICTIONS, packed)
        return float(np.mean([outcome.metrics[metric] for outcome in outcomes]))

    def _tracking(self, trial: optuna.Trial, config: FitConfig) -> Tracking:
        name = f"trial-{trial.number}-seed-{config.training.seed}"
        run = tracked(f"{self.settings.study}-{name}", self.logs / name, config)
        # a tool that cannot start ends no trial: the search may have run for hours
        return Tracking(config.log, run, strict=False)

    def _on_epoch(self, trial: optuna.Trial) -> OnEpoch:
        def report(epoch: int, value: float, last: bool) -> None:
            # the callback runs inside `release`, but here the storage is written
            with self.flag.hold():
                trial.report(value, epoch)
                self.shown()
                # The defaults are needed for the comparison. After the last epoch, pruning saves no time.
                kept = last or trial.user_attrs.get(DEFAULTS)
                if not kept and trial.should_prune():
                    trial.set_user_attr(RESULTS, {"epochs": epoch})
                    raise optuna.TrialPruned

        return report


def _results(outcomes: Sequence[Outcome], metric: str) -> dict[str, Any]:
    # a metric may be undefined for one seed, and a mean over the others would not be comparable
    names = set.intersection(*(set(outcome.metrics) for outcome in outcomes))
    training = sum(outcome.training_seconds for outcome in outcomes)
    config: FitConfig = outcomes[0].config
    return {
        "scores": [outcome.metrics[metric] for outcome in outcomes],
        "metrics": {name: float(np.mean([outcome.metrics[name] for outcome in outcomes])) for name in sorted(names)},
        "epochs": round(float(np.mean([outcome.epochs for outcome in outcomes])), 2),
        "kept_epoch": round(float(np.mean([outcome.kept_epoch for outcome in outcomes])), 2),
        "training_seconds": training,
        "overhead_seconds": sum(outcome.seconds for outcome in outcomes) - training,
        "config": to_dict(config),
    }
