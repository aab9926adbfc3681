"""Pages are files of their own: values are escaped whatever they hold, links lead to the report."""

import base64
import hashlib
import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import jinja2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.evaluation.html import curve_figures, link, mapping, render_page
from kerora.evaluation.report_files import check_output
from kerora.runs.results import read_results
from kerora.tasks.language import page as language_page
from tests.evaluation.synthetic_runs import make_language_run

EVIL = "</script><script>alert(1)</script>"
ODD = [EVIL, '" onmouseover="x', "{{ 7 * 7 }}", "=cmd|' /C calc'!A0", "\u202eevil", "👩‍🚀 & <b>"]


def page_of(path: Path, **changes: Any) -> str:
    run = make_language_run(path)
    run.update_manifest(**changes)
    results = read_results(run)
    return language_page.render(results, None, "1.2.3")


@pytest.mark.usefixtures("unrendered_figures")
@pytest.mark.parametrize("text", ODD)
def test_every_value_of_the_manifest_stays_text(text: str, tmp_path: Path) -> None:
    content = page_of(
        tmp_path / "run",
        device=text,
        argv=["kerora", "fit", "--data", text],
        preset={"name": text},
        versions={text: text},
        data={"name": text, "splits": {text: {"rows": 3, "sha256": text}}},
    )
    assert content.count(html.escape(text, quote=False).replace('"', "&#34;").replace("'", "&#39;")) >= 6
    assert len(re.findall("<script", content)) == 1 and EVIL not in content
    assert "{{ 7 * 7 }}" not in content or text == "{{ 7 * 7 }}"


@pytest.mark.usefixtures("unrendered_figures")
@pytest.mark.parametrize("value", [None, 3, "text", [], {"splits": 7}, {"splits": {"test": None}}])
@pytest.mark.parametrize("key", ["data", "versions", "parameters", "preset", "base_weights", "argv"])
def test_a_manifest_with_odd_values_still_makes_a_page(key: str, value: Any, tmp_path: Path) -> None:
    content = page_of(tmp_path / "run", **{key: value})
    assert content.rstrip().endswith("</html>") and "Perplexity" in content


def test_the_only_script_is_named_by_its_hash_and_the_page_is_known_again(tmp_path: Path) -> None:
    content = page_of(tmp_path / "run")
    (tmp_path / "page.html").write_text(content, encoding="utf-8")
    check_output(tmp_path / "page.html")
    script = re.findall(r"<script>(.*?)</script>", content, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert len(script) == 1 and f"'sha256-{digest}'" in html.unescape(content)


def test_settings_that_differ_from_the_defaults_stand_out(tmp_path: Path) -> None:
    run = make_language_run(tmp_path / "run", lora={"rank": 3}, training={"epochs": 2})
    content = language_page.render(read_results(run), None, "1")
    changed = set(re.findall(r'<div class="changed"><dt>([^<]+)</dt>', content))
    assert "rank" in changed and not {"alpha", "run"} & changed


def test_an_unknown_name_in_a_template_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render_page("comparison.html", "1", "kerora.tasks.language")


def test_curves_need_a_history(tmp_path: Path) -> None:
    run = make_language_run(tmp_path / "run")
    figures = curve_figures(read_results(run), ("loss", "perplexity"))
    assert [figure.count("<svg") for figure in figures] == [1, 1]
    assert "Perplexity of train and validation by epoch" in figures[1]
    run.history.unlink()
    assert curve_figures(read_results(run), ("loss",)) == []


@pytest.mark.parametrize("value", [None, 3, "text", [1], np.zeros(2)])
def test_what_is_no_mapping_is_an_empty_one(value: Any) -> None:
    assert mapping(value) == {} and mapping({"a": 1}) == {"a": 1}


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=3), st.lists(NAMES, max_size=2))
def test_a_link_leads_from_the_page_to_the_report_whatever_the_folders_are_called(
    report: list[str], page: list[str]
) -> None:
    parts = [part for part in report if part not in (".", "..")]
    folder = [part for part in page if part not in (".", "..")]
    target = Path("/nowhere", *parts, "report.html")
    found = link(target, Path("/nowhere", *folder, "page.html"))
    assert urlsplit(found).scheme == "" and not re.search(r"[\s<>\"']", found)
    base = "file://" + Path("/nowhere", *["x"] * len(folder), "page.html").as_posix()
    if not folder or (parts and folder[0] != parts[0]):
        assert unquote(urlsplit(urljoin(base, found)).path) == target.as_posix()
