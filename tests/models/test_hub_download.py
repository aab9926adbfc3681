"""Downloads through both hubs' own clients, from small servers on this machine that speak their protocols."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from huggingface_hub import constants
from kagglesdk import kaggle_env

from kerora.cli import main
from kerora.errors import PresetError
from kerora.models.presets import find_preset
from kerora.runfolder import RunFolder
from tests.hub_site import point_client_at, serving
from tests.old_presets import unpack, work_on
from tests.tiny import tiny_huggingface
from tests.training.test_fit import write_rows

NAME = "distil_bert_base_en_uncased"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Site(BaseHTTPRequestHandler):
    """Serves the files of `root`; `requested` lists what was asked for, `model` is the only one that Kaggle knows."""

    root: Path
    requested: list[str]
    model: tuple[str, str, int]

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert (body["ownerSlug"], body["instanceSlug"], body["versionNumber"]) == self.model
        self.send_file(body["path"])

    def answer(self) -> None:
        path = unquote(self.path).split("?")[0]
        listing = {"sha": COMMIT, "siblings": [{"rfilename": name} for name in self.names()]}
        if "/resolve/" in path:
            self.send_file(path.split("/resolve/")[1].partition("/")[2])
        elif path.startswith("/api/models/someone/tiny/tree/"):
            entries = [
                {"type": "file", "path": name, "oid": "0" * 40, "size": self.size(name)} for name in self.names()
            ]
            self.send(json.dumps(entries).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/api/models/someone/tiny"):
            self.send(json.dumps({"id": "someone/tiny", **listing}).encode(), {"Content-Type": "application/json"})
        elif path == "/":
            self.send(b"", {})
        else:
            self.send(b"{}", {"X-Error-Code": "RepoNotFound"}, 404)

    def names(self) -> list[str]:
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())

    def size(self, name: str) -> int:
        return (self.root / name).stat().st_size

    def send_file(self, name: str) -> None:
        self.requested.append(name)
        path = self.root / name
        if not path.is_file():
            return self.send(b"{}", {"X-Error-Code": "EntryNotFound"}, 404)
        content = path.read_bytes()
        etag = hashlib.sha1(content).hexdigest()
        self.send(content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Content-Type": "application/octet-stream"})

    def send(self, content: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Site]]:
    handler = type("Handler", (Site,), {"root": tmp_path / "served", "requested": [], "model": ("keras", NAME, 3)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, address)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield handler
    server.shutdown()


def serve(site: type[Site], model: Path) -> None:
    site.root = model


def test_a_name_is_downloaded_once(site: type[Site], tiny_preset: Path) -> None:
    serve(site, tiny_preset)
    preset = find_preset(NAME)
    assert preset.fingerprint == find_preset(str(tiny_preset)).fingerprint
    assert set(site.requested) == {
        "config.json",
        "tokenizer.json",
        "model.weights.h5",
        "assets/tokenizer/vocabulary.txt",
        "task.json",
    }
    site.requested.clear()
    assert find_preset(NAME).directory == preset.directory
    assert not site.requested


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("writer", "folder"), [("keras_nlp-0.7.0", "distil_bert"), ("keras_nlp-0.12.1", "distil_bert")]
)
def test_an_old_preset_from_an_empty_cache_to_a_report(
    writer: str,
    folder: str,
    site: type[Site],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    serve(site, unpack(writer, folder, tmp_path / "served"))
    rows = write_rows(tmp_path / "rows.jsonl", rows=24)
    assert not (tmp_path / "kagglehub").exists()
    assert work_on(main.run, NAME, rows, tmp_path / "first", "--json") == 0
    assert json.loads(capsys.readouterr().out)["run"] == str(tmp_path / "first")
    assert "assets/tokenizer/vocabulary.txt" in site.requested
    go_offline(monkeypatch)
    site.requested.clear()
    assert work_on(main.run, NAME, rows, tmp_path / "second") == 0
    assert not site.requested
    runs = [RunFolder(tmp_path / name) for name in ("first", "second")]
    for run in runs:
        manifest = run.read_manifest()
        assert manifest["state"] == "finished" and manifest["preset"]["name"] == NAME
        assert main.run(["report", str(run.path)]) == 0
        assert (run.report / "report.html").is_file()
    first, second = (run.metrics.read_text() for run in runs)
    assert first == second


@pytest.mark.parametrize(
    ("writer", "folder", "vocabulary"),
    [
        ("keras_nlp-0.12.1", "gpt2", {"vocabulary.json", "merges.txt"}),
        ("keras_hub-0.25.1", "gpt2_shards", {"vocabulary.json", "merges.txt"}),
        ("keras_nlp-0.12.1", "llama3", {"vocabulary.json", "merges.txt"}),
        ("keras_hub-0.17.0", "gemma", {"vocabulary.spm"}),
        ("keras_nlp-0.9.3", "electra", {"vocabulary.txt"}),
    ],
)
def test_every_kind_of_vocabulary_and_weights_is_fetched(
    writer: str, folder: str, vocabulary: set[str], site: type[Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = unpack(writer, folder, tmp_path / "served")
    serve(site, served)
    preset = find_preset(NAME)
    assert preset.fingerprint == find_preset(str(served)).fingerprint
    assert {name.rpartition("/")[2] for name in site.requested if name.startswith("assets/")} == vocabulary
    go_offline(monkeypatch)
    assert find_preset(NAME).directory == preset.directory
    preset.load_backbone()


def test_a_shard_that_is_not_complete(site: type[Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(site, unpack("keras_hub-0.25.1", "gpt2_shards", tmp_path / "served"))
    directory = find_preset(NAME).directory
    next(directory.parent.glob(".complete/3/model_00001*")).unlink()
    go_offline(monkeypatch)
    with pytest.raises(PresetError, match="is not in the cache"):
        find_preset(NAME)


def test_what_kerora_exported_comes_along(site: type[Site], tmp_path: Path) -> None:
    served = unpack("keras_nlp-0.12.1", "distil_bert", tmp_path / "served")
    (served / "labels.json").write_text('{"classes": ["a", "b", "c"]}')
    (served / "kerora.json").write_text('{"activation": "gelu_tanh", "epsilon": 1e-05}')
    serve(site, served)
    site.model = ("someone", "mine", 1)
    preset = find_preset("kaggle://someone/bert/keras/mine/1")
    assert preset.class_names == ("a", "b", "c")
    assert preset.fingerprint == find_preset(str(served)).fingerprint
    assert find_preset("hf://someone/tiny").fingerprint == preset.fingerprint


def test_shards_from_hugging_face(site: type[Site], tmp_path: Path) -> None:
    served = unpack("keras_hub-0.25.1", "gpt2_shards", tmp_path / "served")
    serve(site, served)
    preset = find_preset("hf://someone/tiny")
    assert preset.fingerprint == find_preset(str(served)).fingerprint
    site.requested.clear()
    assert find_preset("hf://someone/tiny").directory == preset.directory
    assert not site.requested


def test_kaggle_lacks_a_file(site: type[Site], tmp_path: Path) -> None:
    serve(site, tmp_path / "empty")
    with pytest.raises(PresetError, match=f"Kaggle refuses the download of '{NAME}': 404") as caught:
        find_preset(NAME)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_a_hugging_face_model_is_downloaded_once(weights: str, site: type[Site], tmp_path: Path) -> None:
    model = tiny_huggingface("bert", tmp_path / "served", ["a", "b"])
    (model / "training_args.bin").write_bytes(b"not wanted")
    if weights == "pytorch_model.bin":
        import torch
        from safetensors.torch import load_file

        torch.save(load_file(model / "model.safetensors"), model / weights)
        (model / "model.safetensors").unlink()
    preset = find_preset("hf://someone/tiny")
    assert preset.class_names == ("a", "b")
    assert preset.fingerprint == find_preset(str(model)).fingerprint
    assert weights in site.requested and "training_args.bin" not in site.requested
    site.requested.clear()
    assert find_preset("hf://someone/tiny").directory == preset.directory
    assert not site.requested


def test_a_revision_of_a_hugging_face_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_huggingface("bert", tmp_path / "served", ["a", "b"])
    with serving(tmp_path / "uploads") as (hub, address):
        point_client_at(address, tmp_path / "hub", monkeypatch)
        hub.repositories["models/someone/tiny"] = model
        hub.revisions["v1"] = "1" * 40
        preset = find_preset("hf://someone/tiny@v1")
        assert (preset.name, preset.location, preset.revision) == ("tiny", "someone/tiny", "v1")
        assert preset.directory.name == "1" * 40 and preset.fingerprint == find_preset(str(model)).fingerprint
        for wrong, message in {
            "hf://someone/tiny@v9": "someone/tiny has no revision 'v9'",
            "hf://someone/tiny/file": "have the form hf://organisation/name",
            "hf://datasets/someone/tiny": "have the form hf://organisation/name",
        }.items():
            with pytest.raises(PresetError, match=message):
                find_preset(wrong)
    assert find_preset("hf://someone/tiny@v1").fingerprint == preset.fingerprint


def test_hugging_face_knows_no_such_model(site: type[Site], tmp_path: Path) -> None:
    serve(site, tmp_path)
    with pytest.raises(PresetError, match="hub refuses the download of 'hf://someone/else'") as caught:
        find_preset("hf://someone/else")
    assert "\n" not in str(caught.value)
