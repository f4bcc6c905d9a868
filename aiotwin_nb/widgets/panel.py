"""What every panel is: an ipywidgets box that also says what it shows in words and as a picture.

Where there is no widget front end (a terminal, a saved notebook without a kernel, a code host), the words and the
picture are what one sees.
"""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from aiotwin_nb.widgets.figures import Picture
from aiotwin_nb.widgets.painter import Painter
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.still import Still, has_widgets, publish

STILL_SECONDS = 10.0  # a saved picture is at most so old while a run goes on


class Shown(widgets.VBox):  # type: ignore[misc]
    """A box that leaves words and a picture in the notebook, which are seen where the box cannot be."""

    title = ""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        key = f"aiotwin-{self.model_id or id(self)}"
        self.add_class("aiotwin-panel").add_class(key)
        self._still = Still(key, self.describe, self.picture)
        self._keeper = Painter(self._still.renew, pause=STILL_SECONDS, name="aiotwin-still")

    def describe(self) -> str:
        """What the panel shows, in words; blank lines between paragraphs."""
        return self.title

    def picture(self) -> Picture | None:
        """What the panel shows, as a still picture; None where words say it all. Called from any thread."""
        return None

    def changed(self, *, at_once: bool = False) -> None:
        """Say that what the notebook keeps of the panel is out of date. The session's changes need no saying."""
        if self._still.shown:
            self._keeper.touch(hurry=at_once)

    def close(self) -> None:
        """End what the panel has running; the run goes on. Safe to call twice."""
        self._keeper.close()
        super().close()

    def __repr__(self) -> str:
        return self.describe()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return {**(super()._repr_mimebundle_(**options) or {}), "text/plain": self.describe()}

    def _ipython_display_(self) -> None:
        if not has_widgets():
            raise NotImplementedError  # IPython then shows the words
        self._still.show()
        publish({**self._repr_mimebundle_(), "text/plain": ""}, display_id=f"{self.model_id}-view")


class Panel(Shown):
    """A part of the lab; made for a session, usable alone."""

    def __init__(self, session: Session, **options: Any) -> None:
        super().__init__(**options)
        self.session = session

    def _ipython_display_(self) -> None:
        first = not self._still.shown
        super()._ipython_display_()
        if first:
            self.session.observe(self._follow, ["snapshot", "scenario"])
            self.session.when_waited(self._still.renew)

    def _follow(self, change: Any) -> None:
        snapshot = self.session.snapshot
        self.changed(at_once=snapshot is not None and not snapshot.live)
