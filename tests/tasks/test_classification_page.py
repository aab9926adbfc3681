"""The page: complete, escaped, self-contained, usable without a mouse."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kerora.runs.results import read_results
from kerora.tasks.classification.page import MOST_MISTAKES, render, render_comparison
from kerora.tasks.classification.results import compare
from tests.evaluation.synthetic_runs import SIX, TWENTY, TWO, make_run

pytestmark = pytest.mark.usefixtures("quick_figures")
EVIL = "<script>alert(1)</script>"
VOID = {"meta", "link", "br", "input", "path", "use", "rect"}


class Page(HTMLParser):
    """Elements of a page with their attributes, its text, and whether every element is closed."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def report(path: Path, split: str | None = None, **options) -> tuple[str, Page]:
    results = read_results(make_run(path, **options))
    content = render(results, results.split(split), "1.2.3")
    return content, Page(content)


def assert_self_contained(content: str, page: Page) -> None:
    assert "http://" not in content
    assert "https://" not in content
    for tag, attributes in page.elements:
        assert tag not in ("img", "iframe", "object", "embed", "base", "audio", "video")
        for name in ("src", "href", "xlink:href", "action", "data"):
            value = attributes.get(name) or ""
            assert value.startswith(("#", "data:,")) or value == "" or (tag == "a" and value.endswith("report.html"))
    assert not re.search(r"url\((?!#)|@import", content)


def assert_accessible(page: Page) -> None:
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"] for link in page.all("a") if link["href"].startswith("#")} <= {f"#{key}" for key in ids}
    boxes = [attributes for _, attributes in page.elements if "scroll" in (attributes.get("class") or "").split()]
    assert boxes
    assert all(box["tabindex"] == "0" and box["aria-label"] and box["role"] == "region" for box in boxes)
    assert [tag for tag, _ in page.elements].count("h1") == 1
    assert page.all("html")[0]["lang"] == "en"


@pytest.mark.parametrize("classes", [TWO, SIX, TWENTY])
def test_a_report_is_complete_self_contained_and_accessible(tmp_path: Path, classes: tuple[str, ...]) -> None:
    content, page = report(tmp_path / "run", classes=classes)
    assert_self_contained(content, page)
    assert_accessible(page)
    titles = "Results on test,Before and after training,Loss and accuracy by epoch,Confusion matrix,Each class"
    for part in (*titles.split(","), "Calibration", "Most confident mistakes", "Settings", "Provenance", "1.2.3"):
        assert part in page.text
    for part in ("kerora fit --data tickets --preset distil_bert_base_en_uncased", "cd" * 32, "739,586", "3.15.1"):
        assert part in page.text
    # two curves; for each of two splits ROC, precision and recall, calibration, coverage, lengths
    assert len(page.all("svg")) == 12
    assert "ROC, precision and recall" in page.text and "Errors by text length" in page.text
    assert "The same for validation" in page.text


def test_line_breaks_of_web_pages_are_not_shown_as_text(tmp_path: Path) -> None:
    content, page = report(tmp_path / "run", texts=("one<br /><br />two", "three <BR> four < br"), rows=60)
    assert "<br" not in page.text.lower() and "one" in page.text and "two" in page.text
    assert "< br" in page.text, "what is no tag stays"
    assert "<br" not in content.lower() and "&lt;br" not in content.lower()


@pytest.mark.parametrize(("given", "marked"), [([], 0), (["lora.rank", "training.epochs"], 2), (None, 0)])
def test_only_settings_that_the_user_changed_are_marked(tmp_path: Path, given: list[str] | None, marked: int) -> None:
    run = make_run(
        tmp_path / "run", TWO, training={"learning_rate": 0.003, "epochs": 3}, model={"precision": "float32"}
    )
    if given is not None:
        run.update_manifest(changed_settings=given)
    results = read_results(run)
    assert render(results, results.split(), "1").count('<div class="changed">') == marked


def test_numbers_are_those_of_the_run(tmp_path: Path) -> None:
    results = read_results(make_run(tmp_path / "run", SIX, rows=150))
    split = results.split()
    page = Page(render(results, split, "1"))
    assert f"Accuracy {split.metrics['accuracy']:.3f} 95 % interval" in page.text
    assert f"{split.metrics['roc_auc']:.3f}" in page.text
    for name, values in split.metrics["per_class"].items():
        assert f"{name} {values['precision']:.4f} {values['recall']:.4f} {values['f1']:.4f}" in page.text
    before, after = results.before["validation"]["macro_f1"], results.after["validation"]["macro_f1"]
    assert f"Macro F1 {before:.4f} {after:.4f} {after - before:+.4f}" in page.text


def test_texts_and_names_stay_text(tmp_path: Path) -> None:
    classes = (EVIL, '"><img src=x onerror=alert(1)>', "plain & simple")
    content, page = report(tmp_path / "run", classes=classes, texts=(EVIL, "{{ 7 * 7 }}", "]]> <!-- &amp;"), rows=60)
    assert EVIL not in content
    assert not page.all("img")
    assert len(page.all("script")) == 1
    assert page.text.count(EVIL) > 10
    assert "{{ 7 * 7 }}" in page.text
    assert "]]> <!-- &amp;" in page.text
    assert classes[1] in {cell.get("title") for cell in page.all("th")}
    assert_accessible(page)


