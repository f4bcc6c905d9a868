"""A form field with a label, a hint and, where its value is wrong, the reason beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

_HERE = Path(__file__).parent


class Field(anywidget.AnyWidget):
    """A text, number or choice field. `value` is always text; `error`: what is wrong with it, empty when nothing is.

    ipywidgets has no way to mark a field as invalid for eyes and for screen readers alike; hence a field of our own.
    """

    _esm = _HERE / "field.js"
    _css = _HERE / "field.css"
    kind = traitlets.Enum(("text", "number", "choice"), default_value="text").tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    value = traitlets.Unicode("").tag(sync=True)
    hint = traitlets.Unicode("").tag(sync=True)
    placeholder = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    disabled = traitlets.Bool(False).tag(sync=True)
    choices = traitlets.List(traitlets.Tuple(traitlets.Unicode(), traitlets.Unicode())).tag(sync=True)

    def __init__(self, label: str, *, choices: Iterable[tuple[str, str]] = (), **options: Any) -> None:
        offered = list(choices)
        options.setdefault("kind", "choice" if offered else "text")
        if offered:
            options.setdefault("value", offered[0][0])
        super().__init__(label=label, choices=offered, **options)

    def offer(self, choices: Sequence[tuple[str, str]]) -> None:
        """Offer other choices; the value stays if it is among them, else it becomes the first."""
        values = [value for value, _ in choices]
        if list(choices) != self.choices:
            self.choices = list(choices)
        if self.value not in values:
            self.value = values[0] if values else ""
