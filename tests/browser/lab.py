"""JupyterLab as a person uses it: a tab, and notebooks in it. Waits for conditions, never for a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Locator, Page, expect

from .server import Server

LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
LOADED = 60.0  # seconds
EXECUTED = 120.0  # seconds

# A promise that is evaluated in a page is waited for without end; this gives it one.
WITHIN = """async ([argument, seconds]) => {
    const work = (async () => { %s })();
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`not done within ${seconds} s`)), 1000 * seconds);
    });
    try { return await Promise.race([work, late]); } finally { clearTimeout(timer); }
}"""
PANEL = "const panel = [...jupyterapp.shell.widgets('main')].find(w => w.context?.path === argument.path);"
# Cells get their height when they come into view, and move those below them: scroll until nothing moves any more.
SCROLL = """async element => {
    for (let still = 0, last; still < 5; ) {
        element.scrollIntoView({ block: 'start' });
        await new Promise(requestAnimationFrame);
        const top = element.getBoundingClientRect().top;
        [still, last] = [top === last ? still + 1 : 0, top];
    }
}"""
SHUT = """
    for (const widget of [...jupyterapp.shell.widgets('main')]) {
        if (widget.context?.model) widget.context.model.dirty = false;  // closing asks nothing
        widget.close();
    }
    await jupyterapp.serviceManager.sessions.shutdownAll();
    await jupyterapp.serviceManager.kernels.shutdownAll();
"""
_workspaces = itertools.count(1)


class Tab:
    """A browser tab with JupyterLab, in a workspace of its own."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page, self.server = page, server
        self.load(f"tab-{next(_workspaces)}")

    def load(self, workspace: str) -> None:
        """Load JupyterLab into the tab, with nothing open."""
        self.page.goto(self.server.address(f"lab/workspaces/{workspace}", "&reset"), wait_until="commit")
        self.page.wait_for_function("() => window.jupyterapp", timeout=LOADED * 1000)
        self.evaluate("await jupyterapp.restored", seconds=LOADED)

    def evaluate(self, body: str, argument: Any = None, seconds: float = 30.0) -> Any:
        """Run the body of an async JavaScript function of `argument` in the page; its promise has `seconds`."""
        return self.page.evaluate(WITHIN % body, [argument, seconds])

    def command(self, name: str, arguments: dict[str, Any] | None = None, seconds: float = 30.0) -> None:
        """Execute a JupyterLab command and wait for its promise."""
        body = "await jupyterapp.commands.execute(argument.name, argument.arguments)"
        self.evaluate(body, {"name": name, "arguments": arguments or {}}, seconds)

    def theme(self, name: str) -> None:
        """Switch to LIGHT or DARK and wait until it is painted."""
        if self.page.locator("body").get_attribute("data-jp-theme-name") != name:
            self.command("apputils:change-theme", {"theme": name})
            expect(self.page.locator("body")).to_have_attribute("data-jp-theme-name", name, timeout=15_000)
            expect(self.page.locator("#jupyterlab-splash")).to_have_count(0, timeout=15_000)

    def dialogs(self) -> list[str]:
        """Return what open dialogs say."""
        return self.page.locator(".jp-Dialog").all_inner_texts()

    def clear(self) -> None:
        """Close every document unsaved, end every kernel, go back to the light theme."""
        self.evaluate(SHUT)
        self.theme(LIGHT)


