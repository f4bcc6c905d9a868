"""Panel: Launch. Start, stop and resume a run, attach to one, and see how far it is."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from pathlib import Path
from statistics import mean
from typing import Any

import ipywidgets as widgets

from aiotwin_nb.api import RUNTIMES
from aiotwin_nb.errors import AIoTwinError
from aiotwin_nb.scenario import number
from aiotwin_nb.widgets.follow import Snapshot
from aiotwin_nb.widgets.painter import Painter
from aiotwin_nb.widgets.panel import Panel
from aiotwin_nb.widgets.runs import ListedRun, list_runs
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.theme import box, chip, complaint, html, style_sheet

TICK = 1.0  # seconds between two looks at the clock while a run is under way
CALM = 0.2  # seconds between two drawings at least
RECENT = 5  # rounds whose mean duration is taken for the coming ones
KINDS = {"running": "busy", "finished": "good", "stopped": "plain", "failed": "bad", "interrupted": "bad"}
RUNTIME_WORDS = {
    "embedded": "embedded: every client as Flower runs it",
    "stacked": "stacked: all clients as one model; faster, accuracies within 0.5 points",
    "kubernetes": "kubernetes: pods on the cluster that is chosen in the panel Cluster",
}


@dataclass(frozen=True)
class Progress:
    """How far a run is. `share`: 0 to 1, of the budget or of the rounds; `phase`: one sentence.

    `remaining`: seconds expected, None where nothing is known or the run is over; `rounds_left`: as many as the budget
    covers at the present cost.
    """

    share: float
    phase: str
    rounds_left: int
    remaining: float | None


def progress_of(snapshot: Snapshot) -> Progress:
    """How far the run of a snapshot is."""
    state = snapshot.state
    left = _rounds_left(snapshot)
    limit = state.rules.scenario.training.max_rounds
    share = state.round / limit
    if state.rules.budget is not None:
        share = max(share, float(state.spent / state.rules.budget))
    if snapshot.status == "finished":
        share = 1.0
    recent = [row.seconds for row in state.history[-RECENT:] if row.round > 0]
    remaining = mean(recent) * left if recent and snapshot.live else None
    return Progress(min(max(share, 0.0), 1.0), _phase(snapshot), left, remaining)


def _rounds_left(snapshot: Snapshot) -> int:
    state = snapshot.state
    by_number = state.rules.scenario.training.max_rounds - max(state.round, 0)
    if state.rules.budget is None or state.round_cost <= 0:
        return max(by_number, 0)
    left: Decimal = (state.rules.budget - state.spent) // state.round_cost
    return max(min(int(left), by_number), 0)


def _phase(snapshot: Snapshot) -> str:
    state = snapshot.state
    if not snapshot.live:
        why = state.message or state.stop_reason
        return {
            "finished": f"finished: {why}",
            "stopped": "stopped on request; it can be resumed",
            "failed": f"failed: {why}",
            "interrupted": "interrupted: its process has died; what it had finished is safe",
        }.get(snapshot.status, snapshot.status)
    if state.round < 0:
        return "preparing: nodes, data and the untrained model"
    if _awaits_stop(snapshot):
        return f"training round {state.round + 1}, then it stops"
    if state.window is None:
        return f"training round {state.round + 1}"
    watched = max(state.round - state.window.start_round, 0)
    of = state.window.evaluation_round - state.window.start_round
    return f"training round {state.round + 1}: validating the change, {watched} of {of} rounds watched (W)"


def _awaits_stop(snapshot: Snapshot) -> bool:
    """Whether the run has been asked to stop and is still finishing its round."""
    return any(sent.status == "received" and sent.command.get("command") == "stop" for sent in snapshot.commands)


class LaunchPanel(Panel):
    """Buttons and progress of the lab's run; as `lab.run` also what a script uses.

    >>> lab.run.start()  # returns at once  # doctest: +SKIP
    >>> lab.run.stop(); lab.run.resume(); lab.run.attach("improvement-20250101T120000Z-ab12")  # doctest: +SKIP
    """

    title = "Launch"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.add_class("aiotwin-launch")
        self._since = (0.0, time.monotonic())  # elapsed seconds of the last snapshot, and when it came
        self._began = 0.0
        self._start = self._button("Start", "play", "Start the scenario as a new run", "primary", self.start)
        self._stop = self._button("Stop", "stop", "Stop at the end of the round; it can be resumed", "", self.stop)
        self._resume = self._button("Resume", "step-forward", "Go on where the run ended", "", self.resume)
        self._runtime = widgets.Dropdown(
            options=[(name, name) for name in RUNTIMES],
            description="on",
            tooltip="; ".join(RUNTIME_WORDS.get(name, name) for name in RUNTIMES),
            layout=widgets.Layout(width="150px"),
            style={"description_width": "22px"},
        )
        self._runs = widgets.Dropdown(
            description="Runs",
            tooltip="Runs in this folder, running or not; attaching changes nothing about them",
            layout=widgets.Layout(width="auto"),
            style={"description_width": "38px"},
        )
        self._runs.add_class("aiotwin-grow")
        self._attach = self._button("Attach", "link", "Look at the chosen run", "", self._attach_chosen)
        self._refresh = self._button("", "refresh", "List the runs again", "", self.refresh)
        self._refresh.layout.width = "36px"
        attaching = box(widgets.HBox, [self._runs, self._attach, self._refresh], "aiotwin-row", "aiotwin-grow")
        self._status = html("", "aiotwin-status")
        self._problem = html()
        self.children = [
            style_sheet(),
            box(
                widgets.HBox,
                [self._start, self._runtime, self._stop, self._resume, attaching],
                "aiotwin-row",
            ),
            self._status,
            self._problem,
        ]
        self._painter = Painter(self._paint, pause=CALM, name="aiotwin-launch")
        self._closing = threading.Event()
        self._ticker: threading.Thread | None = None
        self._refused = ""
        self._stop_sent = ""  # the last stop's command
        self._listed: dict[str, str] = {}  # status by path
        self._draw()
        self.refresh()
        session.observe(self._mark, ["snapshot", "phase", "problem"])
        session.observe(self._mended, ["scenario", "mistake"])
        session.observe(self._moved, "cluster")
        self._runtime.observe(lambda _: self._painter.touch(), "value")

    # What people and scripts do.

    def start(self, **options: Any) -> None:
        """Start the scenario as a new run and follow it; returns at once. `options`: as for `aiotwin_nb.run`."""
        options.setdefault("runtime", self._runtime.value)
        self._began = time.monotonic()
        self.session.start(**options)
        self._tick()

    def stop(self) -> None:
        """Ask the run to stop at the end of the round; returns at once."""
        self._stop_sent = self.session.stop()

    def resume(self) -> None:
        """Go on with a stopped or interrupted run; returns at once."""
        self._stop_sent = ""
        self._began = time.monotonic()
        self.session.resume()
        self._tick()

    def attach(self, reference: str | Path | None = None) -> None:
        """Follow a run that exists, by its folder or its name under `runs`; by default the newest."""
        self.session.attach(reference)
        self._mark()

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the run's end; raises RunFailed when it failed, TimeoutError after `timeout` seconds."""
        self.session.wait(timeout)

    def __await__(self) -> Generator[Any, None, None]:
        return asyncio.to_thread(self.wait).__await__()

    @property
    def listed(self) -> list[ListedRun]:
        """The runs in the lab's folder, the newest first."""
        return list_runs(self.session.runs)

    def refresh(self) -> None:
        """List the runs again."""
        runs = self.listed
        self._listed = {str(run.path): run.status for run in runs}
        options = [(f"{run.path.name} · {run.status} · {run.age}", str(run.path)) for run in runs]
        chosen = self._followed() or self._runs.value
        self._runs.options = options or [("none yet", "")]
        known = [value for _, value in self._runs.options]
        self._runs.value = chosen if chosen in known else known[0]
        self._runs.disabled = self._attach.disabled = not runs

    def describe(self) -> str:
        """Status and progress, in words."""
        session = self.session
        if session.problem:
            return f"not running: {session.problem}"
        if session.phase == "starting":
            return "starting"
        if session.snapshot is None:
            return "no run yet: press Start, or call lab.run.start()"
        facts = _facts(session.snapshot, self._elapsed())
        if not session.snapshot.live:
            facts.pop("elapsed")  # the same run gives the same words
        return " · ".join([*facts.values(), f"in {session.snapshot.path.name}"])

    def close(self) -> None:
        """End the clock and the painter; the run goes on."""
        self._closing.set()
        self._painter.close()
        if self._ticker is not None:
            self._ticker.join(timeout=5)
        super().close()

    # Inside.

    def _button(self, text: str, icon: str, tip: str, style: str, action: Any) -> widgets.Button:
        button = widgets.Button(description=text, icon=icon, tooltip=tip, button_style=style)
        button.layout.width = "auto"
        button.on_click(lambda _: None if button.disabled else self._act(action))  # the second click of a double one
        return button

    def _act(self, action: Any) -> None:
        """Do what a button says; a refusal is shown, not raised."""
        self._refused = ""
        try:
            action()
        except AIoTwinError as error:
            self._refused = str(error)
        self._draw()

    def _attach_chosen(self) -> None:
        if self._runs.value:
            self.attach(self._runs.value)

    def _followed(self) -> str:
        return "" if self.session.run is None else str(self.session.run.path)

    def _mark(self, _: Any = None) -> None:
        """Something has changed: draw it soon, in the painter's thread."""
        snapshot = self.session.snapshot
        if snapshot is not None:
            self._since = (snapshot.elapsed, time.monotonic())
            self._tick()
        self._painter.touch()

    def _mended(self, _: Any) -> None:
        """Another draft deserves another try."""
        self._refused = ""
        self._painter.touch()

    def _moved(self, change: Any) -> None:
        """A cluster was chosen, or this machine again: runs start there, until people choose otherwise here."""
        if change.new is not None:
            self._runtime.value = "kubernetes"
        elif change.old is not None and self._runtime.value == "kubernetes":
            self._runtime.value = RUNTIMES[0]
        self._painter.touch()

    def _place(self) -> str:
        """Where Start would run, if not on this machine."""
        if self._runtime.value != "kubernetes":
            return ""
        cluster = self.session.cluster
        if cluster is None:
            return ", on the cluster that is attached to, else kubectl's: see the panel Cluster"
        return f", on the cluster {cluster.get('context')}, namespace {cluster.get('namespace')}"

    def _elapsed(self) -> float:
        """Seconds at work; between two entries of the journal the clock goes on."""
        snapshot = self.session.snapshot
        seconds, since = self._since
        return seconds + (time.monotonic() - since if snapshot is not None and snapshot.live else 0.0)

    def _tick(self) -> None:
        """Let the clock go while a run is under way."""
        if self._ticker is None or not self._ticker.is_alive():
            self._ticker = threading.Thread(target=self._ticking, name="aiotwin-clock", daemon=True)
            self._ticker.start()

    def _ticking(self) -> None:
        while not self._closing.wait(TICK):
            snapshot = self.session.snapshot
            self._painter.touch()
            if self.session.phase != "starting" and (snapshot is None or (not snapshot.live and self._is_listed())):
                return

    def _is_listed(self) -> bool:
        """Whether the list tells of the followed run what is known of it; its process ends a bit after the run."""
        snapshot = self.session.snapshot
        return snapshot is None or self._listed.get(self._followed()) == snapshot.status

    def _paint(self) -> None:
        self._draw()
        if not self._is_listed():
            self.refresh()

    def _draw(self) -> None:
        session, snapshot = self.session, self.session.snapshot
        starting, live = session.phase == "starting", snapshot is not None and snapshot.live
        busy = starting or live
        resumable = snapshot is not None and snapshot.status in ("stopped", "interrupted", "failed")
        self._start.disabled = self._runtime.disabled = busy
        self._stop.disabled = starting or snapshot is None or not live or self._is_stopping(snapshot)
        self._resume.disabled = busy or not resumable
        self._resume.button_style = "warning" if snapshot is not None and snapshot.status == "interrupted" else ""
        self._status.value = self._status_html()
        words = self._refused or session.problem
        problem = complaint(words)
        if snapshot is not None and snapshot.last_words and not live:
            problem += f"<div class='aiotwin-log'>{escape(chr(10).join(snapshot.last_words))}</div>"
        self._problem.value = problem

    def _is_stopping(self, snapshot: Snapshot) -> bool:
        """Whether a stop is on its way, from here or from elsewhere."""
        unseen = self._stop_sent and self._stop_sent not in [sent.id for sent in snapshot.commands]
        return bool(unseen) or _awaits_stop(snapshot)

    def _status_html(self) -> str:
        session, snapshot = self.session, self.session.snapshot
        if session.phase == "starting":
            words = f"starting a process of its own · {time.monotonic() - self._began:.0f} s"
            return _bar(0.0, live=False) + f"<div class='aiotwin-facts' role='status'><b>{words}</b></div>"
        if snapshot is None:
            words = f"Nothing runs yet. Start takes the plan as it stands{escape(self._place())}."
            return f"<div class='aiotwin-facts' role='status'>{words}</div>"
        facts = _facts(snapshot, self._elapsed())
        phase = f"<b role='status'>{escape(facts.pop('phase'))}</b>"
        spans = phase + "".join(f"<span>{escape(text)}</span>" for text in facts.values())
        return _bar(progress_of(snapshot).share, live=snapshot.live) + f"<div class='aiotwin-facts'>{spans}</div>"


