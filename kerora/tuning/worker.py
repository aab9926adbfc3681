"""A worker process of a search: ``python -m kerora.tuning.worker`` with its job on standard input.

With ``--as-written`` its messages name options, because the command line started the search.
"""

import _thread
import signal
import sys
import threading
from pathlib import Path

import optuna

from kerora.errors import KeroraError, as_written, is_as_written
from kerora.settings.resolve import resolve
from kerora.settings.tune import TuneConfig
from kerora.training.interrupt import interrupt_flag
from kerora.tuning.identity import IDENTITY, differences, identity
from kerora.tuning.objective import Objective
from kerora.tuning.runner import AS_WRITTEN, parse_job, run_trials
from kerora.tuning.samplers import make_pruner, make_sampler
from kerora.tuning.search import StudyFolder
from kerora.tuning.space import load_space
from kerora.tuning.storage import open_storage, storage_errors
from kerora.tuning.workbench import Workbench


def main() -> int:
    """Do the job from standard input, and return the exit code."""
    with as_written(AS_WRITTEN in sys.argv or is_as_written()):
        return _main()


def _main() -> int:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # for the time before `interrupt_flag`: SIGTERM then also ends with KeyboardInterrupt
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # before the thread, which reads the rest of the same stream
    line = sys.stdin.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _work(line)
    except KeroraError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT  # as shells count it
    return 0


def _end_with_parent() -> None:
    sys.stdin.read()  # returns when the process that started this one has ended
    _thread.interrupt_main()


def _work(line: str) -> None:
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
        changed = list(differences(study.user_attrs[IDENTITY], identity(bench, space, settings)))
        if changed:
            raise KeroraError(f"The data or the settings changed while the search began: {changed[0]}.")
        # held, because an interrupt inside Optuna or the database would leave a thread or a transaction behind
        with interrupt_flag() as flag, flag.hold():
            objective = Objective(bench, space, settings, defaults, lambda: None, flag, StudyFolder(folder).logs)
            run_trials(study, objective, settings.trials, job["deadline"], lambda: None, flag)


if __name__ == "__main__":
    sys.exit(main())
