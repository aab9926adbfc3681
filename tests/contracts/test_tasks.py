"""Every task goes through every command; nothing outside its folder asks which task it is."""

import ast
import csv
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kerora.cli.main import run as kerora
from kerora.evaluation.directions import is_lower_better
from kerora.exchange.importing import import_peft
from kerora.settings.resolve import resolve
from kerora.tasks import contract, registry
from kerora.tasks.exchange_contract import ExchangeFace
from kerora.tasks.registry import Task, tasks
from kerora.tuning.space import load_space
from tests.conftest import ROOT
from tests.tiny import WORDS, tiny_huggingface
from tests.toy_task import COUNT_WORDS

Call = Callable[..., int]
PACKAGE = ROOT / "kerora"
FACES = {
    "rows": contract.RowsFace,
    "model": contract.ModelFace,
    "task": contract.TrainingFace,
    "baseline": contract.BaselineFace,
    "results": contract.ResultsFace,
    "page": contract.PageFace,
    "screen": contract.ScreenFace,
    "exchange": ExchangeFace,
}
# by the command that a task has with the face
OPTIONAL = {"predict": contract.PredictFace, "search": contract.SearchFace}
# by task: the preset, what the settings need, the formats
JOURNEYS = {
    "classification": ("encoder", (), ("peft", "keras", "transformers", "onnx", "kerora")),
    "regression": ("encoder", (), ("peft", "keras", "transformers", "onnx", "kerora")),
    "multi-label": ("encoder", ("--label-separator", "|"), ("peft", "keras", "transformers", "onnx", "kerora")),
    "causal-lm": ("decoder", ("--text", "text"), ("peft", "keras", "transformers", "onnx", "kerora")),
    "count-words": ("encoder", (), ("peft", "keras", "transformers", "onnx", "kerora")),
}
# the modules that know a kind of model or rows: where these are defined, and what only one task has
KNOWS_A_KIND = {
    "data/documents.py",
    "data/document_reader.py",
    "data/language.py",
    "models/classifier.py",
    "models/multi_label.py",
    "models/regressor.py",
    "models/whole_text.py",
    "models/causal_lm.py",
    "pretraining/pretrain.py",
}
KINDS = {
    *("TextClassifier", "MultiLabelClassifier", "TextRegressor", "CausalLM", "Documents", "LanguageBatches"),
    "NumberRows",
}
NAMES = {"classification", "multi-label", "regression", "causal-lm"}


@pytest.fixture(autouse=True)
def third_task() -> Iterator[None]:
    registry.register(COUNT_WORDS)
    yield
    registry.unregister(COUNT_WORDS.name)


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("presets")
    # one layer: torch's exporter to ONNX needs seconds for each
    tiny_huggingface("distil_bert", folder / "encoder", n_layers=1)
    tiny_huggingface("gpt2", folder / "decoder", task="LMHeadModel", initializer_range=0.4, n_layer=1)
    return folder


