"""The harness itself: it sees errors and attempts to leave, and no test meets what another left behind."""

import urllib.request

import pytest

from .lab import DARK, LIGHT

REACH_OUT = """url => new Promise(done => {
    if (!url.startsWith('ws')) return fetch(url).then(() => done('through'), () => done('refused'));
    const socket = new WebSocket(url);
    [socket.onopen, socket.onerror] = [() => done('through'), () => done('refused')];
})"""


def test_pages_that_reach_out_are_refused_and_recorded(page, outside, watch):
    page.goto("data:text/html,<title>empty</title>")
    outside_urls = ["https://example.com/x", "http://192.0.2.1/y", "wss://example.org/z"]
    assert [page.evaluate(REACH_OUT, url) for url in outside_urls] == ["refused"] * 3
    assert outside.take() == outside_urls
    errors = " ".join(watch.take_errors())
    assert all(url in errors for url in outside_urls)


def test_kernels_that_reach_out_are_refused_and_recorded(open_notebook, outside):
    notebook = open_notebook(["import urllib.request", "urllib.request.urlopen('https://example.com/x')"])
    notebook.run(0)
    assert "403" in notebook.run(1, fails=True).inner_text()
    assert [attempt.split()[:2] for attempt in outside.take()] == [["CONNECT", "example.com:443"]]


def test_errors_of_pages_are_seen(page, watch):
    page.goto("data:text/html,<script>console.error('logged'); console.warn('fine'); throw Error('thrown')</script>")
    logged, thrown = sorted(watch.take_errors())
    assert "logged" in logged
    assert "uncaught: Error: thrown" in thrown


def test_a_cell_that_raises_fails_the_test(open_notebook):
    notebook = open_notebook(["1 / 0", "'fine'"])
    with pytest.raises(AssertionError, match="cell 0: ZeroDivisionError: division by zero"):
        notebook.run(0)
    with pytest.raises(AssertionError, match="should have raised"):
        notebook.run(1, fails=True)


def test_jupyterlab_asks_nothing_at_its_start(new_tab, shot):
    page = new_tab().page
    page.wait_for_load_state("networkidle")
    assert page.locator(".Toastify__toast, .jp-Dialog").all_inner_texts() == []
    shot(page, "jupyterlab")


@pytest.mark.parametrize("turn", [1, 2])
def test_no_test_meets_what_another_left_behind(turn, open_notebook, jupyter):
    notebook = open_notebook(["import os\nleft = 'behind'\nprint(os.listdir())", "del left"])
    assert notebook.tab.page.locator("body").get_attribute("data-jp-theme-name") == LIGHT
    assert notebook.page.locator(".jp-NotebookPanel").count() == 1
    with urllib.request.urlopen(jupyter.address("api/kernels")) as answer:
        assert answer.read().count(b"execution_state") == 1
    assert notebook.run(0).inner_text().count(".ipynb'") == 1
    notebook.tab.theme(DARK)  # and neither saved nor closed
