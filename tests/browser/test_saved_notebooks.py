"""What a notebook shows of a panel when there is no kernel any more: its words and its picture, wherever it is opened."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Locator, expect

from aiotwin_nb.notebook import execute_notebook

from .lab import write_notebook

WIDGET = "application/vnd.jupyter.widget-view+json"
SHOW = """
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.decisions import DecisionsPanel
session = Session("improvement")
session.change({"training.max_rounds": 18})
panel = DecisionsPanel(session)
panel
"""
START = "session.start(tracking='off')"
KEPT = "After round 10: n9 joins: ✔ kept"
DEAD = ("Error displaying widget", "Loading widget")
STATE_SETTING = """
    const settings = jupyterapp.serviceManager.settings;
    await settings.save('@jupyter-widgets/jupyterlab-manager:plugin', JSON.stringify({saveState: argument}));
"""


def outputs(area: Locator) -> list[Locator]:
    """The outputs of a cell: words, picture, widget."""
    return [area.locator(".jp-OutputArea-child").nth(i) for i in range(3)]


def expect_still(area: Locator) -> None:
    """The words and the picture are seen, and nothing of the widget."""
    words, picture, widget = outputs(area)
    expect(words).to_contain_text(KEPT)
    expect(words).to_contain_text("Saved view")
    expect(picture.locator("img")).to_be_visible()
    assert picture.locator("img").evaluate("image => image.naturalWidth") > 800
    expect(widget).not_to_be_visible()
    for text in DEAD:
        expect(area.get_by_text(text)).not_to_be_visible()


def expect_live(area: Locator) -> None:
    """The widget is seen, and nothing of what stands in for it."""
    words, picture, widget = outputs(area)
    expect(widget.locator(".aiotwin-panel")).to_be_visible()
    expect(words).not_to_be_visible()
    expect(picture).not_to_be_visible()


def saved_words(notebook) -> str:
    return notebook.save().cells[0].outputs[0].data["text/plain"]


def load_anew(notebook) -> None:
    """Load JupyterLab's page again; kernels go on."""
    notebook.page.reload()
    notebook.page.wait_for_function("() => window.jupyterapp")
    notebook.tab.evaluate("await jupyterapp.restored", seconds=60)


@pytest.fixture
def forgiving(watch):
    """A widget that is not found, and a page that is left while it waits for an answer, are logged by JupyterLab."""
    yield
    known = ("widget model not found", "reading 'kernel'", "Error: Disposed", "uncaught: \n")
    assert not [error for error in watch.take_errors() if not any(text in f"{error}\n" for text in known)]


@pytest.fixture
def ended(open_notebook, forgiving):
    """A notebook whose run ended while no cell was running."""
    notebook = open_notebook([SHOW, START, "1 + 1"])
    expect_live(notebook.run(0))
    assert saved_words(notebook) == "Decisions: There is no run yet."
    notebook.run(1)
    until = time.monotonic() + 120
    while KEPT not in saved_words(notebook):  # from a thread of the kernel, through the cell that showed the panel
        assert time.monotonic() < until, saved_words(notebook)
        time.sleep(0.5)
    return notebook


def test_a_restarted_kernel_leaves_words_and_picture(ended):
    expect_live(ended.output(0))
    expect(ended.output(0).locator("h4")).to_have_text("After round 10: n9 joins")
    ended.restart()
    expect_still(ended.output(0))
    ended.screenshot("saved-restarted", 0)
    expect_live(ended.run(0))  # run again, it lives again


def test_a_reopened_notebook_shows_them(ended, open_notebook):
    saved = ended.save()
    assert "widgets" not in saved.metadata
    assert [sorted(output.data) for output in saved.cells[0].outputs] == [
        ["text/html", "text/plain"],
        ["image/png", "text/html", "text/plain"],
        [WIDGET, "text/plain"],
    ]
    ended.tab.clear()
    without = open_notebook([], kernel=False)
    expect_still(without.output(0))
    without.screenshot("saved-without-kernel", 0)
    without.tab.clear()
    again = open_notebook([])
    expect_still(again.output(0))
    again.screenshot("saved-new-kernel", 0)


