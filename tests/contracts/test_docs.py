"""The documentation is whole without its builder: every page is listed, every link leads somewhere."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import kerora
from kerora import callbacks
from kerora.version import __version__
from tests.contracts.pages import DOCS, PAGES, ROOT, headings, links

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SITE: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
REPOSITORY = PROJECT["project"]["urls"]["Repository"]
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
LONGEST_README = 12 * 1024
LARGEST_PICTURE = 150 * 1024
# shown on a package index, where a relative link leads nowhere
SHOWN_ELSEWHERE = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md")


def listed(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from listed(value)


def file_of(url: str) -> str | None:
    """Return the path in the repository that an absolute link names; None where it leads elsewhere."""
    raw = REPOSITORY.replace("github.com", "raw.githubusercontent.com")
    found = re.match(rf"(?:{re.escape(REPOSITORY)}/(?:blob|tree)/main|{re.escape(raw)}/main)/([^#]*)", url)
    return found[1] if found else None


def test_every_page_is_in_the_navigation_once() -> None:
    pages = list(listed(SITE["nav"]))
    assert len(set(pages)) == len(pages)
    notebooks = {path.relative_to(DOCS).as_posix() for path in NOTEBOOKS}
    assert set(pages) == {path.name for path in DOCS.glob("*.md")} | notebooks and notebooks


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_hold_no_outputs_and_use_public_names(path: Path) -> None:
    """`make docs` runs them; here only what a reader of the file sees."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert cells[0]["cell_type"] == "markdown" and cells[0]["source"][0].startswith("# ")
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    tree = ast.parse("\n".join("".join(cell["source"]) for cell in code))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "kerora"
    }
    assert used and used <= {*kerora.__all__, "callbacks"}


def test_the_site_needs_no_network() -> None:
    assert SITE["strict"] is True and SITE["theme"]["font"] is False
    for picture in (DOCS / "images").glob("*.svg"):
        assert not re.search(r"@import|@font-face|href=\"http|url\(http", picture.read_text(encoding="utf-8")), picture


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_resolve(path: Path) -> None:
    for target in links(path):
        if target.startswith("http"):
            name = file_of(target)
            assert name is None or (ROOT / name).exists(), target
            continue
        name, _, mark = target.partition("#")
        other = (path.parent / name) if name else path
        assert other.is_file(), target
        assert not mark or mark in headings(other.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("path", SHOWN_ELSEWHERE, ids=lambda path: path.name)
def test_links_of_pages_that_are_shown_elsewhere_are_absolute(path: Path) -> None:
    assert [target for target in links(path) if not target.startswith("https://")] == []


def test_the_readme_is_short_and_pictures_are_small() -> None:
    assert (ROOT / "README.md").stat().st_size <= LONGEST_README
    pictures = list((DOCS / "images").iterdir())
    assert {picture.name for picture in pictures} >= {"report.png", "fit.svg", "architecture.svg"}
    assert all(picture.stat().st_size <= LARGEST_PICTURE for picture in pictures)


def test_every_picture_is_shown() -> None:
    shown = {Path(target).name for path in PAGES for target in links(path)}
    assert {picture.name for picture in (DOCS / "images").iterdir()} <= shown


def test_the_api_page_holds_every_public_name() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^::: (kerora\.[\w.]+)$", page, re.MULTILINE))
    modules = {name for name in documented if name.startswith("kerora.settings.")}
    homes = {name: home.partition(":") for name, home in kerora._HOMES.items()}
    wanted = {
        f"{module}.{own_name or name}"
        for name, (module, _, own_name) in homes.items()
        if not module.startswith("kerora.settings.")
    }
    wanted |= {f"{getattr(callbacks, name).__module__}.{name}" for name in callbacks.__all__}
    assert documented - modules == wanted
    assert modules >= {module for module, _, _ in homes.values() if module.startswith("kerora.settings.")}


def test_the_style_guide_shows_ten_pairs() -> None:
    table = (DOCS / "STYLE.md").read_text(encoding="utf-8").split("| before | after |\n|---|---|\n")[1]
    assert len(table.strip().splitlines()) == 10


def test_the_citation_names_this_version_and_repository() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__ and citation["repository-code"] == REPOSITORY
    assert citation["license"] == PROJECT["project"]["license"]
    assert SITE["repo_url"] == REPOSITORY


def test_the_addresses_of_the_project_lead_to_files() -> None:
    for address in PROJECT["project"]["urls"].values():
        assert address.startswith(REPOSITORY)
        name = file_of(address)
        assert name is None or (ROOT / name).is_file(), address
