"""`kerora.tune`: a search on rows in files or in memory, with settings by name."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kerora.errors import ConfigError
from kerora.scripting.arguments import progress_of, refuse_more
from kerora.scripting.request import read_request, staged
from kerora.settings.fit import SPLITS, FitConfig
from kerora.settings.flat import by_option
from kerora.settings.resolve import as_settings, to_dict
from kerora.settings.tune import TuneConfig
from kerora.training.progress import Progress
from kerora.tuning import study
from kerora.tuning.search import Observer
from kerora.tuning.space import Space
from kerora.tuning.study import TuneResult

CALL = "kerora.tune"
OF_A_RUN = ("run", "runs_dir")


def tune(
    config: FitConfig | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    settings: TuneConfig | Mapping[str, Any] | None = None,
    *,
    data: Any = None,
    train: Any = None,
    validation: Any = None,
    test: Any = None,
    space: Space | Mapping[str, Any] | str | Path | None = None,
    observer: Observer | None = None,
    progress: Progress | bool | None = None,
    argv: Sequence[str] = (),
    **flat: Any,
) -> TuneResult:
    """Search settings of a fit, and write the folder of the study.

    The first trial is the defaults. An existing study is continued: the same call adds trials or completes it. The
    trials never read the test rows. The study keeps rows in memory with all their columns in its folder ``data``.

    Args:
        config: the settings of every trial that are not searched, as in `kerora.fit`: a `FitConfig`, a dict, the path
            of a YAML file, or the rows. None takes every default.
        settings: the settings of the search, or a mapping of them. None takes every default.
        data: the whole data set, in files or in memory; see `kerora.fit`.
        train: the training rows.
        validation: the validation rows, on which the trials are scored. Default: a fraction of the training rows.
        test: the test rows. Only `refit` reads them.
        space: the search space: a mapping such as ``{"rank": [4, 8]}``, a YAML file or the name of a bundled space.
            Default: ``lora``.
        observer: receives the trials while they run. None shows nothing.
        progress: shows the training of the refit, as in `kerora.fit`. None shows nothing.
        argv: the command line, for the manifest of the refit.
        **flat: settings of the search and of the trials by the names of their options: ``trials=20``, ``epochs=1``,
            ``text="message"``. They override `settings` and `config`.

    Raises:
        KeroraError: an input cannot be used, and nothing was written. Or all trials failed. Or the search was
            interrupted, and the same call continues it.
    """
    if settings is not None and not isinstance(settings, TuneConfig | Mapping):
        refuse_more([settings], CALL)
    own = by_option(TuneConfig)
    of_a_run = next((name for name in OF_A_RUN if name in flat), None)
    if of_a_run is not None:
        raise ConfigError(f"{CALL} has no setting '{of_a_run}'. A study has study= and studies_dir=.")
    found = to_dict(as_settings({} if settings is None else settings, TuneConfig))
    search = TuneConfig(**{**found, **{name: value for name, value in flat.items() if name in own}})
    rows = {"data": data, "train": train, "validation": validation, "test": test}
    rest = {name: value for name, value in flat.items() if name not in own}
    others = {*own, "data", *SPLITS, "space", "observer", "progress"} - {*OF_A_RUN}
    with staged(read_request(config, rows, rest, CALL, tuple(others))) as stage:
        return study.tune(
            stage.config,
            search,
            space=space,
            observer=observer,
            progress=progress_of(progress),
            argv=argv,
            files=stage.files,
        )
