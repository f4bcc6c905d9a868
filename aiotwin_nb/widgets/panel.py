"""What every panel is: an ipywidgets box that also says what it shows in words and as a picture.

Where there is no widget front end (a terminal, a saved notebook without a kernel, a code host), the words and the
picture are what one sees.
"""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from aiotwin_nb.widgets.figures import Picture
from aiotwin_nb.widgets.session import Session


class Shown(widgets.VBox):  # type: ignore[misc]
    """A box that also says what it shows in words and as a picture."""

    title = ""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_class("aiotwin-panel")

    def describe(self) -> str:
        """What the panel shows, in words; blank lines between paragraphs."""
        return self.title

    def picture(self) -> Picture | None:
        """What the panel shows, as a still picture; None where words say it all. Called from any thread."""
        return None

    def close(self) -> None:
        """End what the panel has running; the run goes on. Safe to call twice."""
        super().close()

    def __repr__(self) -> str:
        return self.describe()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle: dict[str, Any] = dict(super()._repr_mimebundle_(**options) or {})
        picture = self.picture()
        still, metadata = ({}, {}) if picture is None else picture._repr_mimebundle_()
        return {**bundle, **still, "text/plain": self.describe()}, metadata


class Panel(Shown):
    """A part of the lab; made for a session, usable alone."""

    def __init__(self, session: Session, **options: Any) -> None:
        super().__init__(**options)
        self.session = session
