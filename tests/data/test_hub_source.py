"""Data sets of the Hugging Face hub, from a server on this machine and then from the cache alone."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from kerora.cli.main import run
from kerora.config import DataConfig
from kerora.data.sources import dataset_name, load_dataset
from kerora.errors import DataError
from kerora.notices import Notice
from tests.hub_site import HubSite, point_client_at, serving

ROWS = "".join(json.dumps({"text": f"order {number} is late", "label": "ab"[number % 2]}) + "\n" for number in range(6))
CARD = """---
license: mit
configs:
- config_name: small
  data_files:
  - split: train
    path: small/part-*.jsonl
  - split: unsupervised
    path: small/rest.jsonl
- config_name: default
  data_files:
  - split: train
    path: [data/one.jsonl, data/two.jsonl]
  - split: test
    path: data/held.jsonl
---
# A data set
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[HubSite]]:
    with serving(tmp_path / "uploads") as (handler, address):
        point_client_at(address, tmp_path / "hub", monkeypatch)
        yield handler


def write(folder: Path, *names: str, card: str | None = None) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(ROWS)
    if card is not None:
        (folder / "README.md").write_text(card)
    return folder


def serve(site: type[HubSite], folder: Path) -> None:
    site.repositories["datasets/someone/orders"] = folder


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