class Notebook:
    """A notebook open in a tab. `folder` is the kernel's working directory, where runs/ appears.

    Cells count from 0, markdown cells included.
    """

    def __init__(self, tab: Tab, file: Path, shot: Callable[[Page, str], Path]) -> None:
        self.tab, self.page, self.file, self.folder = tab, tab.page, file, file.parent
        self.path = file.relative_to(tab.server.root).as_posix()
        self._shot = shot
        self._id = ""

    def open(self, kernel: bool = True) -> Notebook:
        """Open the notebook from the disk, with a kernel or without one; waits until the kernel is idle."""
        preference = {} if kernel else {"kernelPreference": {"shouldStart": False, "shouldReuse": False}}
        self.tab.command("docmanager:open", {"path": self.path, "factory": "Notebook", **preference}, LOADED)
        self._id = self._panel("await panel.revealed; await panel.context.ready; return panel.id;", LOADED)
        if kernel:
            self._panel("await panel.sessionContext.ready;", LOADED)
            self.wait_idle()
        return self

    # Running.

    def run(self, index: int, wait: bool = True, fails: bool = False) -> Locator:
        """Run one cell and return its output area; `wait=False` returns while the cell runs.

        A cell that raises fails the test, unless `fails` says that it has to.
        """
        self._panel(
            "jupyterapp.shell.activateById(panel.id); panel.content.activeCellIndex = argument.index;", index=index
        )
        self._execute("notebook:run-cell", wait)
        if wait:
            self._check([index], fails)
        return self.output(index)

    def run_all(self) -> None:
        """Run all cells, as the menu entry does; none may raise."""
        self._panel("jupyterapp.shell.activateById(panel.id);")
        self._execute("notebook:run-all-cells", wait=True)
        self._check(range(self.cells().count()), fails=False)

    def wait_idle(self, seconds: float = EXECUTED) -> None:
        """Wait until the kernel has nothing left to do."""
        idle = f"argument => {{ {PANEL} return panel.sessionContext.session?.kernel?.status === 'idle'; }}"
        self.page.wait_for_function(idle, arg={"path": self.path}, timeout=seconds * 1000)

    def interrupt(self) -> None:
        """Interrupt the kernel."""
        self._panel("await panel.sessionContext.session.kernel.interrupt();")

    def restart(self) -> None:
        """Restart the kernel with the menu's command and its question, and wait until the new one is idle."""
        self._panel(
            "jupyterapp.shell.activateById(panel.id);"
            "window.restarted = jupyterapp.commands.execute('notebook:restart-kernel');"
        )
        self.page.get_by_role("dialog").get_by_role("button", name="Confirm Kernel Restart").click()
        self._panel("await window.restarted;", LOADED)
        self.wait_idle()

    # Looking.

    def cells(self) -> Locator:
        """Return all cells."""
        return self.page.locator(f"[id='{self._id}'] .jp-Cell")

    def cell(self, index: int) -> Locator:
        """Return one cell."""
        return self.cells().nth(index)

    def output(self, index: int) -> Locator:
        """Return a cell's output area. Look for things in here: a cell's source holds the same words."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def text(self, index: int) -> str:
        """Return what a cell's outputs say, without the prompts beside them."""
        return "\n".join(self.output(index).locator(".jp-OutputArea-output").all_inner_texts()).strip()

    def screenshot(self, name: str, index: int | None = None) -> Path:
        """Keep a picture of the tab as an artefact, scrolled to the output of a cell if one is named."""
        if index is not None:
            self.output(index).evaluate(SCROLL)
        return self._shot(self.page, name)

    # Saving.

    def save(self) -> NotebookNode:
        """Save the notebook and return it as it is on the disk."""
        self._panel("await panel.context.save();")
        return self.read()

    def read(self) -> NotebookNode:
        """Return the notebook as it is on the disk."""
        return nbformat.read(self.file, 4)

    # How.

    def _panel(self, body: str, seconds: float = 30.0, **argument: Any) -> Any:
        return self.tab.evaluate(PANEL + body, {"path": self.path, **argument}, seconds)

    def _execute(self, command: str, wait: bool) -> None:
        if wait:
            self.tab.command(command, seconds=EXECUTED)
        else:
            self.tab.evaluate("jupyterapp.commands.execute(argument)", command)

    def _check(self, indices: Sequence[int], fails: bool) -> None:
        errors = self._panel(
            "return argument.indices.flatMap(i => [...(panel.content.widgets[i].model.sharedModel.outputs ?? [])]"
            "    .filter(o => o.output_type === 'error').map(o => `cell ${i}: ${o.ename}: ${o.evalue}`));",
            indices=list(indices),
        )
        assert bool(errors) == fails, errors or f"the cells {list(indices)} should have raised"


def write_notebook(file: Path, cells: Sequence[str | NotebookNode]) -> Path:
    """Write a notebook of Python cells; a string is a code cell's source."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = [new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    nbformat.write(new_notebook(cells=made, metadata={"kernelspec": kernel}), file)
    return file
