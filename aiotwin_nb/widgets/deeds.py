"""What the events panel does to the cluster of a run: it then tells the run, as it would of any fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aiotwin_nb.cluster.happenings import Happened, Happenings, Removal
from aiotwin_nb.continuum import Node
from aiotwin_nb.errors import AIoTwinError
from aiotwin_nb.widgets.latest import Latest


@dataclass(frozen=True)
class Deed:
    """A node joins (`labels`: what it is to be, None: as its labels say), leaves in some way, or its pod is killed.

    `node`: a cluster node by its name or its id in the run; for `fail` a node of the run, whose pod is meant.
    """

    kind: Literal["add", "remove", "fail"]
    node: str
    how: Removal = "cordon"
    labels: Node | None = None

    def do(self, happenings: Happenings, run_id: str) -> Happened:
        """Do it; returns what the cluster says afterwards."""
        if self.kind == "add":
            return happenings.add(self.node, self.labels)
        return happenings.remove(self.node, self.how) if self.kind == "remove" else happenings.fail(run_id, self.node)


class Doer:
    """Does deeds one after the other, in a thread; `told(words, went_wrong)` hears what came of each."""

    def __init__(self, cluster: Callable[[], tuple[Happenings, str]], told: Callable[[str, bool], None]) -> None:
        self._cluster = cluster  # of the run that is followed, and the run's id
        self._told = told
        self._deeds: Latest[Deed] = Latest(self._do, name="aiotwin-deeds")

    def ask(self, deed: Deed) -> None:
        """Have it done; returns at once."""
        self._deeds.ask(deed)

    def close(self) -> None:
        """End the thread, after what it is at; safe to call twice."""
        self._deeds.close()

    def _do(self, deed: Deed) -> None:
        try:
            happened = deed.do(*self._cluster())
        except AIoTwinError as error:
            self._told(str(error), True)
        except Exception as error:  # a cluster is the world: anything may go wrong, and the lab goes on
            self._told(f"{type(error).__name__}: {error}", True)
        else:
            self._told(str(happened), False)
