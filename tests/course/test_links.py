"""Links between notebooks and documents lead somewhere: the file is there, and the heading too."""

import re

import pytest

from aiotwin_nb.course.document import read

from .conftest import ROOT

FOLDERS = ("notebooks", "labs", "docs", "tests/benchmarks/results")
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


@pytest.mark.parametrize("path", sorted(documents()), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    wrong = []
    for target in links(path):
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (anchor and there.suffix in (".md", ".ipynb") and anchor not in anchors(there)):
            wrong.append(target)
    assert wrong == []
