"""The settings of `kerora tune` itself. The settings of its fits are in `kerora.settings.fit`."""

from dataclasses import dataclass

from kerora.settings.base import Settings, at_least, more_than, setting

SAMPLERS = ("tpe", "random", "grid", "cmaes")
PRUNERS = ("median", "hyperband", "none")


@dataclass(frozen=True)
class TuneConfig(Settings):
    """Search space, number of trials, sampler, pruner and storage."""

    space: str | None = setting(
        None,
        "Search space: a YAML file, or the name of a bundled space. Default: 'lora', for causal-lm "
        "'lora-language', for multi-label 'lora-labels', for regression 'lora-numbers'.",
    )
    trials: int = setting(
        20,
        "Number of trials of the whole study. Earlier trials and the trial of the defaults count.",
        check=at_least(1),
    )
    timeout: float | None = setting(None, "Start no new trial after this many seconds.", check=more_than(0))
    metric: str | None = setting(
        None,
        "Validation metric to optimise: a metric of the task. Losses, errors, perplexity and bits per byte are "
        "minimised, all others maximised. Default: macro_f1 for classification, loss for causal-lm.",
    )
    sampler: str = setting(
        "tpe",
        "Algorithm that proposes trials: 'tpe' (tree-structured Parzen estimator), 'random', 'grid' or 'cmaes' (needs "
        "the package cmaes).",
        choices=SAMPLERS,
    )
    pruner: str = setting(
        "median",
        "Rule that stops a bad trial after an epoch: 'median' (worse than half of the other trials at that epoch), "
        "'hyperband' (the worst of a bracket) or 'none'.",
        choices=PRUNERS,
    )
    # Each seed is a fit of its own, so the time of a trial grows by this factor.
    repeats: int = setting(1, "Number of seeds per trial. The mean of their scores is optimised.", check=at_least(1))
    # 1 trains in this process; each worker loads a base model of its own
    workers: int = setting(1, "Number of processes on this machine.", check=at_least(1))
    study: str | None = setting(
        None,
        "Name or path of the study. Default: <preset>-<data>-<space>. An existing study is continued.",
    )
    studies_dir: str = setting("studies", "Parent folder of the studies.")
    storage: str | None = setting(
        None,
        "Storage of the trials: a database URL, an SQLite file (.db, .sqlite, .sqlite3) or a journal file (any other "
        "name). Default: study.db in the folder of the study.",
    )
    refit: bool = setting(
        False,
        "At the end, train the best settings on the training and validation rows and evaluate once on the test rows.",
    )
