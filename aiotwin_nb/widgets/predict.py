"""Panel: Predict first. Learners commit themselves before the orchestrator does, and see afterwards who was right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from threading import RLock
from typing import Any

import ipywidgets as widgets
import traitlets

from aiotwin_nb.api import plan
from aiotwin_nb.continuum import Change, Node
from aiotwin_nb.errors import AIoTwinError, InvalidInput
from aiotwin_nb.orchestration.events import Reconfiguration
from aiotwin_nb.widgets.decision_card import STYLE, amount, delta_words, signed, trigger_words
from aiotwin_nb.widgets.painter import Painter
from aiotwin_nb.widgets.panel import Panel
from aiotwin_nb.widgets.predictions import (
    DECIDED,
    Prediction,
    Score,
    Tally,
    is_open,
    read_predictions,
    scores_of,
    seal,
    tally,
)
from aiotwin_nb.widgets.session import Session

PAINT_SECONDS = 0.3
CHOICES = (("Keep the change", "kept"), ("Go back", "reverted"))
NAMES = {"kept": "keep", "reverted": "revert"}
INTRODUCTION = (
    "Decide before the orchestrator does: is the change worth its cost? A sealed prediction cannot be changed; it is "
    "scored when the decision has fallen, and again when the other branch has been run."
)


@dataclass(frozen=True)
class Question:
    """One reconfiguration that can be, or was, predicted. `facts`: what is known of it; `open`: it can be."""

    after_round: int
    title: str
    facts: str
    open: bool
    record: Reconfiguration | None = None
    prediction: Prediction | None = None
    score: Score = field(default_factory=Score)


class PredictPanel(Panel):
    """Predictions of the learner, sealed before and scored after the decisions.

    `required`: what the orchestrator predicts for an open window stays hidden until the learner has sealed a
    prediction (`Session.reveal`).
    """

    title = "Predict first"
    required = traitlets.Bool(False)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.add_class("aiotwin-decisions")
        self._ahead: dict[int, Prediction] = {}  # sealed before the run, which has no folder yet
        self._known: tuple[object, Tally] = (None, Tally())
        self._plans: tuple[object, Mapping[int, Mapping[str, Any]]] = (None, {})
        self._heading, self._tally = widgets.HTML(), widgets.HTML()
        self._questions = widgets.VBox()
        self._views: dict[int, _QuestionView] = {}
        self.children = (widgets.HTML(STYLE), self._heading, self._questions, self._tally)
        self._one_at_a_time = RLock()
        self._painter = Painter(self._paint, pause=PAINT_SECONDS, name="aiotwin-predict")
        session.observe(self._touch, ["scenario", "snapshot", "truth"])
        session.observe(self._begun, "phase")
        self.observe(self._touch, "required")
        self._paint()

    def describe(self) -> str:
        """What was predicted, and how good it was."""
        told = [question_words(question) for question in self.questions()]
        return "\n\n".join([self.title, *told, *filter(None, [tally_words(self._known[1])])])

    def questions(self) -> list[Question]:
        """Everything that can be, or was, predicted now. Raises InvalidInput when predictions.json is damaged."""
        snapshot = self.session.snapshot
        if snapshot is None:
            return self._scripted()
        state, made = snapshot.state, read_predictions(snapshot.path)
        scores = scores_of(state, made, self.session.truth)
        found = []
        for record in state.reconfigurations:
            at = record.after_round
            if record.decision in (*DECIDED, "pending") or at in made:
                title = f"After round {at}: {trigger_words(record.trigger)}"
                opened = is_open(state, at) and at not in made
                asked = Question(at, title, _facts(record), opened, record, made.get(at), scores.get(at, Score()))
                found.append(asked)
        seen = {question.after_round for question in found}
        ahead = [made[at] for at in sorted(made) if at not in seen]
        return found + [self._sealed_ahead(prediction) for prediction in ahead]

    def commit(
        self, after_round: int, decision: str, *, final_accuracy: float | None = None, why: str = ""
    ) -> Prediction:
        """Seal a prediction for the reconfiguration made after a round: `kept` or `reverted`.

        `final_accuracy`: of the run, in percent. Raises InvalidInput when it is too late or one is sealed already.
        """
        question = next((q for q in self.questions() if q.after_round == after_round), None)
        if question is None or not question.open:
            raise InvalidInput(f"after round {after_round}: there is nothing to predict now")
        if decision not in DECIDED:
            raise InvalidInput(f"decision: {decision!r} must be one of {', '.join(DECIDED)}")
        snapshot = self.session.snapshot
        prediction = Prediction(
            after_round=after_round,
            decision=decision,
            final_accuracy=final_accuracy,
            why=why.strip()[:200],
            sealed_after_round=-1 if snapshot is None else max(snapshot.state.round, 0),
        )
        if snapshot is None:
            self._ahead[after_round] = prediction
        else:
            seal(snapshot.path, prediction, snapshot.state)
        self._painter.touch(hurry=True)
        return prediction

    def close(self) -> None:
        """End the painter. Safe to call twice."""
        self._painter.close()
        super().close()

    # What there is to predict.

    def _scripted(self) -> list[Question]:
        """Before the run: what its scenario says will change."""
        if self.session.phase != "none":
            return []
        changes = self.session.scenario.changes()
        self._ahead = {at: made for at, made in self._ahead.items() if at in changes}
        return [
            Question(
                at,
                f"After round {at}: {trigger_words(change)}",
                self._planned_facts(at, change),
                at not in self._ahead,
                prediction=self._ahead.get(at),
            )
            for at, change in changes.items()
        ]

    def _planned_facts(self, after_round: int, change: Change) -> str:
        """What a scripted change brings and costs by the plan; no costs where there is no plan (yet)."""
        scenario = self.session.scenario
        if self._plans[0] is not scenario:
            try:
                made = plan(scenario)["reconfigurations"]
            except AIoTwinError:
                made = []
            self._plans = scenario, {each["after_round"]: each for each in made}
        brought = "".join(f"{_brings(node)}. " for node in change.added)
        planned = self._plans[1].get(after_round)
        if planned is None:
            return brought
        before, after = planned["round_cost_before"], planned["round_cost_after"]
        return (
            f"{brought}The change costs {planned['change_cost']:,} (Ψ_rc); a round {before:,} → {after:,} "
            f"(Ψ_pr {planned['post_cost']:+,})."
        )

    def _sealed_ahead(self, prediction: Prediction) -> Question:
        change = self.session.scenario.changes().get(prediction.after_round)
        what = "" if change is None else f": {trigger_words(change)}"
        title = f"After round {prediction.after_round}{what}"
        return Question(prediction.after_round, title, "", False, prediction=prediction)

    def _begun(self, change: Any) -> None:
        """Take what was sealed before the run into the folder of the run that was started, and of no other."""
        if change.new == "attached" and change.old == "starting" and self.session.snapshot is not None:
            snapshot, ahead = self.session.snapshot, self._ahead
            self._ahead = {}
            for prediction in ahead.values():
                seal(snapshot.path, prediction, snapshot.state)
        elif change.new == "attached":
            self._ahead = {}
        self._touch(change)

    # Showing.

    def _touch(self, change: Any) -> None:
        self._painter.touch()

    def _paint(self) -> None:
        with self._one_at_a_time:
            self._refresh()
        self.changed()

    def _refresh(self) -> None:
        """Bring everything up to date; what has not changed is left alone, and so is what is being typed."""
        problem = ""
        try:
            questions = self.questions()
        except InvalidInput as error:
            questions, problem = [], str(error)
        for question in questions:
            if question.after_round not in self._views:
                self._views[question.after_round] = _QuestionView(self._commit)
            self._views[question.after_round].show(question)
        shown = tuple(self._views[question.after_round] for question in questions)
        if self._questions.children != shown:
            self._questions.children = shown
        self._heading.value = _heading(questions, problem)
        self._count(questions)
        self._veil(questions)

    def _count(self, questions: list[Question]) -> None:
        """The tally over all runs beside this one; read again only when this run's scores have changed."""
        snapshot = self.session.snapshot
        folder = self.session.runs if snapshot is None else snapshot.path.parent
        current = (folder, tuple((q.prediction, q.score) for q in questions))
        if current != self._known[0]:
            self._known = (current, tally(Path(folder)))
            words = tally_words(self._known[1])
            self._tally.value = f"<p class='quiet' role='status'>{escape(words)}</p>" if words else ""

    def _veil(self, questions: list[Question]) -> None:
        waiting = any(q.open and q.record is not None for q in questions)
        self.session.reveal = not (self.required and waiting)

    def _commit(self, after_round: int, form: Mapping[str, Any]) -> str:
        """Seal what a form says; returns what is wrong with it."""
        try:
            self.commit(after_round, **form)
        except InvalidInput as error:
            return str(error)
        return ""