def test_names_of_runs_and_manifest_values_stay_text(tmp_path: Path) -> None:
    run = make_run(tmp_path / "<b>run", TWO, splits=("a'b", "validation"))
    run.update_manifest(argv=["kerora", EVIL], versions={EVIL: EVIL}, preset={"name": EVIL}, state=EVIL)
    run.config.write_text(f"lora:\n  rank: '{EVIL}'\n'{EVIL}': 1\n", encoding="utf-8")
    results = read_results(run)
    content = render(results, results.split(), "1")
    assert EVIL not in content
    assert "<b>run" not in content
    assert_accessible(Page(content))


def test_foreign_scripts_are_kept_and_isolated(tmp_path: Path) -> None:
    classes = ("שלום", "日本語", "🎉")
    _, page = report(tmp_path / "run", classes=classes, texts=("مرحبا بالعالم", "👩‍👩‍👧 family", "e\u0301"), rows=60)
    for part in (*classes, "مرحبا بالعالم", "👩‍👩‍👧 family"):
        assert part in page.text
    assert all(quote["dir"] == "auto" for quote in page.all("blockquote"))


def test_the_policy_allows_the_script_and_nothing_else(tmp_path: Path) -> None:
    content, page = report(tmp_path / "run", rows=20)
    policy = next(meta["content"] for meta in page.all("meta") if "content-security-policy" in str(meta).lower())
    script = re.search(r"<script>(.*?)</script>", content, re.DOTALL)
    assert script and policy
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


@pytest.mark.parametrize(
    "options",
    [{"epochs": 1}, {"epochs": 0}, {"splits": ("validation",)}, {"splits": ("test",)}, {"rows": 1}, {"strength": 60.0}],
)
def test_partial_runs_make_whole_pages(tmp_path: Path, options: dict) -> None:
    content, page = report(tmp_path / "run", **options)
    assert_self_contained(content, page)
    assert_accessible(page)


def test_a_run_with_only_the_needed_files_makes_a_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", TWO, rows=30)
    for path in (run.config, run.history, run.labels):
        path.unlink()
    run.manifest.write_text('{"data": 3, "preset": [], "parameters": {"total": "many"}, "argv": 1}')
    run.metrics.write_text("{}")
    results = read_results(run)
    page = Page(render(results, results.split(), "1"))
    assert_accessible(page)
    assert "Before and after" not in page.text
    assert "Settings" not in page.text


def test_changed_settings_stand_out(tmp_path: Path) -> None:
    content, _ = report(tmp_path / "run", rows=20, lora={"rank": 16})
    changed = re.findall(r'<div class="changed"><dt>(.*?)</dt><dd><bdi>(.*?)</bdi>', content)
    assert changed == [("rank", "16")]


def test_mistakes_are_limited_and_long_texts_cut(tmp_path: Path) -> None:
    _, page = report(tmp_path / "run", classes=TWENTY, rows=900, splits=("test",), strength=0.5, texts=("x" * 5000,))
    assert len(page.all("blockquote")) == MOST_MISTAKES
    assert "x" * 600 in page.text
    assert "x" * 601 not in page.text
    assert f"The {MOST_MISTAKES} most confident of" in page.text


def test_too_many_classes_point_to_the_csv(tmp_path: Path) -> None:
    _, page = report(tmp_path / "run", classes=[f"class {number}" for number in range(61)], rows=100)
    assert "61 classes are too many for a table on this page" in page.text


def test_a_comparison_shows_runs_pairs_and_settings(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b #1?", "c")]
    runs = [read_results(make_run(path, SIX, seed=seed, lora={"rank": 4 + seed})) for seed, path in enumerate(paths)]
    pages = [path / "report" / "report.html" for path in paths]
    content = render_comparison(compare(runs), pages, tmp_path / "a" / "report" / "comparison.html", "1")
    page = Page(content)
    assert_self_contained(content, page)
    assert_accessible(page)
    links = [link["href"] for link in page.all("a") if not link["href"].startswith("#")]
    assert links == ["report.html", "../../b%20%231%3F/report/report.html", "../../c/report/report.html"]
    assert "lora.rank 4 5 6" in page.text
    assert page.text.count("No significant difference.") + page.text.count("significantly better.") == 3
    low, high = runs[0].split().intervals["accuracy"]
    assert f"{low:.3f} – {high:.3f}" in page.text


def test_a_comparison_of_runs_without_a_common_split_says_so(tmp_path: Path) -> None:
    a = read_results(make_run(tmp_path / EVIL.replace("/", ""), TWO, splits=("test",), strength=60.0))
    b = read_results(make_run(tmp_path / "b", SIX, splits=("validation",)))
    content = render_comparison(compare([a, b]), [tmp_path, tmp_path], tmp_path / "c.html", "1")
    page = Page(content)
    assert "no evaluated split in common" in page.text
    assert "The runs have no rows in common, so there is no test." in page.text
    assert "F1 of each class" not in page.text
    assert len(page.all("script")) == 1
