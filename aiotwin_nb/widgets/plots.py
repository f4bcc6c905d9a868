"""Plots that are fed with a run's story: choose them, pause them, keep them as PNG, SVG or CSV."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from aiotwin_nb.errors import InvalidInput, did_you_mean
from aiotwin_nb.widgets.curves import CHARTS, DEFAULT, Story
from aiotwin_nb.widgets.figures import Picture, png
from aiotwin_nb.widgets.live_figure import DARK, DPI, LIGHT, WIDTH, LiveFigure
from aiotwin_nb.widgets.live_picture import LivePicture
from aiotwin_nb.widgets.painter import Painter
from aiotwin_nb.widgets.panel import Shown

PAUSE_SECONDS = 0.5  # between two pictures
_MIME = {"png": "image/png", "svg": "image/svg+xml", "csv": "text/csv"}
FORMATS = tuple(_MIME)


class LivePlots(Shown):
    """Live plots of whatever story `show` is given last.

    `charts`: keys of `curves.CHARTS`. Painting is done by a thread of its own, at most twice a second, and not at all
    while `pause` is pressed; `close` ends it.
    """

    title = "Live plots"

    def __init__(self, *args: Any, charts: Sequence[str] = DEFAULT, folder: Path | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.folder = folder or Path()
        self.image = LivePicture(width=round(WIDTH * DPI), words="No run yet.", alt="Live plots: no run yet.")
        self._tell_story: Callable[[], Story | None] = lambda: None
        self._selected = ""
        self._figure: LiveFigure | None = None
        self._made_for: tuple[Any, ...] = ()
        self._painted: tuple[Any, ...] = ()
        self._blurred = True
        self._painter = Painter(self._paint, pause=PAUSE_SECONDS, name="aiotwin-paint")
        self._boxes = {
            key: widgets.Checkbox(False, description=chart.title, indent=False, layout=widgets.Layout(width="auto"))
            for key, chart in CHARTS.items()
        }
        self.charts = charts
        for box in self._boxes.values():
            box.observe(self._mark, "value")
        self.pause = widgets.ToggleButton(
            False,
            description="Pause",
            icon="pause",
            tooltip="Stop redrawing the plots; the run goes on",
            layout=widgets.Layout(width="auto"),
        )
        self.pause.observe(self._on_pause, "value")
        self.image.observe(self._mark, "dark")
        self._saved = widgets.HTML()
        self._saving: threading.Thread | None = None
        self.children = (self._controls(), self.image, self._saved)

    @property
    def charts(self) -> tuple[str, ...]:
        """The charts that are shown, in their order."""
        return tuple(key for key, box in self._boxes.items() if box.value)

    @charts.setter
    def charts(self, charts: Sequence[str]) -> None:
        for key in charts:
            if key not in CHARTS:
                raise InvalidInput(
                    f"charts: {key!r} is not known; known are {', '.join(CHARTS)}.{did_you_mean(key, CHARTS)}"
                )
        for key, box in self._boxes.items():
            box.value = key in charts

    def show(self, tell: Callable[[], Story | None]) -> None:
        """Show the story that `tell` gives; it is called in the painting thread. Returns at once."""
        self._tell_story = tell
        self._painter.touch()

    def select(self, client: str) -> None:
        """Bring out one client in the clients' plots."""
        self._selected = client
        self._painter.touch()

    def describe(self) -> str:
        """What the plots show, in words."""
        story = self._tell_story()
        if story is None:
            return f"{self.title}: no run yet."
        return story.tell(self.charts) + (f" {story.problem}" if story.problem else "")

    def picture(self) -> Picture | None:
        """The plots that are chosen, as they are now, on white."""
        story = self._tell_story()
        if story is None or not story.rows or not self.charts:
            return None
        return Picture(self._still_figure(story))

    def export(self, kind: str = "png") -> Path:
        """Write the chosen plots (png, svg) or all rows (csv) beside the run; returns the file.

        Raises InvalidInput for another kind, before anything was measured, and where nothing can be written.
        """
        path, data = self._content(kind)
        try:
            path.write_bytes(data)
        except OSError as error:
            raise InvalidInput(f"{path}: cannot be written: {error.strerror}; use the download link") from error
        return path

    def close(self) -> None:
        """End the painting thread; the run goes on. Safe to call twice."""
        self._painter.close()
        if self._saving is not None:
            self._saving.join(timeout=5)
        super().close()

    # Painting, in the painter's thread.

    def _mark(self, change: Any = None) -> None:
        self._painter.touch()

    def _paint(self) -> bool:
        """Bring words and picture up to date; returns whether a picture was drawn."""
        if self.pause.value:
            return False
        story, charts, dark = self._tell_story(), self.charts, self.image.dark
        if story is None:
            self._painted = ()
            with self.image.hold_sync():
                self.image.png, self.image.alt, self.image.words = b"", "Live plots: no run yet.", "No run yet."
            return False
        self.image.warning = story.problem
        drawn = (replace(story, status="", origin="", problem=""), story.live, charts, dark, self._selected)
        new, rests = drawn != self._painted, not story.live
        if not charts or not (new or (rests and self._blurred)):
            self.image.words = story.words()
            return False
        # Where nothing moves any more, a sharp picture is worth its time; a quick one comes first.
        picture = self._draw(story) if new else png(self._still_figure(story, dark=dark), 2 * DPI)
        with self.image.hold_sync():
            self.image.png, self.image.alt, self.image.words = picture, story.tell(charts), story.words()
        self._painted, self._blurred = drawn, new
        if new and rests:
            self._painter.touch()
        return True

    def _draw(self, story: Story) -> bytes:
        charts, dark = self.charts, self.image.dark
        if self._figure is None or self._made_for != (charts, dark, self._selected):
            self._made_for = (charts, dark, self._selected)
            self._figure = LiveFigure(charts, look=DARK if dark else LIGHT, selected=self._selected)
        return self._figure.paint(story)

    def _still_figure(self, story: Story, *, dark: bool = False) -> Figure:
        live = LiveFigure(self.charts, look=DARK if dark else LIGHT, selected=self._selected)
        live.show(story)
        return live.figure

    # What people press.

    def _controls(self) -> widgets.Widget:
        grid = widgets.Layout(display="grid", grid_template_columns="repeat(auto-fill, minmax(16em, 1fr))")
        choice = widgets.Box(list(self._boxes.values()), layout=grid)
        buttons = []
        for kind in FORMATS:
            what = "all metrics" if kind == "csv" else "the plots"
            button = widgets.Button(
                description=kind.upper(),
                icon="download",
                tooltip=f"Save {what} as {kind.upper()} beside the run",
                layout=widgets.Layout(width="auto"),
            )
            button.on_click(lambda _, kind=kind: self._save(kind))
            buttons.append(button)
        return widgets.VBox([choice, widgets.HBox([self.pause, *buttons], layout=widgets.Layout(flex_flow="row wrap"))])

    def _on_pause(self, change: Any) -> None:
        self.pause.description, self.pause.icon = ("Go on", "play") if change["new"] else ("Pause", "pause")
        if change["new"]:
            self.image.words = f"{self.image.words} Paused: the plots stand still, the run does not."
        self._painter.touch()

    def _save(self, kind: str) -> None:
        """In a thread: drawing takes longer than a click may."""
        self._saving = threading.Thread(target=self._save_and_say, args=(kind,), name="aiotwin-save", daemon=True)
        self._saving.start()

    def _save_and_say(self, kind: str) -> None:
        try:
            path, data = self._content(kind)
            try:
                path.write_bytes(data)
                said = f"Saved as <code>{escape(str(path))}</code>."
            except OSError as error:
                said = f"<code>{escape(str(path))}</code> cannot be written ({escape(error.strerror or '')})."
            url = f"data:{_MIME[kind]};base64,{base64.b64encode(data).decode()}"
            said += f' <a download="{escape(path.name)}" href="{url}" style="text-decoration: underline">Download</a>'
        except InvalidInput as error:
            said = escape(str(error))
        self._saved.value = f'<div role="status">{said}</div>'

    def _content(self, kind: str) -> tuple[Path, bytes]:
        """Where a file goes, and what is in it."""
        if kind not in FORMATS:
            raise InvalidInput(f"export: {kind!r} is not known; known are {', '.join(FORMATS)}")
        story = self._tell_story()
        if story is None or not story.rows:
            raise InvalidInput("export: there is nothing to save yet; no round has finished")
        name = f"{story.name.replace('/', '-')}-{'metrics' if kind == 'csv' else 'plots'}.{kind}"
        if kind == "csv":
            return self.folder / name, story.csv().encode()
        if not self.charts:
            raise InvalidInput("export: no plot is chosen; choose one")
        figure = self._still_figure(story)
        return self.folder / name, png(figure, 2 * DPI) if kind == "png" else _svg(figure)


def _svg(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
