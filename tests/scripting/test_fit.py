"""`kerora.fit` with rows in memory: a complete run that can be moved, continued and replaced."""

import shutil
from pathlib import Path
from typing import Any

import keras
import pyarrow
import pytest
import yaml

import kerora
from kerora.config import FitConfig, TrainingConfig, resolve
from kerora.errors import ConfigError, DataError, Interrupted, KeroraError
from kerora.notices import Notice
from kerora.scripting.request import read_request
from kerora.training.fit import resume
from tests.training.test_fit import BAD, GOOD

TEXTS = [f"{first} {second} story" for words in (GOOD, BAD) for first in words for second in words[:4]]
LABELS = ["good"] * 32 + ["bad"] * 32
FRAME = {"message": TEXTS, "queue": LABELS}


@pytest.fixture
def settings(tiny_preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return {
        **{"preset": tiny_preset, "precision": "float32", "max_length": 16, "mask_share": 0.0},
        **{"text": "message", "label": "queue", "epochs": 1, "rank": 4, "batch_size": 16},
    }


class Seen(keras.callbacks.Callback):
    """Keep the logs of each epoch; stop the process' run in the second one if asked to."""

    def __init__(self, stop: bool = False) -> None:
        super().__init__()
        self.logs: list[dict[str, Any]] = []
        self.stop = stop

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.logs.append(dict(logs))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.stop and epoch == 1:
            raise KeyboardInterrupt


def test_a_run_on_rows_in_memory_is_complete_and_can_be_moved(settings: dict[str, Any], tmp_path: Path) -> None:
    seen = Seen()
    test = {"message": TEXTS[::3], "queue": LABELS[::3]}
    with pytest.warns(Notice, match="^test: .* rows .* are also training rows"):
        result = kerora.fit(train=pyarrow.table(FRAME), test=test, run="one", callbacks=[seen], **settings)
    assert len(seen.logs) == 1 and "val_macro_f1" in seen.logs[0]
    run = tmp_path / "runs" / "one"
    assert sorted(path.name for path in (run / "data").iterdir()) == ["test.jsonl", "train.jsonl"]
    data = yaml.safe_load((run / "config.yaml").read_text())["data"]
    assert (data["train"], data["test"]) == ("$CONFIG_DIR/data/train.jsonl", "$CONFIG_DIR/data/test.jsonl")
    assert result.run.read_manifest()["data"]["name"] == "data"
    moved = Path(shutil.move(run, tmp_path / "elsewhere"))
    # a folder of the same name in the working directory is not the one that is meant
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("{}\n")
    with pytest.warns(Notice):
        again = kerora.fit(moved / "config.yaml", run="two")
        assert kerora.evaluate(moved).metrics == result.metrics["after"]
    assert again.metrics == result.metrics
    assert not (again.run.path / "data").exists()


def test_the_list_of_bad_rows_names_the_argument(settings: dict[str, Any], tmp_path: Path) -> None:
    rows = {"message": [*TEXTS, None], "queue": [*LABELS, "good"]}
    kerora.load_dataset(train=rows, text="message", label="queue", skip_bad_rows=True, bad_rows="bad.csv")
    assert (tmp_path / "bad.csv").read_text().splitlines()[1].startswith("train (dict),row 65")


def test_a_stopped_run_continues_from_its_own_rows(settings: dict[str, Any]) -> None:
    whole = kerora.fit(train=FRAME, run="whole", **{**settings, "epochs": 2})
    with pytest.raises(Interrupted):
        kerora.fit(train=FRAME, run="stopped", callbacks=[Seen(stop=True)], **{**settings, "epochs": 2})
    found = kerora.fit(resume="runs/stopped")
    assert found.metrics == whole.metrics
    weights = [result.run.adapter_weights.read_bytes() for result in (found, whole)]
    assert weights[0] == weights[1]
    with pytest.raises(ConfigError, match="Leave out: epochs, force"):
        kerora.fit(resume="runs/stopped", epochs=2, force=True)


def test_a_run_can_be_replaced_by_a_fit_on_its_own_rows(settings: dict[str, Any]) -> None:
    first = kerora.fit(train=FRAME, run="one", **settings)
    again = kerora.fit(first.run.config, run="one", force=True)
    assert again.metrics == first.metrics and (again.run.data / "train.jsonl").is_file()
    # other rows replace them
    other = {"message": TEXTS[:8] + TEXTS[-8:], "queue": LABELS[:8] + LABELS[-8:]}
    kerora.fit(train=other, run="one", force=True, **settings)
    assert len((again.run.data / "train.jsonl").read_text().splitlines()) == 16
    assert [path.name for path in again.run.data.iterdir()] == ["train.jsonl"]


def test_settings_come_from_names_dicts_and_objects(settings: dict[str, Any]) -> None:
    parts = {"train": FRAME, "dev": {"message": TEXTS[::2], "queue": LABELS[::2]}}
    config = FitConfig(training=TrainingConfig(epochs=5, patience=7))
    with pytest.warns(Notice):
        result = kerora.fit(config, data=parts, runs_dir="own", **settings)
    kept = yaml.safe_load(result.run.config.read_text())
    assert (kept["training"]["epochs"], kept["training"]["patience"]) == (1, 7)
    assert result.run.path.parent.name == "own" and set(result.metrics["after"]) == {"validation"}


@pytest.mark.parametrize(
    ("config", "settings", "parts"),
    [
        ("rows.csv", {"data.source": "rows.csv"}, ()),
        (Path("rows.csv"), {"data.source": "rows.csv"}, ()),
        (FRAME, {}, ("the first dict holds settings",)),
        ({"targets": ["query"]}, {"lora.targets": ("query",)}, ()),
        (
            {"lora.targets": ["query"], "data.text": ["a", "b"]},
            {"lora.targets": ("query",), "data.text": ("a", "b")},
            (),
        ),
        ({"data": {"train": FRAME, "label": "queue"}}, {"data.label": "queue"}, ("train",)),
        (pyarrow.table(FRAME), {}, ("train",)),
        (TEXTS, {}, ("train",)),
    ],
)
def test_the_first_argument(config: Any, settings: dict[str, Any], parts: tuple[str, ...]) -> None:
    if config is FRAME:
        with pytest.raises(ConfigError, match=parts[0]):
            read_request(config, {}, {})
        return
    found = read_request(config, {}, {})
    assert found.config == resolve(settings) and tuple(found.parts) == parts


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"train": FRAME, "lora_r": 3}, "kerora.fit has no setting 'lora_r'. Here it is 'rank'"),
        ({"train": FRAME, "label": "quee"}, r"^train \(dict\): did not find the column 'quee'.*Did you mean 'queue'"),
        ({"train": FRAME, "validation": 0.2}, "validation must be rows.* A fraction is validation_split=0.2"),
        ({"train": FRAME, "data": FRAME}, "data and train both give the train rows"),
        ({"train": FRAME, "config": FRAME}, "the first dict holds settings. Give the columns 'message', 'queue' with"),
        ({"train": FRAME, "data.label": "x"}, "'data.label' is given twice"),
        ({"train": {"message": TEXTS, "queue": [None, *LABELS[1:]]}}, r"^train \(dict\): 1 row .*: row 1 has no label"),
        (
            {"train": {"message": TEXTS, "queue": [["a"]] * 64}},
            "the rows have the one label 'a'. This task needs at least two labels. Check label=",
        ),
        ({"config": 3}, r"train \(int\) must be a frame"),
    ],
)
def test_faults_are_one_line_and_leave_nothing(
    call: dict[str, Any], message: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(KeroraError, match=message) as caught:
        kerora.fit(**{**settings, **call})
    assert "\n" not in str(caught.value) and "kerora-" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_load_dataset_takes_rows_in_memory() -> None:
    found = kerora.load_dataset(FRAME, text="message", label="queue", test_split=0.25)
    assert found.classes == ("bad", "good") and {split: len(rows) for split, rows in found} == {
        **{"train": 42, "validation": 6, "test": 16},
    }
    assert len(kerora.load_dataset(train=(TEXTS, LABELS), validation=(TEXTS, LABELS))["validation"]) == 64
    with pytest.raises(ConfigError, match="takes settings of the data alone. Leave out: training.epochs"):
        kerora.load_dataset(FRAME, epochs=3)
    with pytest.raises(DataError, match=r"^train \(tuple\): there are 64 texts, but 63 labels"):
        kerora.load_dataset((TEXTS, LABELS[1:]))


def test_resume_of_the_command_line_finds_the_rows(settings: dict[str, Any]) -> None:
    with pytest.raises(Interrupted):
        kerora.fit(train=FRAME, run="stopped", callbacks=[Seen(stop=True)], **{**settings, "epochs": 2})
    assert resume("runs/stopped").metrics["after"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"a": ["x"] * 4, "b": ["u", "v"] * 2}, r"^train \(dict\): did not find a label .* Name it with label=\.$"),
        (["x"] * 4, r"^train \(list\): did not find a label column .* Name it with label=\.$"),
        ({"text": ["x", None], "label": ["u", "v"]}, r"or drop them with skip_bad_rows=True\.$"),
        ({"text": ["x"] * 9, "label": [*"uuuuvvvvw"]}, r"Add rows, give validation=, or set validation_split=0\.$"),
    ],
)  # fmt: skip
def test_messages_name_arguments(rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        kerora.load_dataset(train=rows)