def test_from_an_empty_cache_and_then_offline(
    site: type[HubSite], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = write(tmp_path / "served", "data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl")
    write(served, "data/test.jsonl", "picture.png")
    serve(site, served)
    config = DataConfig(source="hf://datasets/someone/orders", validation_split=0.0)
    with pytest.warns(Notice, match="is in its folder data"):
        dataset = load_dataset(config)
    assert {split: len(rows) for split, rows in dataset} == {"train": 12, "test": 6}
    assert dataset.name == dataset_name(config) == "orders"
    assert "picture.png" not in site.requested and "data/test.jsonl" in site.requested
    go_offline(monkeypatch)
    site.requested.clear()
    with pytest.warns(Notice, match=r"cannot be reached \(connection refused\), so .* is read from the cache"):
        assert load_dataset(config).fingerprints() == dataset.fingerprints()
    assert not site.requested


def test_the_card_names_the_parts(site: type[HubSite], tmp_path: Path) -> None:
    names = ("data/one.jsonl", "data/two.jsonl", "data/held.jsonl", "small/part-1.jsonl", "small/rest.jsonl")
    serve(site, write(tmp_path / "served", *names, card=CARD))
    config = DataConfig(source="hf://datasets/someone/orders", validation_split=0.0)
    with pytest.warns(Notice, match="the configuration default is read. --config-name chooses another: small"):
        dataset = load_dataset(config)
    assert {split: len(rows) for split, rows in dataset} == {"train": 12, "test": 6}
    assert not any(name.startswith("small/") for name in site.requested)
    with pytest.warns(Notice, match="the parts unsupervised are left out"):
        small = load_dataset(DataConfig(source=config.source, config_name="small", validation_split=0.0))
    assert {split: len(rows) for split, rows in small} == {"train": 6}
    with pytest.raises(DataError, match=r"no configuration 'smal'\. Did you mean 'small'\? It has: small, default\."):
        load_dataset(DataConfig(source=config.source, config_name="smal"))


def test_a_file_a_folder_and_a_revision(site: type[HubSite], tmp_path: Path) -> None:
    serve(site, write(tmp_path / "served", "data/train.jsonl", "more/train.jsonl", "more/test.jsonl"))
    site.revisions["v1.0"] = site.revisions["refs/pr/1"] = "1" * 40

    def parts(rest: str) -> dict[str, int]:
        dataset = load_dataset(DataConfig(source=f"hf://datasets/someone/orders{rest}", validation_split=0.0))
        return {split: len(rows) for split, rows in dataset}

    assert parts("/data/train.jsonl") == {"train": 6}
    assert parts("@v1.0/more") == {"train": 6, "test": 6}
    assert (tmp_path / "hub" / "datasets--someone--orders" / "snapshots" / ("1" * 40)).is_dir()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hf://datasets/someone/else", "there is no repository someone/else, or it is private. Check the name"),
        ("hf://datasets/someone/gated", "someone/gated is gated. Accept its terms on its page, then log in with"),
        ("hf://datasets/someone/orders@v9", "someone/orders has no revision 'v9'"),
        ("hf://datasets/someone/orders/nothing.csv", "has no file or folder 'nothing.csv'"),
        ("hf://datasets/someone/orders/../x", "have the form hf://datasets/organisation/name"),
        ("hf://datasets/", "have the form hf://datasets/organisation/name"),
        ("hf://datasets/some one/orders", "is no name of a repository"),
        ("hf://someone/tiny", "hf://someone/tiny is a model. A data set has the form hf://datasets/"),
    ],
)
def test_what_is_refused_is_one_line(
    spec: str, message: str, site: type[HubSite], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(site, write(tmp_path / "served", "train.jsonl"))
    site.gated.add("datasets/someone/gated")
    assert run(["data", "show", spec]) == 2
    error = capsys.readouterr().err
    # the client of the hub shows a bar of its own above the line
    assert message in error.splitlines()[-1] and error.count("Error: ") == 1


def test_no_network_and_an_empty_cache(site: type[HubSite], monkeypatch: pytest.MonkeyPatch) -> None:
    go_offline(monkeypatch)
    with pytest.raises(DataError, match="is not in the cache .* and http://127.0.0.1:9 cannot be reached") as caught:
        load_dataset("hf://datasets/someone/orders")
    assert "\n" not in str(caught.value)


def test_an_interrupted_download_is_not_taken_offline(
    site: type[HubSite], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(site, write(tmp_path / "served", "train.jsonl", "test.jsonl"))
    load_dataset("hf://datasets/someone/orders")
    next((tmp_path / "hub").rglob("snapshots/*/test.jsonl")).unlink()
    go_offline(monkeypatch)
    with pytest.raises(DataError, match="is not in the cache"):
        load_dataset("hf://datasets/someone/orders")


def test_a_clone_on_the_disk(tmp_path: Path) -> None:
    names = ("data/one.jsonl", "data/two.jsonl", "data/held.jsonl", "small/part-1.jsonl", "small/rest.jsonl")
    clone = write(tmp_path / "clone", *names, card=CARD)
    with pytest.warns(Notice, match="the configuration default is read"):
        dataset = load_dataset(DataConfig(source=str(clone), validation_split=0.0))
    assert {split: len(rows) for split, rows in dataset} == {"train": 12, "test": 6}
    (clone / "data" / "held.jsonl").unlink()
    with pytest.raises(DataError, match=r"names data/held\.jsonl as the test part, but no file has such a name"):
        load_dataset(DataConfig(source=str(clone)))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            "configs:\n- config_name: a\n- config_name: b\n",
            "has the configurations a, b. Choose one with --config-name",
        ),
        ("configs: [\n", "is not valid YAML"),
        ("configs:\n- data_files: ../*.jsonl\n", "names '../\\*.jsonl' as data, which is not in its folder"),
        ("configs:\n- data_dir: ../other\n", "names '../other' as data, which is not in its folder"),
        ("configs:\n- data_files: 'x**.jsonl'\n", "names 'x\\*\\*.jsonl': Invalid pattern"),
        ("configs:\n- data_files: [{split: train, path: ''}]\n", "names a part without files"),
        ("configs:\n- data_files: [{split: train, path: 5}]\n", "names 5 as the train part, but no file"),
        ("configs:\n- data_files: /etc/*.jsonl\n", "which is not in its folder"),
        ("configs:\n- data_files: [{split: de, path: x.jsonl}]\n", "names no train, validation or test part, only de"),
        ("configs:\n- data_files: '*.png'\n", "holds x.png, which is no table"),
    ],
)
def test_cards_that_cannot_be_used(block: str, message: str, tmp_path: Path) -> None:
    clone = write(tmp_path / "clone", "train.jsonl", "x.png", card=f"---\n{block}---\n")
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(DataConfig(source=str(clone)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "card", ["# Only a text\n", "---\nlicense: mit\n---\n", "---\n- a\n---\n", "---\nconfigs: x\n---\n"]
)
def test_cards_without_configurations_change_nothing(card: str, tmp_path: Path) -> None:
    assert len(load_dataset(str(write(tmp_path / "clone", "train.jsonl", card=card)))["train"]) > 0


def test_a_text_and_a_folder_in_a_card(tmp_path: Path) -> None:
    card = "---\nconfigs:\n- config_name: a\n  data_dir: inner\n- config_name: b\n  data_files: x/*.jsonl\n---\n"
    clone = write(tmp_path / "clone", "inner/train.jsonl", "inner/test.jsonl", "x/1.jsonl", "x/2.jsonl", card=card)

    def parts(name: str) -> dict[str, int]:
        dataset = load_dataset(DataConfig(source=str(clone), config_name=name, validation_split=0.0))
        return {split: len(rows) for split, rows in dataset}

    assert parts("a") == {"train": 6, "test": 6} and parts("b") == {"train": 12}


@pytest.mark.parametrize("source", ["tickets", "rows.jsonl"])
def test_a_configuration_of_what_has_none(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path, "rows.jsonl"))
    with pytest.raises(DataError, match=r"^--config-name x chooses a part of a folder or of an hf:// data set"):
        load_dataset(DataConfig(source=source, config_name="x"))
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder", "train.jsonl")
    with pytest.raises(DataError, match=r"has no configuration 'x'\. .*README\.md describes none"):
        load_dataset(DataConfig(source="folder", config_name="x"))
