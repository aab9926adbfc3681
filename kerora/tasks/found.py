"""Finds the task of a training whose settings name none."""

import dataclasses

from kerora.data.label_forms import several_labels_reason
from kerora.notices import notice
from kerora.settings.fit import FitConfig
from kerora.tasks.registry import FIRST

SEVERAL = "multi-label"


def with_task(config: FitConfig) -> FitConfig:
    """Return the settings with a task: the given one, or the one that fits the form of the labels.

    Rows with several labels each are for ``multi-label``, and a notice says so. All others are for the first task.
    """
    if config.task is not None:
        return config
    reason = several_labels_reason(config.data)
    if reason:
        notice(f"The task is {SEVERAL}, because {reason}. --task chooses another.")
    return dataclasses.replace(config, task=SEVERAL if reason else FIRST)
