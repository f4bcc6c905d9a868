"""Links between notebooks and documents lead somewhere: the file is there, and the heading too."""

import os
import re
from pathlib import Path

import pytest

from aiotwin_nb.course.document import read

from .conftest import ROOT

FOLDERS = ("notebooks", "labs", "docs", "tests/benchmarks/results")
TEXTS = (".md", ".ipynb")
GENERATED = {"scenario.md"}  # by docs/build.py, whose own test builds the pages
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")


def documents():
    yield from ROOT.glob("*.md")
    for folder in FOLDERS:
        for pattern in ("*.md", "*.ipynb"):
            yield from (p for p in (ROOT / folder).rglob(pattern) if "_build" not in p.parts)


def markdown(path):
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def anchors(path):
    """The anchors of a document's headings, as GitHub and MyST make them."""
    headings = re.findall(r"(?m)^#+ +(.+?) *$", re.sub(r"(?s)```.*?```", "", markdown(path)))
    named = re.findall(r"(?m)^\(([\w-]+)\)=$", markdown(path))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings} | set(named)


def links(path):
    text = re.sub(r"(?s)```.*?```", "", markdown(path))
    return [target for target in LINK.findall(text) if not re.match(r"[a-z]+:|//", target)]


def places(path, file):
    """Where a link may lead: pages of docs/ are built beside README, notebooks and labs, see docs/build.py."""
    yield path.parent / file
    if path.is_relative_to(ROOT / "docs"):
        yield Path(os.path.normpath(ROOT / path.parent.relative_to(ROOT / "docs") / file))


@pytest.mark.parametrize("path", sorted(documents()), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    wrong = []
    for target in links(path):
        file, _, anchor = target.partition("#")
        found = [place.resolve() for place in (places(path, file) if file else [path]) if place.exists()]
        leads = bool(found) or Path(file).name in GENERATED
        if not leads or (anchor and found and found[0].suffix in TEXTS and anchor not in anchors(found[0])):
            wrong.append(target)
    assert wrong == []
