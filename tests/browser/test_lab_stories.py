"""What people do in the lab, from its first view to the last decision. Every step leaves a picture."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell
from playwright.sync_api import Locator, expect

from .lab import DARK
from .panels import BEGUN, LabView
from .server import PROJECT

LAB = "from aiotwin_nb import Lab\nlab = Lab('improvement', {})\nlab"
ATTACH = "from aiotwin_nb import Lab\nlab = Lab.attach()\nlab"
SLOW = "objective__budget=3_000_000, training__max_rounds=900, training__epochs=16"  # goes on until it is stopped
QUICK = "objective__budget=25_000"  # 16 rounds with the change, which is decided after round 15


def test_the_whole_story(open_notebook):
    shipped = nbformat.read(PROJECT / "notebooks" / "00-lab.ipynb", 4).cells
    notebook = open_notebook([*shipped, new_code_cell(ATTACH)])
    parameters, opened, seen_through, *shown = [i for i, cell in enumerate(shipped) if cell.cell_type == "code"]
    attached = len(shipped)

    # Look at the plan, and make it small enough for a story and its rounds slow enough for people.
    notebook.run(parameters)
    lab = LabView(notebook.run(opened))
    expect(lab.bought).to_have_text("buys 75 rounds; 53 if all scripted changes are made and kept")
    notebook.screenshot("lab-1-opened", opened)
    drag(lab.budget, -45)
    expect(lab.bought).to_have_text(re.compile(r"^buys [2-5]\d rounds"))
    epochs = lab.area.get_by_label("Epochs")
    epochs.fill("30")
    epochs.press("Enter")
    notebook.screenshot("lab-2-planned", opened)

    lab.button("Start").click()
    lab.status("running", BEGUN)
    expect(lab.tab("Run")).to_have_attribute("aria-selected", "true")
    lab.wait_round(1)
    first = lab.curves.get_attribute("src")
    lab.wait_round(3)
    expect(lab.curves).not_to_have_attribute("src", first)
    notebook.screenshot("lab-3-running", opened)

    # The scripted change of round 10 is decided after round 15: in its window the visitor would share its card.
    lab.area.get_by_label("name", exact=True).fill("visitor")
    lab.area.get_by_label("when").select_option(label="after a round")
    lab.area.get_by_role("spinbutton", name="after round").fill("17")
    lab.button("Let it join").click()
    expect(lab.area.get_by_text("Sent: visitor joins.")).to_be_visible()
    expect(lab.happening("visitor joins")).to_contain_text("injected● applied")
    lab.tab("Decisions").click()
    expect(lab.cards.filter(has_text="visitor joins")).to_be_visible()
    notebook.screenshot("lab-4-injected", opened)

    reached = lab.round()
    notebook.restart()
    expect(lab.area).not_to_be_visible()
    expect(notebook.output(opened).get_by_text("Saved view")).to_be_visible()
    lab = LabView(notebook.run(attached))
    lab.wait_round(reached)
    expect(lab.happening("visitor joins")).to_contain_text("injected● applied")
    notebook.screenshot("lab-5-attached-again", attached)

    notebook.run(seen_through)
    lab.status("finished")
    lab.tab("Decisions").click()
    expect(lab.cards).to_have_count(2)
    for name in ("visitor joins", "n9 joins"):
        expect(lab.cards.filter(has_text=name)).to_be_visible()
    expect(lab.button("Run the other branch")).to_be_visible()
    notebook.screenshot("lab-6-finished", attached)
    for index in shown:
        notebook.run(index)
    expect(notebook.output(shown[0]).get_by_role("img")).to_be_visible()
    assert "visitor" in notebook.text(shown[-1])


def test_by_keyboard_alone_in_the_dark(open_notebook):
    notebook = open_notebook([LAB.format(QUICK)])
    notebook.tab.theme(DARK)
    lab, keyboard = LabView(notebook.run(0)), notebook.page.keyboard
    expect(lab.bought).to_be_visible()
    notebook.screenshot("lab-dark-plan", 0)

    tab_to(lab.tab("Plan"))
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        keyboard.press(key)
    expect(lab.tab("Decisions")).to_have_attribute("aria-selected", "true")
    tab_to(lab.button("Keep the change"))
    keyboard.press("Space")
    tab_to(lab.area.get_by_label("Final accuracy"))
    keyboard.type("70")
    tab_to(lab.button("Seal my prediction"))
    keyboard.press("Enter")
    expect(lab.area.get_by_text("You predicted: keep, ending at 70 %; sealed before the run.")).to_be_visible()

    tab_to(lab.button("Start"), back=True)
    keyboard.press("Enter")
    lab.status("running", BEGUN)
    tab_to(lab.area.get_by_role("treeitem").first)
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        keyboard.press(key)
    expect(lab.area.get_by_label("Details of node n4")).to_be_visible()
    notebook.screenshot("lab-dark-running", 0)

    lab.status("finished")
    tab_to(lab.tab("Decisions"), back=True)
    keyboard.press("Enter")
    expect(lab.cards.filter(has_text="n9 joins")).to_be_visible()
    expect(lab.area.get_by_text("✔ kept")).to_be_visible()
    expect(lab.area.get_by_text("The orchestrator kept, = as you did.")).to_be_visible()
    notebook.screenshot("lab-dark-decided", 0)


def test_two_notebooks_on_one_run(open_notebook, new_tab, watch):
    """Both see it; when its process dies, both offer to go on; whoever stops it stops it for both."""
    mine = open_notebook([LAB.format(SLOW)], "mine")
    lab = LabView(mine.run(0))
    lab.button("Start").click()
    yours = open_notebook([ATTACH], "yours", tab=new_tab())
    lab.status("running", BEGUN)
    other = LabView(yours.run(0))
    other.wait_round(1)
    lab.wait_round(other.round())

    mine.screenshot("lab-two-notebooks-mine", 0)
    yours.screenshot("lab-two-notebooks-yours", 0)

    (run,) = (mine.folder / "runs").glob("improvement-*")
    with (run / "process.log").open("a") as log:  # where a process that dies leaves its last words
        log.write("terminate called: no space left on device\n")
    killed = time.monotonic()
    os.kill(owner(run), signal.SIGKILL)
    for view in (lab, other):
        view.status("interrupted", 10_000)
        expect(view.launch).to_contain_text("its process has died; what it had finished is safe")
        expect(view.launch.get_by_text("terminate called: no space left on device")).to_be_visible()
        expect(view.button("Resume")).to_be_enabled()
    assert time.monotonic() - killed < 3 + 3  # 3 seconds, and as many for a browser on a busy machine
    mine.screenshot("lab-interrupted", 0)
    at = lab.round()
    other.button("Resume").click()
    lab.status("running", BEGUN)
    lab.wait_round(at + 2)
    lab.button("Stop").click()
    other.status("stopped")
    # Each tab hears the kernel's answers to the other's widget manager, and logs that it did not ask.
    assert all("Comm not found" in error for error in watch.take_errors())


def drag(handle: Locator, pixels: int) -> None:
    """Drag a slider's handle with the mouse, to the right if `pixels` is positive."""
    box, mouse = handle.bounding_box(), handle.page.mouse
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + pixels, y, steps=5)
    mouse.up()


def tab_to(wanted: Locator, back: bool = False, at_most: int = 60) -> None:
    """Press Tab until something has the focus."""
    for _ in range(at_most):
        wanted.page.keyboard.press("Shift+Tab" if back else "Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{at_most} × Tab do not reach {wanted}")


def owner(run: Path) -> int:
    """Id of the process that runs a run."""
    return json.loads((run / "state.json").read_text())["pid"]
