"""Reads README and docs: their blocks, the commands in these, and their headings and links."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")))
README, QUICKSTART, CLASSIFY, PYTHON = (
    path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", DOCS / "quickstart.md", DOCS / "classify.md", DOCS / "python.md")
)
Call = tuple[list[str], str]
# a heading's mark for links, as GitHub and MkDocs make it
_NOT_IN_MARKS = re.compile(r"[^\w\- ]")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def blocks(text: str, *languages: str) -> list[str]:
    return [
        body
        for language, body in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        if language in languages
    ]


def shell_lines(text: str) -> list[str]:
    """Return the lines of `sh` blocks: they are parsed, not run."""
    return [line for block in blocks(text, "sh") for line in block.replace("\\\n", " ").splitlines()]


def console_lines(text: str) -> list[str]:
    """Return the lines behind `$` of `console` blocks: they are run."""
    return [line[2:] for block in blocks(text, "console") for line in block.splitlines() if line.startswith("$ ")]


def kerora_calls(lines: list[str]) -> list[Call]:
    """Return each kerora call with what `echo` pipes into it."""
    calls = []
    for line in lines:
        piped = ""
        for part in line.split(" | "):
            words = shlex.split(part, comments=True)
            if words[:1] == ["echo"]:
                piped = words[1]
            elif words[:1] == ["kerora"]:
                calls.append((words[1:], piped))
    return calls


def printed_file(line: str) -> tuple[str, str] | None:
    """Return name and text of the file that ``printf '%s\\n' LINE... > FILE`` writes."""
    words = shlex.split(line)
    if words[:2] != ["printf", "%s\\n"] or words[-2] != ">":
        return None
    return words[-1], "\n".join(words[2:-2]) + "\n"


def headings(text: str) -> set[str]:
    """Return the marks of all headings outside code."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {_NOT_IN_MARKS.sub("", title.lower()).strip().replace(" ", "-") for title in titles}


def links(path: Path) -> Iterator[str]:
    """Yield the targets of a page's links and images."""
    yield from _LINK.findall(path.read_text(encoding="utf-8"))
