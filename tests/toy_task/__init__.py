"""A task of the tests' own: count the words of a text. It shows that a task needs its folder and a registry line."""

from kerora.tasks.registry import Task

COUNT_WORDS = Task(
    "count-words",
    "SEQ_CLS",
    "word counter",
    "tests.toy_task",
    "predict {run} FILE",
    {"predict": "`kerora predict` counts words with it"},
)
