"""Shipped notebooks show their results to whoever only opens them: in JupyterLab without a kernel, and as a web page."""

import json
import subprocess
import sys
import urllib.request
from urllib.parse import urlsplit

import nbformat
import pytest
from playwright.sync_api import expect

from .lab import DARK, LIGHT
from .server import PROJECT

NOTEBOOKS = sorted(path.name for path in (PROJECT / "notebooks").glob("*.ipynb"))
SIZE_SHOWN = "image => image.decode().then(() => image.checkVisibility() ? image.naturalWidth : 0)"
# The page that nbconvert writes asks these for MathJax and RequireJS; it has to be readable without them.
EXPORT_ASKS = {"cdnjs.cloudflare.com", "cdn.jsdelivr.net"}


def pictures(notebook):
    """Return (index of the cell, alternative text) of all pictures that a notebook holds."""
    outputs = [(index, output) for index, cell in enumerate(notebook.cells) for output in cell.get("outputs", ())]
    return [(i, o.metadata["image/png"]["alt"]) for i, o in outputs if "image/png" in o.get("data", {})]


def running_kernels(jupyter):
    with urllib.request.urlopen(jupyter.address("api/kernels")) as answer:
        return json.load(answer)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_jupyterlab_shows_the_pictures_without_a_kernel(name, theme, open_notebook, tab, jupyter):
    tab.theme(theme)
    notebook = open_notebook(name, kernel=False)
    shown = pictures(notebook.read())
    assert shown
    for number, (index, alt) in enumerate(shown, 1):
        image = notebook.output(index).get_by_role("img", name=alt, exact=True)
        assert image.evaluate(SIZE_SHOWN) > 300
        notebook.screenshot(f"{name.removesuffix('.ipynb')}-{theme.split()[-1].lower()}-{number}", index)
        expect(image).to_be_in_viewport(ratio=0.9)
    assert running_kernels(jupyter) == []


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of all shipped notebooks as web pages."""
    folder = tmp_path_factory.mktemp("exported")
    sources = [str(PROJECT / "notebooks" / name) for name in NOTEBOOKS]
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", str(folder), *sources]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_html_export_shows_the_pictures(name, exported, page, outside, watch, shot):
    page.goto((exported / name).with_suffix(".html").as_uri())
    shown = pictures(nbformat.read(PROJECT / "notebooks" / name, 4))
    assert shown
    for number, (_, alt) in enumerate(shown):
        again = [other for _, other in shown[:number]].count(alt)  # the lab and one of its panels show the same
        image = page.locator(".jp-OutputArea").get_by_role("img", name=alt, exact=True).nth(again)
        assert image.evaluate(SIZE_SHOWN) > 300
        image.scroll_into_view_if_needed()
        expect(image).to_be_in_viewport(ratio=0.9)
    shot(page, f"{name.removesuffix('.ipynb')}-export")
    assert {urlsplit(url).hostname for url in outside.take()} <= EXPORT_ASKS
    assert [error for error in watch.take_errors() if not any(host in error for host in EXPORT_ASKS)] == []
