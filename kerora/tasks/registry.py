"""The tasks by name, and the packages that hold their modules."""

import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from kerora.errors import AdapterError, ConfigError, RunError
from kerora.notices import notice
from kerora.runfolder import RunFolder
from kerora.settings.fit import TASKS
from kerora.tasks.contract import (
    AnswersFace,
    BaselineFace,
    ModelFace,
    PageFace,
    PredictFace,
    ResultsFace,
    RowsFace,
    ScreenFace,
    SearchFace,
    TrainingFace,
)
from kerora.tasks.exchange_contract import ExchangeFace

FIRST = "classification"
"""The task of old runs, whose run.json does not name a task."""


@dataclass(frozen=True)
class Task:
    """A task. Each of its faces is imported when it is first used.

    Attributes:
        name: the value of the setting `task`.
        peft_type: the name that PEFT uses, the ``task_type`` of adapter_config.json.
        title: the kind of model, in words.
        package: the package that holds the modules. See `kerora.tasks.contract`.
        first_use: command to try on a new run: the arguments of ``kerora``, with ``{run}`` for the path of the run.
        commands: commands that not every task has: by name of the command, what it does with a run.
        abstains: whether an answer has one probability, so that answers below a threshold can be withheld, and the rows
            with the most unsure answers be labelled next.
        cleans: whether `kerora clean` finds wrong labels of its data.
        problem_type: what the outputs of a head mean, as transformers names it. Empty if it names no such thing.
    """

    name: str
    peft_type: str
    title: str
    package: str
    first_use: str = "evaluate {run}"
    commands: Mapping[str, str] = field(default_factory=dict)
    abstains: bool = False
    cleans: bool = False
    problem_type: str = ""

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
    def answers(self) -> AnswersFace:
        """The evaluated answers of a task that abstains."""
        return cast(AnswersFace, self._face("answers"))

    @property
    def training(self) -> TrainingFace:
        """Training and evaluation."""
        return cast(TrainingFace, self._face("task"))

    @property
    def baselines(self) -> BaselineFace:
        """The simple model to compare with."""
        return cast(BaselineFace, self._face("baseline"))

    @property
    def results(self) -> ResultsFace:
        """The results in run folders."""
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

    @property
    def search(self) -> SearchFace:
        """`kerora tune`."""
        return cast(SearchFace, self._face("search"))

    @property
    def searchable(self) -> bool:
        """Whether `kerora tune` can search the settings of the task, that is, whether it has the face `search`."""
        return importlib.util.find_spec(f"{self.package}.search") is not None

    def _face(self, name: str) -> Any:
        # imported late, so that a report does not load Keras and a prediction does not load scikit-learn
        return importlib.import_module(f"{self.package}.{name}")


# in order of registration: the first task of a PEFT type is the default of an import
_TASKS: dict[str, Task] = {}


def register(task: Task) -> None:
    """Add a task. The setting `task` then accepts its name.

    Raises:
        ConfigError: a task of this name exists.
    """
    if task.name in _TASKS:
        raise ConfigError(f"The task {task.name} is registered already. Choose another name.")
    _TASKS[task.name] = task
    # the settings accept the names in this list
    if task.name not in TASKS:
        TASKS.append(task.name)


def unregister(name: str) -> None:
    """Remove a task, as a test does with the task that it added."""
    # `register` adds the name to both
    del _TASKS[name]
    TASKS.remove(name)


def tasks() -> Iterator[Task]:
    """Yield the tasks, in the order in which they were registered."""
    yield from _TASKS.values()


def task_named(name: str | None) -> Task:
    """Return the task of a setting. None, as in settings of old versions, is the first task.

    Raises:
        ConfigError: there is no task of that name.
    """
    name = FIRST if name is None else name
    if name not in _TASKS:
        raise ConfigError(f"Unknown task {name!r}. Tasks are {', '.join(_TASKS)}.")
    return _TASKS[name]


def task_of_peft_type(peft_type: object, wanted: str | None, source: object, problem_type: str = "") -> Task:
    """Return the task of an adapter of PEFT.

    Args:
        peft_type: the ``task_type`` of the adapter. Several tasks may have the same one.
        wanted: the setting `task`. It decides between several tasks. If it fits none, the one registered first is used.
        source: the folder of the adapter, for the message.
        problem_type: what the outputs of the adapter's head mean, if that is known. It decides before `wanted`.

    Raises:
        AdapterError: Kerora has no such task.
    """
    # PEFT names only the kind of model, so tasks with one kind of model share the name
    found = [task for task in _TASKS.values() if task.peft_type == peft_type]
    if found:
        # tasks without such a name, as in a package of a user, are only taken by their own name
        named = [task for task in found if problem_type and task.problem_type == problem_type]
        if named and not any(task.name == wanted and not task.problem_type for task in found):
            if named[0].name != (wanted or FIRST):
                notice(f"{source}: its head is one for {problem_type}, so the task is {named[0].name}.")
            return named[0]
        return next((task for task in found if task.name == wanted), found[0])
    titles: dict[str, list[str]] = {}
    for task in _TASKS.values():
        titles.setdefault(task.peft_type, []).append(f"a {task.title}")
    known = " and ".join(f"{name} ({' or '.join(kinds)})" for name, kinds in titles.items())
    raise AdapterError(f"{source} has task_type {peft_type!r}. Kerora can import {known}.")


def task_of_model(model: Any) -> Task:
    """Return the task that a model names."""
    return task_named(model.task_name)


def task_of_manifest(run: RunFolder, manifest: Mapping[str, Any]) -> Task:
    """Return the task of a run.

    Raises:
        RunError: run.json names a task that this version does not have.
    """
    name = manifest.get("task", FIRST)
    if name not in _TASKS:
        raise RunError(
            f"{run.manifest} names the task {name!r}. This version of Kerora has {', '.join(_TASKS)}. Update Kerora."
        )
    return _TASKS[name]


def check_command(run: RunFolder, task: Task, command: str) -> None:
    """Check that a command works with runs of a task.

    Raises:
        RunError: it does not. The message names the commands that do.
    """
    if command not in task.commands:
        what = ", ".join(task.commands.values())
        raise RunError(
            f"{run.path} was trained for {task.name}. `kerora {command}` does not work with such a run. "
            f"Use another command: {what}."
        )


register(
    Task(
        "classification",
        "SEQ_CLS",
        "text classifier",
        "kerora.tasks.classification",
        "predict {run} FILE",
        {"predict": "`kerora predict` labels texts with it"},
        abstains=True,
        cleans=True,
        problem_type="single_label_classification",
    )
)
register(
    Task(
        "multi-label",
        "SEQ_CLS",
        "tagger of texts",
        "kerora.tasks.multi_label",
        "predict {run} FILE",
        {"predict": "`kerora predict` labels texts with it"},
        problem_type="multi_label_classification",
    )
)
register(
    Task(
        "regression",
        "SEQ_CLS",
        "text regressor",
        "kerora.tasks.regression",
        "predict {run} FILE",
        {"predict": "`kerora predict` predicts numbers with it"},
        problem_type="regression",
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
