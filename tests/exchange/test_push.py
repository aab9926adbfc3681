"""Uploads to the Hugging Face hub: what is shown, sent and refused, with a server on this machine."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kerora.runfolder import RunFolder
from kerora.version import __version__
from tests.exchange.conftest import Kerora
from tests.hub_site import COMMIT, HubSite, point_client_at, serving
from tests.training.test_fit import write_rows

TOKEN = "hf_secretsecretsecret"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_preset: Path) -> Path:
    from kerora.cli.main import run

    folder = tmp_path_factory.mktemp("push")
    rows = write_rows(folder / "rows.jsonl", rows=40)
    sizes = ("--max-length", "24", "--epochs", "1", "--test-split", "0.2", "--precision", "float32", "--quiet")
    arguments = ["fit", "--preset", str(tiny_preset), "--data", str(rows), "--run", str(folder / "run"), *sizes]
    assert run(arguments) == 0
    return folder / "run"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[HubSite]]:
    with serving(tmp_path / "uploads") as (handler, address):
        point_client_at(address, tmp_path / "hub", monkeypatch)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        handler.token = TOKEN
        yield handler


def push(kerora: Kerora, run: Path, *more: object) -> Any:
    return kerora("export", run, "--format", "kerora", "--push", "me/tickets", *more)


def test_a_dry_run_shows_all_and_sends_nothing(trained: Path, site: type[HubSite], kerora: Kerora) -> None:
    answer = push(kerora, trained, "--dry-run")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert "Target: me/tickets (new, private)" in lines and lines[-1] == "Dry run: nothing was uploaded."
    shown = [line.split() for line in lines if line.startswith("  new ")]
    assert ["new", "README.md"] in [words[:2] for words in shown]
    assert all(words[-1] in ("B", "kB", "MB") for words in shown)
    assert site.posted == [] and TOKEN not in answer.out + answer.err


def test_a_new_repository(trained: Path, site: type[HubSite], kerora: Kerora, tmp_path: Path) -> None:
    answer = push(kerora, trained, "--output", tmp_path / "kept")
    assert answer.code == 0, answer.err
    (_, created), (_, commit) = site.posted
    assert created["name"] == "tickets" and site.created == {"models/me/tickets": True}
    header = commit[0]["value"]
    assert header["summary"] == f"Upload a model in the format kerora with Kerora {__version__}"
    kinds = {line["value"]["path"]: line["key"] for line in commit[1:]}
    local = {
        path.relative_to(tmp_path / "kept").as_posix() for path in (tmp_path / "kept").rglob("*") if path.is_file()
    }
    assert set(kinds) == local and kinds["adapter/adapter_model.safetensors"] == "lfsFile"
    served = site.repositories["models/me/tickets"]
    for name in local:
        assert (served / name).read_bytes() == (tmp_path / "kept" / name).read_bytes()
    assert "/me/tickets/commit/" in answer.out.splitlines()[-1]
    manifest = json.loads((served / "run.json").read_text())
    assert "argv" not in manifest and "working_directory" not in manifest and "directory" not in manifest["preset"]


def test_files_that_are_there_are_never_replaced_in_silence(
    trained: Path, site: type[HubSite], kerora: Kerora, tmp_path: Path
) -> None:
    assert push(kerora, trained, "--output", tmp_path / "kept").code == 0
    served = site.repositories["models/me/tickets"]
    (served / "history.csv").write_text("mine")
    (served / "notes.txt").write_text("mine")
    site.posted.clear()
    answer = push(kerora, trained)
    assert answer.code == 2
    assert "me/tickets has other versions of history.csv. Nothing was uploaded. Add --force" in answer.err
    assert "  changed history.csv" in answer.out and "  same    adapter/adapter_model.safetensors" in answer.out
    assert "Target: me/tickets (exists and stays private)" in answer.out
    assert "Other files of the repository stay: notes.txt" in answer.out and site.posted == []
    assert push(kerora, trained, "--force").code == 0
    ((_, commit),) = site.posted
    assert [line["value"]["path"] for line in commit[1:]] == ["history.csv"]
    assert commit[0]["value"]["parentCommit"] == COMMIT
    assert base64.b64decode(commit[1]["value"]["content"]) == (trained / "history.csv").read_bytes()
    assert (served / "notes.txt").read_text() == "mine"
    site.posted.clear()
    answer = push(kerora, trained)
    assert answer.code == 0 and answer.out.splitlines()[-1].endswith("/me/tickets") and site.posted == []


def test_public(trained: Path, site: type[HubSite], kerora: Kerora) -> None:
    answer = push(kerora, trained, "--public")
    assert answer.code == 0 and "Target: me/tickets (new, public)" in answer.out
    assert site.created == {"models/me/tickets": False}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--push", "tickets"], "--push needs organisation/name of a model repository. Received: 'tickets'"),
        (["--push", "hf://datasets/me/x"], "--push needs organisation/name"),
        (["--push", "me/x@main"], "--push needs organisation/name"),
        (["--push", "me/a b"], "--push needs organisation/name"),
        ([], "Name the output folder with --output, or a repository with --push."),
        (["--output", "x", "--dry-run"], "--force are options of an upload. Name the repository with --push"),
        (["--output", "x", "--public"], "--force are options of an upload. Name the repository with --push"),
    ],
)
def test_arguments_that_do_not_fit(
    arguments: list[str], message: str, trained: Path, site: type[HubSite], kerora: Kerora
) -> None:
    assert message in kerora("export", trained, "--format", "kerora", *arguments).error


def test_access_is_checked_before_the_export(
    trained: Path, site: type[HubSite], kerora: Kerora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    error = push(kerora, trained, "--output", tmp_path / "kept").error
    assert "The Hugging Face hub refuses me/tickets: the token does not allow access" in error
    monkeypatch.delenv("HF_TOKEN")
    error = push(kerora, trained, "--output", tmp_path / "kept").error
    assert "an upload needs a token with the right to write. Log in with `hf auth login` or HF_TOKEN." in error
    assert not (tmp_path / "kept").exists()


def test_no_network(trained: Path, site: type[HubSite], kerora: Kerora, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    error = push(kerora, trained).error
    assert "http://127.0.0.1:9 cannot be reached (connection refused), so me/tickets was not pushed." in error


def test_another_upload_at_the_same_moment(
    trained: Path, site: type[HubSite], kerora: Kerora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "commit", lambda self, name, lines: self.refuse(412))
    assert "me/tickets changed at this moment. Run the command again" in push(kerora, trained).err


def test_the_card_names_licence_and_data(trained: Path, kerora: Kerora, tmp_path: Path, tiny_preset: Path) -> None:
    import shutil

    base = shutil.copytree(tiny_preset, tmp_path / "base")
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    run = shutil.copytree(trained, tmp_path / "run")
    config = RunFolder(run).config
    settings = yaml.safe_load(config.read_text())
    settings["data"]["source"] = "hf://datasets/someone/orders@v1/data"
    config.write_text(yaml.safe_dump(settings))
    answer = kerora("export", run, "--format", "keras", "--output", tmp_path / "out", "--preset", base)
    assert answer.code == 0, answer.err
    card = (tmp_path / "out" / "README.md").read_text()
    block = yaml.safe_load(card.split("---")[1])
    assert block["license"] == "apache-2.0" and block["datasets"] == ["someone/orders"]
    assert block["base_model_relation"] == "finetune" and block["tags"][:2] == ["kerora", "lora"]
    assert "The card of the base model names the licence apache-2.0" in card
