"""The direction of imports: each level of the package uses only those before it."""

import ast
import functools
import graphlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

import kerora.config
from tests.conftest import ROOT

PACKAGE = ROOT / "kerora"
# modules of one level may import one another
LEVELS = (
    ("errors", "guards", "hubs", "notices", "places", "settings", "runfolder", "version"),
    # what Keras and KerasHub are touched through, and what is only there for speed
    ("backend", "compat", "fast", "kernels"),
    ("data",),
    ("tracking",),
    ("lora",),
    ("models",),
    ("evaluation",),
    ("tasks",),
    ("runs",),
    ("training", "callbacks"),
    # the wings side by side, and what looks at a machine
    ("exchange", "pretraining", "tuning", "doctor"),
    # what trains with the workbench of the search
    ("cleaning",),
    # what scripts call, over the wings
    ("scripting",),
    ("cli",),
    # the door for scripts; no module of the package goes through it
    ("__main__", "config"),
)
# no wing imports another
WINGS = {"exchange", "pretraining", "tuning"}
LEVEL_OF = {name: number for number, names in enumerate(LEVELS) for name in names}
# the package's own __init__ imports lazily, as a facade over all levels
FACADE = PACKAGE / "__init__.py"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != FACADE)
IN_FUNCTION_ALLOWED = ("cli/", "__init__.py", "backend.py")
# TensorFlow Datasets is slow to import, and half imported where TensorFlow is hidden at that moment
OPTIONAL_IMPORTS = {
    "data/tfds_source.py": {"tensorflow_datasets"},
    # 25 MB that only Parquet files need
    "data/parquet.py": {"pyarrow", "pyarrow.parquet", "pyarrow.ipc"},
    "data/vectors.py": {"pyarrow", "pyarrow.parquet"},
    "data/compression.py": {"pyarrow"},
    "data/memory.py": {"pyarrow.parquet"},
    # the hubs' clients, a third of a second that only a download needs
    "models/catalogue.py": {"kerora.models"},
    "data/hub_source.py": {"kerora.hubs"},
    "lora/source.py": {"kerora.hubs"},
    # Jinja, which only conversations need
    "models/chat_template.py": {"kerora.models.chat_sandbox"},
    # the length of texts in words does not need Keras
    "tasks/whole_text/audit.py": {"kerora.models.presets", "kerora.models.long_texts"},
    "tasks/language/audit_screen.py": {"kerora.models.presets"},
    # Keras, which a worker of a search imports lean, and only after it watches for signals
    "tuning/worker.py": {"kerora.tuning.work"},
    # what the extras bring
    "tracking/tensorboard.py": {
        "tensorboard.compat.proto.event_pb2",
        "tensorboard.compat.proto.summary_pb2",
        "tensorboard.compat.proto.tensor_pb2",
        "tensorboard.compat.proto.tensor_shape_pb2",
        "tensorboard.plugins.hparams.api_pb2",
        "tensorboard.plugins.hparams.plugin_data_pb2",
        "tensorboard.summary.writer.record_writer",
    },
    "tracking/wandb.py": {"wandb"},
    "tracking/mlflow.py": {"mlflow", "mlflow.entities"},
    "exchange/verify.py": {"peft", "transformers"},
    "exchange/onnx_file.py": {"onnx", "onnxruntime"},
}
# what may load a framework of the levels up to the data; batches are a keras.utils.PyDataset
COMPUTING = ("fast/", "kernels.py", "data/batches.py")
LIGHT_IN_FAST = (
    "fast/__init__.py",
    "fast/allocator.py",
    "fast/late_compiler.py",
    "fast/lean_import.py",
    "fast/saving.py",
    "fast/switch.py",
)
HEAVY = {"keras", "keras_hub", "torch", "tensorflow", "tensorflow_datasets", "transformers", "peft"}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def level_of(path: Path) -> int:
    return LEVEL_OF[path.relative_to(PACKAGE).parts[0].removesuffix(".py")]


