"""What a worker of a search does: it opens the study of its job and runs trials."""

from pathlib import Path

import optuna

from kerora.errors import KeroraError
from kerora.settings.resolve import resolve
from kerora.settings.tune import TuneConfig
from kerora.training.interrupt import interrupt_flag
from kerora.tuning.identity import IDENTITY, changed, identity
from kerora.tuning.objective import Objective
from kerora.tuning.runner import parse_job, run_trials
from kerora.tuning.samplers import make_pruner, make_sampler
from kerora.tuning.search import StudyFolder
from kerora.tuning.space import load_space
from kerora.tuning.storage import open_storage, storage_errors
from kerora.tuning.workbench import Workbench


def work(line: str) -> None:
    """Run trials until the study has enough of them.

    Args:
        line: the job, see `runner.Job.to_json`.

    Raises:
        KeroraError: the storage failed, or the data or the settings changed since the search began.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    job = parse_job(line)
    settings = TuneConfig(**job["settings"])
    space, folder = load_space(job["space"]), Path(job["folder"])
    bench = Workbench(resolve(job["config"]))
    defaults = space.defaults(bench.settled(bench.config))
    with storage_errors(settings.storage, folder):
        study = optuna.load_study(
            study_name=settings.study,
            storage=open_storage(settings.storage, folder),
            sampler=make_sampler(settings, space, bench.config.training.seed, defaults),
            pruner=make_pruner(settings, job["most_epochs"]),
        )
        found = list(changed(study.user_attrs[IDENTITY], identity(bench, space, settings)))
        if found:
            raise KeroraError(f"The data or the settings changed while the search began: {found[0]}.")
        # held, because an interrupt inside Optuna or the database would leave a thread or a transaction behind
        with interrupt_flag() as flag, flag.hold():
            objective = Objective(bench, space, settings, defaults, lambda: None, flag, StudyFolder(folder).logs)
            run_trials(study, objective, settings.trials, job["deadline"], lambda: None, flag)