def parse_accuracy(text: str) -> float | None:
    """A percentage from what was typed, or None for nothing; raises InvalidInput."""
    text = text.strip().removesuffix("%").strip().replace(",", ".")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise InvalidInput(f"final accuracy: {text!r} must be a number from 0 to 100 (percent), or nothing")
    return value


def question_words(question: Question) -> str:
    """One question as a paragraph."""
    return " ".join(part for part in (f"{question.title}.", sealed_words(question), *score_words(question)) if part)


def sealed_words(question: Question) -> str:
    """What was predicted."""
    made = question.prediction
    if made is None:
        return "" if question.open else "No prediction was sealed in time."
    when = "before the run" if made.sealed_after_round < 0 else f"after round {made.sealed_after_round}"
    end = "" if made.final_accuracy is None else f", ending at {made.final_accuracy:g} %"
    why = f" ({made.why})" if made.why else ""
    return f"You predicted: {NAMES[made.decision]}{end}{why}; sealed {when}."


def score_words(question: Question) -> list[str]:
    """How good it was, as far as is known, a sentence each."""
    made, score, record = question.prediction, question.score, question.record
    if made is None or record is None:
        return []
    if record.decision == "pending":
        return ["The decision has still to fall."]
    if score.agrees is None:
        return [f"There was nothing to decide: {record.reason}."]
    told = [] if score.right is None else [_BOTH[score.right, bool(score.orchestrator_right)]]
    told.append(f"The orchestrator {record.decision}, {'= as you did' if score.agrees else '≠ unlike you'}.")
    if score.off is not None:
        side = "below" if score.off > 0 else "above"
        told.append(f"The run ended {abs(score.off):.1f} points {side} the accuracy that you named.")
    return told


