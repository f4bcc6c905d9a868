"""What a notebook keeps of a live panel: words and a picture, saved beside it and seen where no kernel is.

Without its kernel a widget is an error message. So a cell gets three outputs for a panel: its words (HTML), its picture
(PNG) and the widget. A style sheet among the words hides both as long as a view of the widget lives on the page, and
hides what a front end writes in place of a dead one. Where style sheets are dropped (code hosts, notebooks that are not
trusted) no widget is tried either: words and picture are what one sees. Nothing has to run in the browser for that.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from threading import RLock
from typing import Any
from uuid import uuid4

from IPython import get_ipython

from aiotwin_nb.widgets.figures import Picture

Bundle = dict[str, Any]

# The outputs of a cell follow each other, each in a wrapper: .jp-OutputArea-child in JupyterLab, Notebook and Voila.
# KEY marks the panel's view, KEY-still the words; the picture and the widget come right after them. A view without its
# kernel stays on the page, disconnected. A copy of the notebook has the same KEY, so only what is in one cell counts.
_STYLE = """
.jp-OutputArea-child:has(.KEY-still):has(+ * + * LIVE),
.jp-OutputArea-child:has(.KEY-still):has(+ * + * LIVE) + .jp-OutputArea-child,
.jp-OutputArea-child:has(.KEY-still) + .jp-OutputArea-child + .jp-OutputArea-child:not(:has(LIVE)) { display: none }
""".replace("LIVE", ".KEY:not(.jupyter-widgets-disconnected)")
_HINT = "Saved view. Run this cell again for the live panel; a run that went on meanwhile is not lost: attach to it."


class Still:
    """The words and the picture of one panel, wherever it was displayed.

    `key`: a class name that the panel's live view has and nothing else. `words`: paragraphs, with blank lines between
    them. `picture`: may be None.
    """

    def __init__(self, key: str, words: Callable[[], str], picture: Callable[[], Picture | None]) -> None:
        self._key, self._words, self._picture = key, words, picture
        self._one_at_a_time = RLock()
        self._shown: list[str] = []  # display ids; the picture's has "-picture" added
        self._last: tuple[Bundle, Bundle] | None = None

    @property
    def shown(self) -> bool:
        """Whether some cell shows it."""
        return bool(self._shown)

    def show(self) -> None:
        """Put words and picture into the cell that is running; the widget has to follow at once."""
        with self._one_at_a_time:
            display_id = uuid4().hex
            self.renew()  # other cells that show it, so that all have the same
            words, picture = self._last = self._last or self._bundles()
            publish(words, display_id=display_id)
            publish(picture, display_id=f"{display_id}-picture")
            self._shown.append(display_id)

    def renew(self) -> None:
        """Bring every cell that shows it up to date; from any thread, also long after the cell has ended."""
        with self._one_at_a_time:
            if not self._shown or self._last is None:
                return
            (old_words, old_picture), (words, picture) = self._last, self._bundles()
            self._last = words, picture
            for display_id in self._shown:
                if words != old_words:
                    publish(words, display_id=display_id, update=True)
                if picture != old_picture:
                    publish(picture, display_id=f"{display_id}-picture", update=True)

    def _bundles(self) -> tuple[Bundle, Bundle]:
        words, picture = self._words(), self._picture()
        html = {"text/html": _html(self._key, words), "text/plain": words}
        if picture is None:
            return html, {"text/plain": ""}
        return html, picture._repr_mimebundle_()[0]


def publish(data: Bundle, *, display_id: str, update: bool = False) -> None:
    """Show data in the running cell, or put it in the place of what has this display id."""
    alternative = {"image/png": {"alt": data["text/plain"]}} if "image/png" in data else {}
    get_ipython().display_pub.publish(data, alternative, transient={"display_id": display_id}, update=update)


def has_widgets() -> bool:
    """Whether a notebook's front end may be there to show widgets; False in a terminal and in scripts."""
    return hasattr(get_ipython(), "kernel")


def _html(key: str, words: str) -> str:
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in words.split("\n\n") if text.strip())
    style = " ".join(_STYLE.replace("KEY", key).split())
    return f'<div class="{key}-still"><style>{style}</style>{paragraphs}<p><small>{_HINT}</small></p></div>'
