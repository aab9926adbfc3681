"""MLflow. MLFLOW_TRACKING_URI names the store. Default: that of MLflow, mlflow.db in the working directory."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kerora.tracking.contract import State, TrackedRun

EXPERIMENT = "kerora"
STATUS: dict[State, str] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
# a server that is gone must not hold up the training: by default MLflow tries for minutes
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
LONGEST_VALUE = 500


class MLflow:
    """One run in an experiment of MLflow. MLFLOW_EXPERIMENT_NAME names the experiment. Default: kerora."""

    def check(self) -> None:
        """Ask the store for the experiment."""
        self._connect()
        self._experiment()

    def start(self, run: TrackedRun) -> str | None:
        """Open the run, and log the settings as parameters."""
        self._connect()
        self._id = run.resumed or self._new(run)
        if run.resumed is not None:
            self._client.update_run(self._id, status="RUNNING")
        return self._id

    def _connect(self) -> None:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        # a server that is gone is one note of Kerora, and no list of attempts
        for name, level in (("mlflow", logging.WARNING), ("alembic", logging.WARNING), ("urllib3", logging.ERROR)):
            logging.getLogger(name).setLevel(level)
        self._client: Any = MlflowClient()

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add one point to each curve."""
        from mlflow.entities import Metric

        now = time.time_ns() // 10**6
        points = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=points)

    def finish(self, values: Mapping[str, float], files: Sequence[Path], state: State) -> None:
        """Log the final values, and the files of the report as artefacts."""
        self.log(values, 0)
        for path in files:
            self._client.log_artifact(self._id, str(path), "report")
        self._client.set_terminated(self._id, STATUS[state])

    def _new(self, run: TrackedRun) -> str:
        from mlflow.entities import Param

        name, found = self._experiment()
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        # not `mlflow.start_run`, which records the user, the script and the state of git
        created = self._client.create_run(experiment, run_name=run.name, tags=dict(run.facts))
        parameters = [Param(key, str(value)[:LONGEST_VALUE]) for key, value in run.settings.items()]
        self._client.log_batch(created.info.run_id, params=parameters)
        return str(created.info.run_id)

    def _experiment(self) -> tuple[str, Any]:
        """Return the name of the experiment, and what the store has of it, or None."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage != "active":
            raise ValueError(f"The experiment {name} is deleted. Name another one with MLFLOW_EXPERIMENT_NAME")
        return name, found