def _bar(share: float, *, live: bool) -> str:
    percent = f"{100 * share:.0f}"
    return (
        f"<div class='aiotwin-progress{'' if live else ' aiotwin-still'}' role='progressbar' aria-valuemin='0' "
        f"aria-label='progress of the run' aria-valuemax='100' aria-valuenow='{percent}'>"
        f"<div style='width:{percent}%'></div></div>"
    )


def _facts(snapshot: Snapshot, elapsed: float) -> dict[str, str]:
    """What is worth saying about a run, in order."""
    state, progress = snapshot.state, progress_of(snapshot)
    facts = {"phase": progress.phase}
    if state.history:
        facts["accuracy"] = f"accuracy {state.history[-1].accuracy:.1f} %"
    budget = "" if state.rules.budget is None else f" of {number(state.rules.budget):,}"
    facts["spent"] = f"spent {number(state.spent):,}{budget}"
    if snapshot.live:
        facts["left"] = f"≈ {progress.rounds_left} rounds left"
    else:
        facts["rounds"] = f"{max(state.round, 0)} rounds"
    facts["elapsed"] = f"{duration(elapsed)} at work"
    if progress.remaining is not None:
        facts["remaining"] = f"≈ {duration(progress.remaining)} to go"
    return facts


def duration(seconds: float) -> str:
    """`8 s`, `1:05 min`, `2:03 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def status_chip(session: Session) -> str:
    """The session's state as a chip."""
    if session.phase == "starting":
        return chip("starting", "busy")
    if session.snapshot is None:
        return chip("not started" if not session.problem else "could not start", "bad" if session.problem else "plain")
    status = session.snapshot.status
    return chip(status, KINDS.get(status, "plain"), session.snapshot.path.name)
