"""What learners predicted before the decisions of a run fell: kept as predictions.json beside the run, and scored.

A run has one prediction for every reconfiguration, named by the round after which it is made; who made it is not kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.events import Reconfiguration
from aiotwin_nb.orchestration.files import alone_in, write_atomic
from aiotwin_nb.orchestration.rundir import RunDirectory
from aiotwin_nb.orchestration.state import RunState
from aiotwin_nb.widgets.truth import Branch, Truth, read_truth, verdict

FILE = "predictions.json"
Choice = Literal["kept", "reverted"]
DECIDED = ("kept", "reverted")


class Prediction(BaseModel):
    """What somebody expects of one reconfiguration.

    `decision`: what will turn out to be better. `final_accuracy`: of the run, in percent. `sealed_after_round`: the
    last finished round when it was sealed; -1 before the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    after_round: Annotated[int, Field(ge=0)]
    decision: Choice
    final_accuracy: Annotated[float, Field(ge=0, le=100)] | None = None
    why: Annotated[str, Field(max_length=200)] = ""
    sealed_after_round: int = -1


@dataclass(frozen=True)
class Score:
    """How good a prediction was. None where it cannot be said, or not yet.

    `agrees`: with the orchestrator. `right`: with the truth (both are right at a tie); `orchestrator_right`: the same
    of the orchestrator. `off`: predicted less measured final accuracy, in points.
    """

    agrees: bool | None = None
    right: bool | None = None
    orchestrator_right: bool | None = None
    off: float | None = None


@dataclass(frozen=True)
class Tally:
    """Scores of several predictions, counted."""

    predictions: int = 0
    compared: int = 0
    agrees: int = 0
    known: int = 0
    right: int = 0
    orchestrator_right: int = 0

    @classmethod
    def of(cls, scores: Iterable[Score]) -> Tally:
        """Count."""
        scores = list(scores)
        return cls(
            predictions=len(scores),
            compared=sum(score.agrees is not None for score in scores),
            agrees=sum(score.agrees is True for score in scores),
            known=sum(score.right is not None for score in scores),
            right=sum(score.right is True for score in scores),
            orchestrator_right=sum(score.orchestrator_right is True for score in scores),
        )


def read_predictions(run: Path) -> dict[int, Prediction]:
    """All predictions of a run, by the round after which each change is made; raises InvalidInput if damaged."""
    try:
        found = _STORED.validate_json((run / FILE).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError):
        raise InvalidInput(f"{run / FILE}: is damaged; restore it from a copy, or move it away to begin anew") from None
    return {prediction.after_round: prediction for prediction in found}


def seal(run: Path, prediction: Prediction, state: RunState) -> None:
    """Keep a prediction for good; raises InvalidInput when there is one already or the decision has fallen."""
    if not is_open(state, prediction.after_round):
        raise InvalidInput(f"after round {prediction.after_round}: the decision has fallen; it is too late to predict")
    with alone_in(run):
        found = read_predictions(run)
        if prediction.after_round in found:
            raise InvalidInput(f"after round {prediction.after_round}: a prediction is sealed already")
        found[prediction.after_round] = prediction
        content = [found[key].model_dump() for key in sorted(found)]
        try:
            write_atomic(run / FILE, json.dumps(content, indent=1, ensure_ascii=False).encode())
        except OSError as error:
            raise InvalidInput(f"{run / FILE}: cannot be written: {error.strerror}") from None


def is_open(state: RunState, after_round: int) -> bool:
    """Whether something may still be predicted for the reconfiguration made after a round."""
    for record in state.reconfigurations:
        if record.after_round == after_round:
            return record.decision == "pending"
    return state.round <= after_round and state.status == "running"


def score(
    prediction: Prediction, record: Reconfiguration | None, branch: Branch | None, final_accuracy: float | None
) -> Score:
    """Compare a prediction with what was decided and, where known, with what both roads gave.

    `final_accuracy`: of the run, once it has finished.
    """
    if record is None or record.decision not in DECIDED:
        return Score()
    off = None
    if prediction.final_accuracy is not None and final_accuracy is not None:
        off = prediction.final_accuracy - final_accuracy
    mine, orchestrators = (
        None if branch is None else _right(d, branch) for d in (prediction.decision, record.decision)
    )
    return Score(prediction.decision == record.decision, mine, orchestrators, off)


def scores_of(state: RunState, predictions: Mapping[int, Prediction], truth: Truth) -> dict[int, Score]:
    """Scores of a run's predictions, by the round of their reconfiguration."""
    records = {record.after_round: record for record in state.reconfigurations}
    final = state.history[-1].accuracy if state.history and state.status == "finished" else None
    return {at: score(made, records.get(at), truth.of(at), final) for at, made in predictions.items()}


def tally(runs: Path) -> Tally:
    """All predictions of the runs in a folder; a run that cannot be read is left out."""
    scores: list[Score] = []
    for file in sorted(runs.glob(f"*/{FILE}")):
        try:
            predictions = read_predictions(file.parent)
            state = RunDirectory.open(file.parent).state()
        except InvalidInput:
            continue
        scores += scores_of(state, predictions, read_truth(file.parent)).values()
    return Tally.of(scores)


_STORED = TypeAdapter(list[Prediction])


def _right(decision: str, branch: Branch) -> bool | None:
    found = verdict(decision, branch)
    return None if found == "none" else found != "wrong"
