"""The settings of `kerora tune` itself; `kerora.settings.fit` has those of the fits that it does."""

from dataclasses import dataclass

from kerora.settings.base import Settings, at_least, more_than, setting

SAMPLERS = ("tpe", "random", "grid", "cmaes")
PRUNERS = ("median", "hyperband", "none")


@dataclass(frozen=True)
class TuneConfig(Settings):
    """What is searched, how, for how long, and where the results go."""

    space: str = setting("lora", "What to search: a YAML file, or the name of a space that comes with Kerora.")
    trials: int = setting(20, "Trials of the whole study, earlier ones and the defaults included.", check=at_least(1))
    timeout: float | None = setting(None, "Begin no trial after this many seconds.", check=more_than(0))
    metric: str = setting("macro_f1", "Validation metric to optimise; loss and ece are made small, others large.")
    sampler: str = setting(
        "tpe",
        "How trials are proposed: 'tpe' (tree-structured Parzen estimator), 'random', 'grid', or 'cmaes', which needs "
        "the package cmaes.",
        choices=SAMPLERS,
    )
    pruner: str = setting(
        "median",
        "What ends a hopeless trial after an epoch: 'median' (worse than half of the others at that epoch), "
        "'hyperband' (the worst of a bracket), or 'none'.",
        choices=PRUNERS,
    )
    repeats: int = setting(1, "Seeds of each trial; the mean of their scores is optimised.", check=at_least(1))
    workers: int = setting(1, "Processes on this machine.", check=at_least(1))
    study: str | None = setting(
        None, "Name of the study, or a path; empty means <preset>-<data>-<space>. The same one goes on."
    )
    studies_dir: str = setting("studies", "Folder that holds the studies.")
    storage: str | None = setting(
        None, "Where trials are kept: a database URL or a journal file; empty means study.db in the study's folder."
    )
    refit: bool = setting(
        False,
        "At the end train the best settings on the training and validation rows, and evaluate once on the test rows.",
    )
