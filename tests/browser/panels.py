"""The lab as people see it in a cell's output: found by its words and roles, never by how it is built."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, expect

BEGUN = 60_000  # milliseconds until a run's process is at work; it imports PyTorch first
TRAINED = 120_000  # milliseconds until a run of the stories is over

ROUND = r"Round (\d+)"
FROM_ROUND_ON = f"""([element, number]) => Number(/{ROUND}/.exec(element.textContent)?.[1]) >= number"""


class LabView:
    """A lab that is displayed in an output area."""

    def __init__(self, area: Locator) -> None:
        self.area = area.locator(".aiotwin-lab")
        self.page = area.page
        self.launch = self.area.locator(".aiotwin-launch")
        self.curves = self.area.locator(".aiotwin-live img")
        self.budget = self.area.get_by_role("slider")
        self.bought = self.area.get_by_text(re.compile(r"^buys \d+ rounds"))
        self.cards = self.area.locator(".aiotwin-decisions").last.get_by_role("heading", level=4)
        self._told = self.area.locator(".aiotwin-live [role=status]")  # also while another tab hides it

    def button(self, name: str) -> Locator:
        """A button by what is written on it, behind its icon."""
        return self.area.get_by_role("button", name=re.compile(rf"^\W*{re.escape(name)}$"))

    def tab(self, name: str) -> Locator:
        """One of the tabs Plan, Run and Decisions."""
        return self.area.get_by_role("tab", name=name, exact=True)

    def status(self, word: str, timeout: float = TRAINED) -> None:
        """Wait until the header says how the run is: running, stopped, finished …"""
        expect(self.area.locator(".aiotwin-header .aiotwin-chip")).to_have_text(word, timeout=timeout)

    def happening(self, what: str) -> Locator:
        """A row in the list of events."""
        return self.area.get_by_role("row").filter(has_text=what)

    def round(self) -> int:
        """The last round that the live plots tell of."""
        found = re.search(ROUND, self._told.text_content() or "")
        return int(found[1]) if found else -1

    def wait_round(self, number: int, timeout: float = BEGUN) -> None:
        """Wait until the live plots tell of a round, or of a later one."""
        self.page.wait_for_function(FROM_ROUND_ON, arg=[self._told.element_handle(), number], timeout=timeout)
