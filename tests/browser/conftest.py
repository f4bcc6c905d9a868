"""Real JupyterLab in headless Chromium: what stories about the lab are told with.

One server and one browser serve all tests of this folder; every test gets JupyterLab with nothing open, in the light
theme, and a folder of its own. A story reads like this:

    def test_a_budget_buys_rounds(open_notebook):
        notebook = open_notebook(["from aiotwin_nb import Lab; lab = Lab('improvement'); lab", "lab.close()"])
        panel = notebook.run(0)  # the cell's output area; a cell that raises fails the test
        panel.get_by_role("slider", name="Budget").press("ArrowRight")
        expect(panel.get_by_text("54 rounds")).to_be_visible()  # waits; never sleep
        notebook.screenshot("budget", 0)  # tests/browser/artefacts/budget.png
        notebook.restart()
        saved = notebook.save()  # as nbformat reads it from the disk
        assert "image/png" in saved.cells[0].outputs[0].data
        assert (notebook.folder / "runs").is_dir()  # where the kernel works

`open_notebook` also takes a shipped notebook ("01-first-run.ipynb"), `kernel=False`, and `tab=new_tab()` for a second
browser tab. `notebook.run(0, wait=False)` returns while the cell runs; `notebook.tab.theme(DARK)` switches the theme.
`page` is an empty tab for pages that are not JupyterLab's.

After every test no page may have logged an error, and nothing may have tried to leave this machine: pages, server and
kernels are watched, and a proxy refuses what they ask for. A test that wants such things takes them:
`watch.take_errors()`, `outside.take()`.

Without Chromium the tests are skipped; with AIOTWIN_REQUIRE_BROWSER=1 they fail.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from nbformat import NotebookNode
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from .lab import Notebook, Tab, write_notebook
from .outside import Outside, outside_recorded
from .server import PROJECT, Server, lab_server

HERE = Path(__file__).parent
ARTEFACTS = HERE / "artefacts"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# Playwright's own flags turn background networking, updates and extensions off already.
FLAGS = ("--disable-gpu", "--disable-quic", "--disable-sync")
SIZE = {"width": 1400, "height": 1000}
PATIENCE = 15_000  # milliseconds that an expectation or a locator waits; a busy machine needs some

# What JupyterLab logs as an error although nothing is wrong: pattern, reason.
HARMLESS = (
    (r"null \(reading 'kernel'\)\s+at .*/jupyterlab-manager/", "ipywidgets assumes that every notebook has a kernel"),
    (r"reading 'id'\)\s+at \w+\._runOnIdleTime", "JupyterLab renders cells when idle, also of a notebook just closed"),
    (r"debugger state: Canceled future for debug_request", "the kernel ended while the debugger's side panel asked it"),
)


class Watch:
    """Errors that pages logged or threw."""

    def __init__(self) -> None:
        self._errors: list[str] = []

    def attach(self, context: BrowserContext) -> None:
        """Listen to all pages of a context, present and future."""
        context.on(
            "console", lambda message: self._log(f"{message.text} ({message.location.get('url')})", message.type)
        )
        context.on("weberror", lambda error: self._log(f"uncaught: {error.error.stack}"))

    def take_errors(self) -> list[str]:
        """Return the errors since the last call; taken errors fail no test."""
        taken, self._errors = self._errors, []
        return taken

    def _log(self, text: str, kind: str = "error") -> None:
        if kind == "error" and not any(re.search(pattern, text) for pattern, _ in HARMLESS):
            self._errors.append(text)


# Once for all tests of this folder. The scope is not the session's: Playwright keeps an event loop running in this
# thread, and tests elsewhere want to start their own.


@pytest.fixture(scope="package")
def outside() -> Iterator[Outside]:
    """What tried to leave the machine."""
    with outside_recorded() as recorded:
        yield recorded


@pytest.fixture(scope="package")
def chromium() -> str:
    """The browser's executable."""
    for name in CHROMIUM:
        if found := shutil.which(name):
            return found
    reason = f"no browser: none of {', '.join(CHROMIUM)} is on the PATH (Debian: apt-get install chromium)"
    if os.environ.get("AIOTWIN_REQUIRE_BROWSER") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason=reason)


@pytest.fixture(scope="package")
def watch() -> Watch:
    """What pages complained about."""
    return Watch()


