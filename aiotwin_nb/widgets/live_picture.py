"""A picture in the notebook that changes in place, with a text alternative and a line of words."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets


class LivePicture(anywidget.AnyWidget):
    """A PNG that is replaced without flicker.

    `alt`: what it shows, for those who do not see it. `words`: a line below, announced politely when it changes;
    `warning`: one that is announced at once. `width`: in CSS pixels. `dark`: whether the page's theme is, set by the
    view.
    """

    _esm = Path(__file__).with_name("live_picture.js")
    _css = Path(__file__).with_name("live_picture.css")

    png = traitlets.Bytes(b"").tag(sync=True)
    alt = traitlets.Unicode("").tag(sync=True)
    words = traitlets.Unicode("").tag(sync=True)
    warning = traitlets.Unicode("").tag(sync=True)
    width = traitlets.Int(900).tag(sync=True)
    dark = traitlets.Bool(False).tag(sync=True)
