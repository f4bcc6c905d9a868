"""The README's pictures of the lab: AIOTWIN_PICTURES=1 pytest tests/browser/test_pictures.py, then look at them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from .panels import BEGUN, LabView
from .server import PROJECT

pytestmark = pytest.mark.skipif(
    os.environ.get("AIOTWIN_PICTURES") != "1", reason="makes pictures for the README; AIOTWIN_PICTURES=1 runs it"
)
LAB = "from aiotwin_nb import Lab\nlab = Lab('improvement')\nlab"
PAGE = {"width": 1460, "height": 1900}  # the cell's output is 1,030 pixels wide then
KEPT_AND_SEEN = 24  # the round at which there is something of everything to see


def test_pictures_of_the_lab(open_notebook):
    notebook = open_notebook([LAB])
    page, before = notebook.page, notebook.page.viewport_size
    page.set_viewport_size(PAGE)
    try:
        lab = LabView(notebook.run(0))
        compared = lab.area.get_by_role("img", name="Cost of a round against imbalance")
        expect(compared).to_be_visible()
        notebook.screenshot("picture", 0)
        keep(lab.area, compared, "lab-plan.png")
        lab.button("Start").click()
        lab.status("running", BEGUN)
        page.mouse.move(2, 2)
        lab.wait_round(KEPT_AND_SEEN, 120_000)
        keep(lab.area, lab.area.locator(".aiotwin-live"), "lab.png")
        lab.button("Stop").click()
        lab.status("stopped")
    finally:
        page.set_viewport_size(before)


def keep(area: Locator, last: Locator, name: str) -> None:
    """Write what is seen of an area down to the lower end of something in it, as a small PNG."""
    box, end = area.bounding_box(), last.bounding_box()
    height = min(end["y"] + end["height"] + 14 - box["y"], PAGE["height"] - box["y"])
    file: Path = PROJECT / "notebooks" / "img" / name
    area.page.screenshot(path=file, clip={**box, "height": height})
    Image.open(file).convert("RGB").save(file, optimize=True)