_BOTH = {
    (True, True): "✔ You were right, and so was the orchestrator: the other branch shows it.",
    (True, False): "✔ You were right, the orchestrator was wrong: the other branch shows it.",
    (False, True): "✘ You were wrong, the orchestrator was right: the other branch shows it.",
    (False, False): "✘ You were wrong, and so was the orchestrator: the other branch shows it.",
}


def tally_words(count: Tally) -> str:
    """The running score over all runs here."""
    if not count.compared:
        return ""
    words = f"So far: {count.agrees} of {count.compared} as the orchestrator decided"
    if count.known:
        words += f"; right {count.right} of {count.known}, the orchestrator {count.orchestrator_right} of {count.known}"
    return words + "."


def _brings(node: Node) -> str:
    labels = ", ".join(str(label) for label, count in node.data.items() if count)
    if not labels:
        return f"{node.id} brings data of the task"
    return f"{node.id} brings {node.samples:,} samples of label{'s' * (', ' in labels)} {labels}"


def _facts(record: Reconfiguration) -> str:
    return (
        f"{', '.join(delta_words(record))}. The change costs {amount(record.change_cost)} (Ψ_rc); a round "
        f"{amount(record.round_cost_before)} → {amount(record.round_cost_after)} (Ψ_pr {signed(record.post_cost)})."
    )


def _heading(questions: list[Question], problem: str) -> str:
    html = f"<b>{PredictPanel.title}</b>"
    if problem:
        return f"{html} <span role='alert'>✘ {escape(problem)}</span>"
    if any(question.open for question in questions):
        return f"{html}<br><span class='quiet'>{INTRODUCTION}</span>"
    return html if questions else f"{html} <span class='quiet'>There is nothing to predict now.</span>"


class _QuestionView(widgets.VBox):  # type: ignore[misc]
    """A question on the screen: a form while it is open, then what was sealed, then the score."""

    def __init__(self, commit: Callable[[int, Mapping[str, Any]], str]) -> None:
        self._commit, self._question = commit, Question(0, "", "", False)
        self._top, self._below, self._problem = widgets.HTML(), widgets.HTML(), widgets.HTML()
        wide = {"description_width": "110px"}
        self.choice = widgets.ToggleButtons(options=CHOICES, value=None, tooltips=["Keep the change", "Take it back"])
        label = widgets.HTML("My decision", layout={"width": "110px", "margin": "2px 0 2px 2px"})
        label.add_class("right")
        self.accuracy = widgets.Text(
            description="Final accuracy", placeholder="optional, in %", style=wide, layout={"width": "280px"}
        )
        self.why = widgets.Text(
            description="Because", placeholder="optional, one line", style=wide, layout={"width": "min(560px, 100%)"}
        )
        self.button = widgets.Button(
            description="Seal my prediction",
            icon="lock",
            disabled=True,
            tooltip="Seals it for good; choose keep or go back first",
            layout={"width": "auto", "align_self": "flex-start", "margin": "4px 0 2px 120px"},
        )
        self.choice.observe(self._choose, "value")
        self.button.on_click(self._seal)
        self._form = widgets.VBox(
            [widgets.HBox([label, self.choice]), self.accuracy, self.why, self.button, self._problem]
        )
        super().__init__([self._top, self._form, self._below])
        self.add_class("aiotwin-card")

    def show(self, question: Question) -> None:
        """Show a question; what is being typed stays."""
        if question == self._question:
            return
        self._question = question
        badge = "open" if question.open else "sealed" if question.prediction is not None else "closed"
        self._top.value = (
            f'<div class="head"><h4>{escape(question.title)}</h4>'
            f'<span class="badge {"pending" if question.open else ""}">{badge}</span></div>'
            f'<p class="why">{escape(question.facts)}</p>'
        )
        scored = "".join(f"<p>{escape(text)}</p>" for text in score_words(question))
        told = f"<p class='why'>{escape(sealed_words(question))}</p>"
        self._below.value = told + (f'<div class="truth">{scored}</div>' if scored else "")
        self._form.layout.display = None if question.open else "none"

    def _choose(self, change: Any) -> None:
        self.button.disabled = self.choice.value is None

    def _seal(self, button: widgets.Button) -> None:
        try:
            form = {
                "decision": self.choice.value,
                "final_accuracy": parse_accuracy(self.accuracy.value),
                "why": self.why.value,
            }
            problem = self._commit(self._question.after_round, form)
        except InvalidInput as error:
            problem = str(error)
        self._problem.value = f"<span role='alert'>✘ {escape(problem)}</span>" if problem else ""