@pytest.mark.parametrize("name", [*JOURNEYS])
def test_a_task_goes_through_every_command(
    name: str, presets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    preset, columns, formats = JOURNEYS[name]
    write_rows(Path("rows.csv"))
    base = str(presets / preset)

    def call(*arguments: object, code: int = 0) -> str:
        found = kerora([str(argument) for argument in arguments])
        told = capfd.readouterr()
        assert found == code, (arguments, told)
        return told.out + told.err

    task = ("--set", f"task={name}")
    fit = ("fit", *task, "--data", "rows.csv", *columns, "--preset", base, "--test-split", 0.2, "--epochs", 2)
    fit = (*fit, "--max-length", 32, "--batch-size", 8, "--precision", "float32", "--quiet", "--targets", "all-linear")
    call(*fit, "--run", "./one")
    call(*fit, "--run", "./two", "--seed", 7)
    check_baseline()
    assert "is finished" in call("fit", "--resume", "two", code=2)
    check_resume(call, fit)
    check_runs(call, name)
    check_exchange(call, task, formats, base)
    check_data(call, task, columns)
    tune = ("tune", *task, "--data", "rows.csv", *columns, "--preset", base, "--trials", 2, "--epochs", 1)
    tune = (*tune, "--space", "space.yaml", "--study", "./study", "--test-split", 0.2, "--validation-split", 0.3)
    tune = (*tune, "--refit", "--quiet")
    check_tune(call, registry.task_named(name), tune)


def check_baseline() -> None:
    """The baseline has the metrics of the trained model, and a verdict."""
    metrics = json.loads(Path("one/metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["baseline"]) == set(metrics["after"])
    for split, values in metrics["after"].items():
        found = metrics["baseline"][split]
        assert set(values) == set(found) - {"name", "majority", "test"} == set(found["majority"]) - {"name"}
        assert {"metric", "difference", "low", "high", "verdict"} <= set(found["test"]) and found["name"]


def check_resume(call: Callable[..., str], fit: tuple[object, ...]) -> None:
    """A run without its last epoch is continued, and ends with the same adapter."""
    call(*fit, "--run", "./again", "--save-steps", 2)
    path = Path("again/run.json")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, "state": "stopped", "process": {}}), encoding="utf-8")
    call("fit", "--resume", "again", "--quiet")
    weights = "adapter/adapter_model.safetensors"
    assert (Path("again") / weights).read_bytes() == (Path("one") / weights).read_bytes()


def check_runs(call: Callable[..., str], name: str) -> None:
    """Evaluate, report, predict or generate."""
    metrics = json.loads(call("evaluate", "one", "--json").splitlines()[-1])["metrics"]
    assert set(metrics) == {"validation", "test"} and all("loss" in values for values in metrics.values())
    call("evaluate", "one", "--data", "rows.csv", "--output", "evaluated")
    assert Path("evaluated/metrics.json").is_file()
    call("report", "one")
    assert "<h1>" in Path("one/report/report.html").read_text(encoding="utf-8")
    call("report", "one", "two", "--output", "both.html")
    assert "two" in Path("both.html").read_text(encoding="utf-8")
    task = registry.task_named(name)
    predicted = call("predict", "one", "rows.csv", "--text", "text", "--output", "predicted.csv",
                     code=0 if "predict" in task.commands else 2)  # fmt: skip
    if "predict" in task.commands:
        with Path("predicted.csv").open(encoding="utf-8") as stream:
            assert len(list(csv.DictReader(stream))) == 60
    else:
        assert "`kerora predict` does not work with such a run" in predicted
    code = 0 if "generate" in task.commands else 2
    assert call("generate", "one", "--prompt", "late", "--max-tokens", 2, code=code)


def check_tune(call: Callable[..., str], task: Task, tune: tuple[object, ...]) -> None:
    """Search, compare with the defaults, train the best settings again, and continue."""
    Path("space.yaml").write_text("lora.rank: [2]\n", encoding="utf-8")
    if not task.searchable:
        assert "kerora tune searches" in call(*tune, code=2)
        return
    told = call(*tune)
    assert f", validation {task.search.METRIC} " in told and "was not tested" not in told
    with Path("study/experiment_log.csv").open(encoding="utf-8") as stream:
        first, second = csv.DictReader(stream)
    assert first["state"] == second["state"] == "complete" and float(first["score"])
    assert [name for name in first if name.startswith("val_")] == [f"val_{name}" for name in task.search.METRICS]
    assert "test " in told.partition("Refit: ")[2]
    again = json.loads(call(*tune, "--json").splitlines()[-1])
    assert again["metric"] == task.search.METRIC and len(again["trials"]) == 2
    assert "has no metric 'none'" in call(*tune, "--metric", "none", code=2)


