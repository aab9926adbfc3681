"""Weights & Biases. Without credentials the run is written to RUN/logs/wandb, and `wandb sync` uploads it later."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kerora.notices import notice
from kerora.tracking.contract import State, TrackedRun

PROJECT = "kerora"
INIT_SECONDS = 30
NO_CREDENTIALS = (
    "wandb has no credentials, so the run is logged offline. `wandb login` and `wandb sync` upload it later."
)
EXIT_CODES: dict[State, int] = {"finished": 0, "failed": 1, "stopped": 255}


class WeightsAndBiases:
    """One run of wandb. WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY and WANDB_DIR have their usual meaning."""

    def check(self) -> None:
        """Check the credentials with the server, unless the run is offline, and the folder that WANDB_DIR names."""
        mode = _mode()
        folder = os.environ.get("WANDB_DIR")
        if folder and mode != "disabled":
            # wandb would write elsewhere without an error
            Path(folder).mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(f"The folder {folder} of WANDB_DIR cannot be written")

    def start(self, run: TrackedRun) -> str | None:
        """Open the run, online if there are credentials, else offline."""
        import wandb

        # made before wandb looks: it would choose a folder for temporary files if this one is missing
        run.folder.mkdir(parents=True, exist_ok=True)
        mode = _mode()
        if mode == "offline" and not os.environ.get("WANDB_MODE"):
            notice(NO_CREDENTIALS)
        self._run: Any = wandb.init(
            project=None if os.environ.get("WANDB_PROJECT") else PROJECT,
            name=run.name,
            id=run.resumed,
            resume="allow",
            dir=None if os.environ.get("WANDB_DIR") else str(run.folder),
            mode=mode,
            config={**run.settings, **run.facts},
            allow_val_change=True,
            # Without what it gathers about the machine: the command line and the environment can hold secrets.
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                save_code=False,
                x_disable_meta=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
                init_timeout=INIT_SECONDS,
            ),
        )
        return str(self._run.id)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add one point to each curve."""
        self._run.log(dict(values), step=step)

    def finish(self, values: Mapping[str, float], files: Sequence[Path], state: State) -> None:
        """Write the final values into the summary, and the page and the pictures of the report."""
        import wandb

        self._run.summary.update(dict(values))
        media: dict[str, Callable[[Path], Any]] = {
            ".html": lambda path: wandb.Html(path.read_text(encoding="utf-8"), inject=False),
            ".png": lambda path: wandb.Image(str(path)),
        }
        found = {f"report/{path.stem}": media[path.suffix](path) for path in files if path.suffix in media}
        if found:
            self._run.log(found)
        self._run.finish(exit_code=EXIT_CODES[state])


def _mode() -> Any:
    """Return the mode for wandb. None goes online."""
    import wandb

    # given by name, because wandb reads its variables only once in a process
    if named := os.environ.get("WANDB_MODE"):
        return named
    return None if wandb.login(prompt=False) else "offline"