def test_a_notebook_of_somebody_else_shows_them(ended, open_notebook):
    """Not trusted: no script, no style sheet, no widget."""
    saved = ended.save()
    saved.cells[0].source += "  # from elsewhere"
    for cell in saved.cells:
        cell.metadata.pop("trusted", None)
    nbformat.write(saved, ended.file.with_name("foreign.ipynb"))
    foreign = open_notebook([], name="foreign")
    words, picture, widget = outputs(foreign.output(0))
    expect(words).to_contain_text(KEPT)
    expect(picture.locator("img")).to_be_visible()
    assert widget.inner_text().strip() == ""
    assert "display: none" not in foreign.output(0).inner_text()
    foreign.screenshot("saved-not-trusted", 0)


def test_a_page_loaded_anew_shows_the_live_panel_and_saved_widget_state_no_stale_one(ended, open_notebook):
    """JupyterLab's setting to save widget state is off by default."""
    ended.tab.evaluate(STATE_SETTING, True)
    try:
        ended.save()
        load_anew(ended)
        expect_live(open_notebook([]).output(0))
        assert "widgets" in ended.save().metadata
        ended.tab.clear()
        expect_still(open_notebook([]).output(0))
    finally:
        ended.tab.evaluate(STATE_SETTING, False)
        load_anew(ended)


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> Path:
    """A notebook that papermill executed: the panel is in a cell before the one that waits."""
    folder = tmp_path_factory.mktemp("executed")
    where = f"from pathlib import Path\nsession.runs = Path({str(folder / 'runs')!r})\npanel ="
    notebook = write_notebook(folder / "story.ipynb", [SHOW.replace("panel =", where), START, "session.wait()"])
    return execute_notebook(notebook, {}, folder / "executed.ipynb")


def test_papermill_keeps_what_was_there_in_the_end(executed):
    notebook = nbformat.read(executed, 4)
    assert "widgets" not in notebook.metadata
    words, picture, widget = (output.data for output in notebook.cells[0].outputs)
    assert KEPT in words["text/plain"]
    assert base64.b64decode(picture["image/png"]).startswith(b"\x89PNG")
    assert "n9 joins, kept after round 15" in picture["text/plain"]
    assert WIDGET in widget


def test_an_executed_notebook_opens_in_jupyterlab(executed, open_notebook, forgiving):
    words, picture, _ = outputs(open_notebook(nbformat.read(executed, 4).cells).output(0))
    expect(words).to_contain_text(KEPT)
    expect(picture.locator("img")).to_be_visible()


def test_an_html_export_shows_words_and_picture_and_asks_for_nothing_else(executed, page, shot, outside, watch):
    file = executed.with_suffix(".html")
    file.write_text(HTMLExporter().from_filename(str(executed))[0])
    page.goto(file.as_uri())
    expect(page.get_by_text(KEPT)).to_be_visible()
    image = page.locator(".jp-OutputArea-output img")
    expect(image).to_be_visible()
    for text in DEAD:
        expect(page.get_by_text(text)).to_have_count(0)
    shot(page, "saved-html-export")
    watch.take_errors()
    asked = outside.take()
    assert all("cdnjs" in url or "unpkg" in url for url in asked), asked  # nbconvert's own, refused here


def test_plain_text_and_pictures_are_enough(executed):
    """Code hosts show pictures and text, and HTML without its style sheets."""
    shown = [output.data for output in nbformat.read(executed, 4).cells[0].outputs]
    assert [data.get("image/png") is not None for data in shown] == [False, True, False]
    assert "<script" not in shown[0]["text/html"]
    assert shown[2]["text/plain"] == ""