def check_exchange(call: Callable[..., str], task: tuple[str, str], formats: tuple[str, ...], base: str) -> None:
    """Export in every format, merge, import."""
    for form in formats:
        assert "Verified with" in call("export", "one", "--format", form, "--output", f"exports/{form}"), form
    assert "Verified with" in call("merge", "one", "two", "--output", "exports/merged")
    settings = {"task": task[1].removeprefix("task="), "data.source": "rows.csv", "model.preset": base}
    import_peft("exports/peft", "./imported", resolve(settings), evaluate=True)
    assert json.loads(Path("imported/run.json").read_text(encoding="utf-8"))["task"] == task[1].removeprefix("task=")
    assert set(json.loads(Path("imported/metrics.json").read_text(encoding="utf-8"))) == {"before", "after"}


def check_data(call: Callable[..., str], task: tuple[str, str], columns: tuple[str, ...]) -> None:
    """Show, save, and read back."""
    assert json.loads(call("data", "show", "rows.csv", *task, *columns, "--json"))
    call("data", "save", "rows.csv", "saved", *task, *columns)
    again = () if columns == () or "form" in Path("saved/dataset.json").read_text(encoding="utf-8") else columns
    assert json.loads(call("data", "show", "saved", *task, *again, "--json"))


def write_rows(path: Path) -> None:
    lines = [
        f"{WORDS[number]} {'late parcel' if number % 2 else 'broken'} {WORDS[-number - 1]},{number % 2}"
        for number in range(60)
    ]
    path.write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")


def faces_of(task: Task) -> dict[str, type]:
    has = {"predict": "predict" in task.commands, "search": task.searchable}
    return FACES | {name: face for name, face in OPTIONAL.items() if has[name]}


@pytest.mark.parametrize("face", [*FACES, *OPTIONAL])
@pytest.mark.parametrize("task", [*tasks(), COUNT_WORDS], ids=lambda task: task.name)
def test_a_task_has_every_function_of_the_contract(task: Task, face: str) -> None:
    protocol = faces_of(task).get(face)
    if protocol is None:
        return
    module = task._face(face)
    for name, function in inspect.getmembers(protocol, inspect.isfunction):
        if not name.startswith("_"):
            own = list(inspect.signature(getattr(module, name)).parameters.values())
            wanted = list(inspect.signature(function).parameters.values())[1:]
            assert [item.kind for item in own] == [item.kind for item in wanted], f"{module.__name__}.{name}"
    for name in protocol.__annotations__:
        assert hasattr(module, name), f"{module.__name__} lacks {name}"


@pytest.mark.parametrize("task", [*tasks(), COUNT_WORDS], ids=lambda task: task.name)
def test_what_a_search_follows_has_a_direction_and_a_default(task: Task) -> None:
    if task.searchable:
        face = task.search
        assert face.METRIC in face.METRICS and load_space(face.SPACE).parameters
        unknown = [name for name in face.METRICS if is_lower_better(name) is None]
        assert not unknown, "kerora/evaluation/directions.py does not know these metrics"


def test_a_task_can_be_registered_once() -> None:
    with pytest.raises(Exception, match="The task count-words is registered already"):
        registry.register(COUNT_WORDS)


def modules() -> list[Path]:
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] not in ("tasks", "settings") and path.name != "version.py"
    ]


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nothing_else_asks_which_task_it_is(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        place = f"{name}, line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            words = {part.value for side in sides for part in ast.walk(side) if isinstance(part, ast.Constant)}
            assert not words & NAMES, f"{place} compares with the name of a task: give the task a method"
            asked = {part.attr for part in sides if isinstance(part, ast.Attribute)}
            assert not asked & {"task", "task_type", "task_name"}, f"{place} asks for the task: give it a method"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            kinds = {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
            assert name in KNOWS_A_KIND or not kinds & KINDS, f"{place} asks for the kind of a model or of rows"
        if isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            assert not keys & NAMES, f"{place} is a table by task: give the task a method"
