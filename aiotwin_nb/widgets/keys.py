"""Dropdowns that can be used by keyboard in JupyterLab."""

from __future__ import annotations

from pathlib import Path

import anywidget


class Keys(anywidget.AnyWidget):
    """Shows nothing; as long as it is on a page, the dropdowns of panels get the keys that are pressed in them."""

    _esm = Path(__file__).with_name("keys.js")
