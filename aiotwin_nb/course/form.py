"""The form of a prediction in a live notebook: choose, commit."""

from __future__ import annotations

from collections.abc import Callable
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
