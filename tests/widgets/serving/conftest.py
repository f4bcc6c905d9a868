"""A site that runs, for the panels that show it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aiotwin_nb.widgets.serving import ServingLab


def children() -> set[int]:
    """Process ids of all living children of this process."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it has just ended
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.add(int(stat.parent.name))
    return found


@pytest.fixture(scope="module")
def lab():
    """The panel of the site two-sides; what was started for it has ended when its tests are over."""
    before = children()
    lab = ServingLab("two-sides")
    assert children() > before
    yield lab
    lab.close()
    lab.close()  # safe to call twice
    assert children() <= before
