"""The tasks by name: which there are, and where their modules lie."""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from kerora.errors import AdapterError, ConfigError, RunError
from kerora.runfolder import RunFolder
from kerora.settings.fit import TASKS
from kerora.tasks.contract import (
    ExchangeFace,
    ModelFace,
    PageFace,
    PredictFace,
    ResultsFace,
    RowsFace,
    ScreenFace,
    TrainingFace,
)

FIRST = "classification"
"""The task of runs that were written before run.json named one."""


@dataclass(frozen=True)
class Task:
    """A task; its faces are imported when they are first asked for.

    Attributes:
        name: the value of the setting `task`.
        peft_type: what PEFT calls it, the ``task_type`` of adapter_config.json.
        title: what a model of it is, in words.
        package: the package that holds its modules; see `kerora.tasks.contract`.
        first_use: what to do with a run, a command line behind ``kerora`` with ``{run}`` for its path.
        commands: what its runs are for: by name of a command that not every task has, what it does with them.
        searchable: whether `kerora tune` can search its settings.
    """

    name: str
    peft_type: str
    title: str
    package: str
    first_use: str = "evaluate {run}"
    commands: Mapping[str, str] = field(default_factory=dict)
    searchable: bool = False

    @property
    def rows(self) -> RowsFace:
        """The data."""
        return cast(RowsFace, self._face("rows"))

    @property
    def models(self) -> ModelFace:
        """The models."""
        return cast(ModelFace, self._face("model"))

    @property
    def predictions(self) -> PredictFace:
        """`kerora predict`."""
        return cast(PredictFace, self._face("predict"))

    @property
    def training(self) -> TrainingFace:
        """Training and evaluation."""
        return cast(TrainingFace, self._face("task"))

    @property
    def results(self) -> ResultsFace:
        """Run folders, read back."""
        return cast(ResultsFace, self._face("results"))

    @property
    def page(self) -> PageFace:
        """The HTML pages."""
        return cast(PageFace, self._face("page"))

    @property
    def screen(self) -> ScreenFace:
        """The terminal."""
        return cast(ScreenFace, self._face("screen"))

    @property
    def exchange(self) -> ExchangeFace:
        """Exports and imports."""
        return cast(ExchangeFace, self._face("exchange"))

    def _face(self, name: str) -> Any:
        return importlib.import_module(f"{self.package}.{name}")


_TASKS: dict[str, Task] = {}


def register(task: Task) -> None:
    """Add a task; the setting `task` then takes its name.

    Raises:
        ConfigError: the name is taken.
    """
    if task.name in _TASKS:
        raise ConfigError(f"The task {task.name} is registered already. Choose another name.")
    _TASKS[task.name] = task
    if task.name not in TASKS:
        TASKS.append(task.name)


def unregister(name: str) -> None:
    """Take a task away again, as a test does with its own."""
    del _TASKS[name]
    TASKS.remove(name)


def tasks() -> Iterator[Task]:
    """Yield the tasks, in the order in which they were registered."""
    yield from _TASKS.values()


def task_named(name: str) -> Task:
    """Return the task of a setting.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in _TASKS:
        raise ConfigError(f"Unknown task {name!r}. Tasks are {', '.join(_TASKS)}.")
    return _TASKS[name]


def task_of_peft_type(peft_type: object, wanted: str, source: object) -> Task:
    """Return the task of an adapter that PEFT described.

    Args:
        peft_type: the ``task_type`` of its description, which several tasks may share.
        wanted: the setting `task`, which decides where they do; else the task that was registered first.
        source: the adapter's folder, for the message.

    Raises:
        AdapterError: Kerora has no such task.
    """
    found = [task for task in _TASKS.values() if task.peft_type == peft_type]
    if found:
        return next((task for task in found if task.name == wanted), found[0])
    known = " and ".join(f"{task.peft_type}, a {task.title}" for task in _TASKS.values())
    raise AdapterError(f"{source} has task_type {peft_type!r}; what can be imported is {known}.")


def task_of_model(model: Any) -> Task:
    """Return the task of a model, which names it."""
    return task_named(model.task_name)


def task_of_manifest(run: RunFolder, manifest: Mapping[str, Any]) -> Task:
    """Return the task of a run.

    Raises:
        RunError: run.json names a task that there is not.
    """
    name = manifest.get("task", FIRST)
    if name not in _TASKS:
        raise RunError(
            f"{run.manifest} names the task {name!r}; this version of Kerora has {', '.join(_TASKS)}. Update Kerora."
        )
    return _TASKS[name]


def check_command(run: RunFolder, task: Task, command: str) -> None:
    """Check that a command is for runs of a task.

    Raises:
        RunError: it is not; says which commands are.
    """
    if command not in task.commands:
        what = ", ".join(task.commands.values())
        raise RunError(f"{run.path} was trained for {task.name}, which `kerora {command}` is not for: {what}.")


register(
    Task(
        "classification",
        "SEQ_CLS",
        "text classifier",
        "kerora.tasks.classification",
        "predict {run} FILE",
        {"predict": "`kerora predict` labels texts with it"},
        searchable=True,
    )
)
register(
    Task(
        "causal-lm",
        "CAUSAL_LM",
        "language model",
        "kerora.tasks.language",
        'generate {run} --prompt "..."',
        {
            "generate": "`kerora generate` continues texts with it",
            "evaluate": "`kerora evaluate` measures it",
        },
    )
)
