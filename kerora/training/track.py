"""Opens the tools of `--log` for a run folder, and makes the files that they take at the end."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path

from kerora.errors import KeroraError
from kerora.evaluation.comparison import NOT_SETTINGS, flatten_settings
from kerora.notices import notice
from kerora.runfolder import RunFolder
from kerora.runs.report import write_report
from kerora.settings.fit import FitConfig
from kerora.settings.pretrain import PretrainConfig
from kerora.settings.resolve import to_dict
from kerora.tracking.contract import TrackedRun
from kerora.tracking.tracking import Tracking, loggable
from kerora.version import __version__

_KEY = "tracking"


def open_tracking(run: RunFolder, config: FitConfig | PretrainConfig) -> Tracking:
    """Open the tools for a run. A resumed run goes on in the run that it began in each tool.

    Raises:
        ConfigError: a tool cannot start, and the run is new.
    """
    if not config.log:
        return Tracking((), TrackedRun("", run.logs, {}))
    earlier: Mapping[str, str] | None = run.read_manifest().get(_KEY)
    tracking = Tracking(config.log, tracked(run.path.resolve().name, run.logs, config), earlier, strict=earlier is None)
    run.update_manifest(**{_KEY: tracking.identifiers})
    return tracking


def tracked(name: str, logs: Path, config: FitConfig | PretrainConfig) -> TrackedRun:
    """Return a training as the tools show it.

    Args:
        name: name of the run.
        logs: folder for local logs.
        config: the settled settings.
    """
    settings = {key: value for key, value in flatten_settings(to_dict(config)) if key not in NOT_SETTINGS}
    facts = {"kerora": __version__} | {name: importlib.metadata.version(name) for name in ("keras", "torch")}
    return TrackedRun(name, logs, loggable(settings), facts)


def report_files(run: RunFolder) -> Sequence[Path]:
    """Write the report of a finished run, and return the paths of its files.

    A run without evaluated rows has no report. The CSV files of the report are left out: the page shows them.
    """
    try:
        files = write_report([run]).runs[0].files.values()
    # the training is finished, and a report that cannot be written must not make it a failed one
    except KeroraError as error:
        notice(f"There is no report to log: {error}")
        return ()
    return [path for path in files if path.suffix in (".html", ".png", ".txt")]
