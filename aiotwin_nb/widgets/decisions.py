"""Panel: Decisions. A card for every reconfiguration, and the road not taken once the run has ended."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from html import escape
from threading import RLock
from typing import Any

import ipywidgets as widgets

from aiotwin_nb.errors import AIoTwinError
from aiotwin_nb.orchestration.step import preview
from aiotwin_nb.orchestration.summary import reconfiguration, summarise
from aiotwin_nb.widgets import decision_card as cards
from aiotwin_nb.widgets.decision_card import Card
from aiotwin_nb.widgets.figures import Picture, draw_decision
from aiotwin_nb.widgets.follow import Snapshot
from aiotwin_nb.widgets.painter import Painter
from aiotwin_nb.widgets.panel import Panel
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.truth import Truth, expected_seconds

PAINT_SECONDS = 0.5
DOTS = 144  # per inch, so that pictures are sharp on dense screens


class DecisionsPanel(Panel):
    """What changed, what it costs, what was decided and why; after the run, whether that was right."""

    title = "Decisions"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.add_class("aiotwin-decisions")
        self._heading = widgets.HTML()
        self._cards = widgets.VBox()
        self._shown: list[_CardView] = []
        self._road = _OtherRoad(self._compare)
        self.children = (widgets.HTML(cards.STYLE), self._heading, self._cards, self._road)
        self._one_at_a_time = RLock()
        self._painter = Painter(self._paint, pause=PAINT_SECONDS, name="aiotwin-decisions")
        session.observe(self._touch, ["snapshot", "truth", "reveal"])
        self._paint()

    def describe(self) -> str:
        """A paragraph for every reconfiguration."""
        snapshot = self.session.snapshot
        return "\n\n".join(
            [f"{self.title}: {_heading(snapshot)}", *(cards.words(card) for card in self._current(snapshot))]
        )

    def picture(self) -> Picture | None:
        """The last reconfiguration of which there is something to draw, as things stand now."""
        self._refresh()
        drawn = [view.picture for view in self._shown if view.picture is not None]
        return drawn[-1] if drawn else None

    def close(self) -> None:
        """End the painter. Safe to call twice."""
        self._painter.close()
        super().close()

    def _touch(self, change: Any) -> None:
        self._painter.touch()

    def _current(self, snapshot: Snapshot | None) -> list[Card]:
        return [] if snapshot is None else make_cards(snapshot, self.session.truth, self.session.reveal)

    def _paint(self) -> None:
        self._refresh()
        self.changed()

    def _refresh(self) -> None:
        """Bring the cards up to date; what has not changed is left alone."""
        with self._one_at_a_time:
            snapshot = self.session.snapshot  # one for all: it may be replaced at any moment
            self._heading.value = f"<b>{self.title}</b> <span class='quiet'>{escape(_heading(snapshot))}</span>"
            self._show(snapshot, self._current(snapshot))
            self._road.show(snapshot, self.session.truth)

    def _show(self, snapshot: Snapshot | None, current: list[Card]) -> None:
        del self._shown[len(current) :]
        self._shown += [_CardView() for _ in current[len(self._shown) :]]
        for index, (view, card) in enumerate(zip(self._shown, current, strict=True)):
            assert snapshot is not None, "cards are made from a snapshot"
            view.show(card, ended=not snapshot.live, draw=partial(_draw, snapshot, index, card))
        if self._cards.children != tuple(self._shown):
            self._cards.children = tuple(self._shown)

    def _compare(self) -> None:
        try:
            self.session.compare()
        except AIoTwinError as error:
            self._road.complain(str(error))


def make_cards(snapshot: Snapshot, truth: Truth, reveal: bool) -> list[Card]:
    """The cards of all reconfigurations; the one in validation with the evidence so far."""
    state, found = snapshot.state, []
    for index, record in enumerate(state.reconfigurations):
        window = state.window if state.window is not None and state.window.index == index else None
        card = Card(record, state.round, window, reveal, truth.of(record.after_round))
        if window is not None and reveal:
            card = replace(card, record=preview(state) or record)
        found.append(card)
    return found


def _heading(snapshot: Snapshot | None) -> str:
    if snapshot is None:
        return "There is no run yet."
    count = len(snapshot.state.reconfigurations)
    if not count:
        return "Nothing has changed so far, so there was nothing to decide."
    return f"{count} reconfiguration{'s' * (count != 1)}"


def _draw(snapshot: Snapshot, index: int, card: Card) -> Picture:
    summary = summarise(snapshot.state)
    summary["reconfigurations"][index] = reconfiguration(card.record)
    return Picture(draw_decision(summary, index), dpi=DOTS)


class _CardView(widgets.VBox):  # type: ignore[misc]
    """A card on the screen; its picture is drawn again only when what it shows has changed."""

    def __init__(self) -> None:
        self._top, self._drawn, self._bottom = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.picture: Picture | None = None
        self._card: Card | None = None
        self._drawn_for: object = None
        super().__init__((self._top, self._drawn, self._bottom))
        self.add_class("aiotwin-card")

    def show(self, card: Card, *, ended: bool, draw: Callable[[], Picture]) -> None:
        """Show a card. `ended`: the run is over, so its curve is complete."""
        if card != self._card:
            self._card = card
            _set(self._top, cards.header(card) + cards.window_bar(card))
            _set(self._bottom, cards.futures(card) + cards.verdict_html(card))
        wanted = (card.record, ended) if card.has_futures else None
        if wanted != self._drawn_for:
            self._drawn_for = wanted
            self.picture = draw() if wanted else None
            _set(self._drawn, _image(self.picture))


class _OtherRoad(widgets.VBox):  # type: ignore[misc]
    """The button that runs the roads not taken, how far that is, and what went wrong."""

    def __init__(self, begin: Callable[[], None]) -> None:
        self._button = widgets.Button(
            description="Run the other branch",
            icon="code-fork",
            tooltip="Trains again from every decision on, as if it had fallen otherwise, to see which was right",
            layout={"width": "auto"},
        )
        self._button.on_click(lambda _: begin())
        self._bar = widgets.FloatProgress(max=1.0, layout={"width": "240px"})
        self._words = widgets.HTML()
        super().__init__([widgets.HBox([self._button, self._bar, self._words], layout={"align_items": "center"})])

    def show(self, snapshot: Snapshot | None, truth: Truth) -> None:
        """Offer the button when the run has ended, nothing is left to decide and some road is unknown."""
        records = () if snapshot is None else snapshot.state.reconfigurations
        unknown = [record for record in records if truth.of(record.after_round) is None]
        pending = any(record.decision == "pending" for record in records)  # a run that was stopped in the window
        ended = snapshot is not None and not snapshot.live and not pending
        running = truth.status == "running"
        _display(self._button, bool(ended and unknown and not running))
        _display(self._bar, running)
        self._words.value = ""
        if running and snapshot is not None:
            expected = expected_seconds(summarise(snapshot.state))
            self._bar.value = min(truth.seconds / expected, 0.95)
            self._words.value = (
                f"<span role='status'>running the other branch: {truth.seconds:.0f} s of about {expected:.0f} s</span>"
            )
        elif truth.status == "failed" and unknown:
            self.complain(truth.problem)
        elif records and not ended:
            self._words.value = "<span class='quiet'>When the run has ended, its other branch can be run.</span>"

    def complain(self, problem: str) -> None:
        """Say what went wrong."""
        self._words.value = f"<span role='alert'>✘ {escape(problem)}</span>"


def _set(box: widgets.HTML, html: str) -> None:
    box.value = html
    _display(box, bool(html))


def _display(widget: widgets.Widget, shown: bool) -> None:
    widget.layout.display = None if shown else "none"


def _image(picture: Picture | None) -> str:
    if picture is None:
        return ""
    data = b64encode(picture.png).decode()
    return f'<img alt="{escape(picture.alt)}" src="data:image/png;base64,{data}">'
