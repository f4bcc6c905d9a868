"""What learners touch in a live notebook: the form of a prediction, and a slider with a picture that follows."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as widgets

from aiotwin_nb.course.progress import Answer


def prediction_form(choices: tuple[str, ...], unit: str, commit: Callable[[Answer], str]) -> Any:
    """Buttons for the choices, or a field for a number; `commit` is given the answer and returns what to say of it."""
    said = widgets.HTML()
    if choices:
        field: Any = widgets.RadioButtons(options=choices, value=None, description="", layout={"width": "max-content"})
    else:
        field = widgets.FloatText(value=0, description="", layout={"width": "9em"})
    button = widgets.Button(description="Commit", icon="check", tooltip="Commit this prediction")

    def clicked(_button: Any) -> None:
        if field.value is None:
            said.value = "Choose first."
            return
        said.value = commit(field.value).replace("**", "")

    button.on_click(clicked)
    row = [field, widgets.Label(unit), button] if unit else [field, button]
    return widgets.VBox([widgets.HBox(row), said])


def explore(slider: Any, show: Callable[[Any], Any]) -> Any:
    """A slider above what `show` makes of its value: a Picture, or words. Without a kernel nothing is to be seen.

    The result is an HTML widget, not an Output widget, which headless execution cannot follow.
    """
    view = widgets.HTML()

    def follow(_change: Any = None) -> None:
        shown = show(slider.value)
        view.value = getattr(shown, "html", None) or f"<p>{escape(str(shown))}</p>"

    slider.continuous_update = False  # drawn when it is let go
    slider.observe(follow, "value")
    follow()
    return widgets.VBox([slider, view])