def imported(node: ast.AST) -> Iterator[str]:
    """Yield the full names of the modules that a node imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        yield str(node.module)
        if node.module == "kerora":
            yield from (f"kerora.{alias.name}" for alias in node.names)


def imports(tree: ast.AST) -> set[str]:
    return {name for node in ast.walk(tree) for name in imported(node)}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_when_loaded(tree: ast.Module) -> set[str]:
    """Return what a module imports on being imported: not in functions, not for type checkers."""
    waiting: list[ast.AST] = [tree]
    found: set[str] = set()
    while waiting:
        node = waiting.pop()
        found.update(imported(node))
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_type_checking(node):
            waiting.extend(ast.iter_child_nodes(node))
    return found


def imports_in_functions(tree: ast.Module) -> set[str]:
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {name for function in functions for name in imports(function)}


def own_imports(tree: ast.AST, modules: Collection[str]) -> set[str]:
    """Return the modules that a module imports anywhere: on top, in functions, or for type checkers.

    ``from package import name`` names a module where there is one of that name, else the package.
    """
    found = imports(tree) & set(modules)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found.update({f"{node.module}.{alias.name}" for alias in node.names} & set(modules))
    return found


def cycle(graph: Mapping[str, Collection[str]]) -> list[str]:
    """Return the modules of an import cycle, the first one again at the end; none gives an empty list."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_every_module_has_a_level() -> None:
    assert len(MODULES) > 50
    assert {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES} == set(LEVEL_OF)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_its_own_level_and_those_before_it(path: Path) -> None:
    own = {name.split(".")[1] for name in imports(parsed(path)) if name.startswith("kerora.")}
    later = {name for name in own if LEVEL_OF.get(name, -1) > level_of(path)}
    assert not later
    assert "kerora" not in imports(parsed(path)) - {"kerora.backend"}, "import the module that defines the name"


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent.name in WINGS], ids=name_of)
def test_no_wing_imports_another(path: Path) -> None:
    own = {name.split(".")[1] for name in imports(parsed(path)) if name.startswith("kerora.")}
    assert not own & (WINGS - {path.parent.name})


def test_no_modules_import_one_another_in_a_circle_not_even_in_functions() -> None:
    names = {module_of(path) for path in MODULES}
    graph = {module_of(path): own_imports(parsed(path), names) for path in MODULES}
    assert sum(len(imported) for imported in graph.values()) > 500
    assert cycle(graph) == []


def test_a_cycle_is_noticed() -> None:
    sources = {
        "kerora.cli.one": "from kerora.cli import two\n",
        "kerora.cli.two": "def f():\n    from kerora.cli.three import name\n",
        "kerora.cli.three": "if TYPE_CHECKING:\n    import kerora.cli.one\n",
        "kerora.cli.four": "from kerora.cli.one import name\n",
    }
    graph = {name: own_imports(ast.parse(source), sources) for name, source in sources.items()}
    assert set(cycle(graph)) == {"kerora.cli.one", "kerora.cli.two", "kerora.cli.three"}
    assert cycle({**graph, "kerora.cli.two": set()}) == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_import_only_where_that_is_the_point(path: Path) -> None:
    if not name_of(path).startswith(IN_FUNCTION_ALLOWED):
        assert imports_in_functions(parsed(path)) <= OPTIONAL_IMPORTS.get(name_of(path), set())


def is_light(path: Path) -> bool:
    name = name_of(path)
    if name.startswith("cli/") or name in LIGHT_IN_FAST:
        return True
    return level_of(path) <= LEVEL_OF["data"] and not name.startswith(COMPUTING)


@pytest.mark.parametrize("path", [path for path in MODULES if is_light(path)], ids=name_of)
def test_light_modules_load_no_framework(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imports_when_loaded(parsed(path))}
    assert not roots & HEAVY


def test_batches_load_keras_alone() -> None:
    roots = {name.partition(".")[0] for name in imports_when_loaded(parsed(PACKAGE / "data" / "batches.py"))}
    assert roots & HEAVY == {"keras"}


def test_the_door_to_the_settings_defines_nothing_and_no_module_goes_through_it() -> None:
    door = parsed(PACKAGE / "config.py")
    names = [alias.name for node in door.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(kerora.config.__all__) == sorted(names)
    assert not any(isinstance(node, ast.ClassDef | ast.FunctionDef) for node in door.body)
    assert all(name.startswith("kerora.settings.") for name in imports(door))
    assert [name_of(path) for path in MODULES if "kerora.config" in imports(parsed(path))] == []


def test_the_facade_imports_only_what_needs_no_other_package() -> None:
    own = {name for name in imports_when_loaded(parsed(FACADE)) if name.startswith("kerora")}
    assert own == {"kerora.backend", "kerora.errors", "kerora.places", "kerora.version"}


def test_a_forbidden_import_is_noticed() -> None:
    tree = ast.parse("from kerora.training.fit import fit\ndef f():\n    import torch\n")
    assert imports(tree) == {"kerora.training.fit", "torch"}
    assert imports_when_loaded(tree) == {"kerora.training.fit"}
    assert imports_in_functions(tree) == {"torch"}