@pytest.fixture(scope="package")
def context(chromium: str, outside: Outside, watch: Watch) -> Iterator[BrowserContext]:
    """The browser."""
    ARTEFACTS.mkdir(exist_ok=True)
    expect.set_options(timeout=PATIENCE)
    with outside_recorded() as proxy, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, proxy.browser_flag])
        context = browser.new_context(viewport=SIZE)
        context.set_default_timeout(PATIENCE)
        watch.attach(context)
        outside.watch(context)
        yield context
        context.close()
        browser.close()


@pytest.fixture(scope="package")
def jupyter(context: BrowserContext, outside: Outside, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """JupyterLab as `aiotwin lab` starts it. It asks for the browser first: without one it need not start."""
    with lab_server(tmp_path_factory.mktemp("jupyter"), outside.environment) as server:
        yield server


@pytest.fixture(scope="package")
def _tabs() -> list[Tab]:
    """The tab that goes from test to test; loading JupyterLab takes seconds."""
    return []


# For every test.


@pytest.fixture(autouse=True)
def _nothing_amiss(context: BrowserContext, outside: Outside, watch: Watch) -> Iterator[None]:
    """Fail a test whose pages logged errors, or in which something tried to leave the machine."""
    yield
    errors, attempts = watch.take_errors(), outside.take()
    assert not errors, f"the pages logged errors: {errors}"
    assert not attempts, f"something tried to leave this machine: {attempts}"


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """An empty tab."""
    page = context.new_page()
    yield page
    page.close()


@pytest.fixture
def new_tab(context: BrowserContext, jupyter: Server, tab: Tab) -> Iterator[Callable[[], Tab]]:
    """Make tabs with JupyterLab beside the first; they are closed before its kernels are ended."""
    made: list[Tab] = []

    def make() -> Tab:
        made.append(Tab(context.new_page(), jupyter))
        return made[-1]

    yield make
    for tab in made:
        tab.page.close()


@pytest.fixture
def tab(context: BrowserContext, jupyter: Server, _tabs: list[Tab]) -> Iterator[Tab]:
    """JupyterLab with nothing open."""
    if not _tabs:
        _tabs.append(Tab(context.new_page(), jupyter))
    tab = _tabs.pop()
    yield tab
    if tab.page.is_closed():
        return
    try:
        assert tab.dialogs() == [], "dialogs are left open"
        tab.clear()
    except Exception:
        tab.page.close()
        raise
    _tabs.append(tab)


@pytest.fixture
def shot() -> Callable[[Page, str], Path]:
    """Keep a picture of a page as an artefact; returns its file."""

    def take(page: Page, name: str) -> Path:
        file = ARTEFACTS / f"{name}.png"
        page.screenshot(path=file)
        return file

    return take


@pytest.fixture
def open_notebook(request, tab: Tab, shot: Callable[[Page, str], Path]) -> Callable[..., Notebook]:
    """Open cells, or a shipped notebook by its file's name, in a folder of the test's own."""
    folder = tab.server.root / _file_name(request.node)

    def make(
        content: Sequence[str | NotebookNode] | str, name: str = "story", kernel: bool = True, tab: Tab = tab
    ) -> Notebook:
        file = folder / (content if isinstance(content, str) else f"{name}.ipynb")
        if isinstance(content, str):
            folder.mkdir(exist_ok=True)
            shutil.copy(tab.server.root / content, file)
        elif not file.exists():  # opened a second time it is the same notebook
            write_notebook(file, content)
        return Notebook(tab, file, shot).open(kernel)

    return make


# Around the tests.


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a browser and takes its time."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Keep a picture of every tab, and what the server said last, when a test fails."""
    report = yield
    fixtures = getattr(item, "funcargs", {})
    if report.when == "call" and "context" in fixtures:
        name = f"FAILED-{_file_name(item)}"
        for stale in ARTEFACTS.glob(f"{name}-*.png"):
            stale.unlink()
        if report.failed:
            for number, page in enumerate(fixtures["context"].pages):
                page.screenshot(path=ARTEFACTS / f"{name}-{number}.png")
            if "jupyter" in fixtures:
                report.sections.append(("JupyterLab's last words", fixtures["jupyter"].log.read_text()[-2000:]))
    return report


def _file_name(item: pytest.Item) -> str:
    return re.sub(r"\W+", "-", item.name).strip("-")


def pytest_terminal_summary(terminalreporter) -> None:
    """Say where the pictures are."""
    pictures = sorted(ARTEFACTS.glob("*.png"))
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    if pictures and any("browser" in report.keywords for report in reports):
        terminalreporter.write_line(f"browser: {len(pictures)} screenshots in {ARTEFACTS.relative_to(PROJECT)}")
