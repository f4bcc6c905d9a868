"""Reactive reconfiguration validation (RVA): after W rounds, predict both futures and keep or revert.

The rules are those of the original system (RVA steps 2 and 5); everything here is a function of plain rows and numbers,
so a decision can be scored without a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from aiotwin_nb.continuum import exact
from aiotwin_nb.decision.trends import Fit, Row, trends
from aiotwin_nb.errors import InvalidInput, did_you_mean
from aiotwin_nb.registry import Registry

Verdict = Literal["kept", "reverted", "undecided"]
Number = Decimal | float | int
OBJECTIVES = ("total_budget", "cost_min", "both")  # both: decided like total_budget, stopped at the target too


@dataclass(frozen=True)
class Future:
    """One of the two futures: what the rest of the run gives in a configuration.

    `rounds_left`: rounds the remaining budget buys (total_budget) or rounds to the target (cost_min; None = never).
    `final_round`: where the trend is evaluated. `predicted`: accuracy there in percent, `interval`: 80 %.
    `cost`: what these rounds cost, the revert included for the old configuration. `fit`: the trend itself.
    """

    round_cost: Decimal
    rounds_left: int | None
    final_round: int | None
    predicted: float | None
    interval: tuple[float, float] | None
    cost: Decimal | None
    fit: Fit | None


@dataclass(frozen=True)
class Evidence:
    """Everything a policy decides on.

    `extend`: the policy is undecided because one more round in the new configuration is worth more than it costs.
    `context`: see `aiotwin_nb.orchestration.question`.
    """

    objective: str
    target: float | None
    evaluation_round: int
    accuracy: float
    spent: Decimal
    budget_left: Decimal | None
    revert_cost: Decimal
    old: Future
    new: Future
    before: tuple[Row, ...]
    window: tuple[Row, ...]
    context: Mapping[str, Any] | None = None
    extend: bool = False


class Forecast(NamedTuple):
    """A policy's own prediction of a final accuracy (percent), with its 80 % interval."""

    predicted: float
    interval: tuple[float, float] | None = None


class Judgement(NamedTuple):
    """What a policy returns; a plain (verdict, reason) will do.

    `old`, `new`: its own forecasts, in place of the trend's. `extend`: undecided, and one more round in the window is
    worth more than it costs; the orchestration then extends the window while the budget allows.
    """

    verdict: Verdict
    reason: str
    old: Forecast | None = None
    new: Forecast | None = None
    extend: bool = False


@dataclass(frozen=True)
class Decision:
    """A policy's verdict with its evidence."""

    decision: Verdict
    reason: str
    evidence: Evidence

    @property
    def predicted_old(self) -> float | None:
        """Predicted final accuracy (percent) of the old configuration."""
        return self.evidence.old.predicted

    @property
    def predicted_new(self) -> float | None:
        """Predicted final accuracy (percent) of the new configuration."""
        return self.evidence.new.predicted

    @property
    def interval_old(self) -> tuple[float, float] | None:
        """80 % prediction interval of the old configuration's final accuracy."""
        return self.evidence.old.interval

    @property
    def interval_new(self) -> tuple[float, float] | None:
        """80 % prediction interval of the new configuration's final accuracy."""
        return self.evidence.new.interval

    @property
    def rounds_left_old(self) -> int | None:
        """Rounds left in the old configuration after paying for the revert."""
        return self.evidence.old.rounds_left

    @property
    def rounds_left_new(self) -> int | None:
        """Rounds left in the new configuration."""
        return self.evidence.new.rounds_left


Policy = Callable[[Evidence], tuple[Verdict, str] | Judgement]
policies: Registry[Policy] = Registry("validation policy", "aiotwin_nb.policies")


@policies.register("rva")
def rva(evidence: Evidence) -> tuple[Verdict, str]:
    """Revert when the old configuration's predicted future is better; a tie keeps (RVA step 5)."""
    if evidence.old.fit is None or evidence.new.fit is None:
        return "undecided", "there are too few rounds to fit a trend on both sides; the new configuration stays"
    return _rva_cost(evidence) if evidence.objective == "cost_min" else _rva_budget(evidence)


def _rva_budget(evidence: Evidence) -> tuple[Verdict, str]:
    old, new = evidence.old, evidence.new
    assert old.predicted is not None
    assert new.predicted is not None
    worse = old.predicted > new.predicted
    sentence = (
        f"the new configuration is predicted to end at {new.predicted:.2f} % ({new.rounds_left} rounds left), "
        f"the old one at {old.predicted:.2f} % ({old.rounds_left} rounds left)"
    )
    return ("reverted", sentence) if worse else ("kept", sentence)


def _rva_cost(evidence: Evidence) -> tuple[Verdict, str]:
    old, new = evidence.old, evidence.new
    if old.cost is None:
        return "kept", f"the old configuration's trend never reaches {evidence.target} %"
    if new.cost is None:
        return "reverted", f"the new configuration's trend never reaches {evidence.target} %, the old one's does"
    sentence = (
        f"reaching {evidence.target} % is predicted to cost {_plain(new.cost)} in the new configuration, "
        f"{_plain(old.cost)} in the old one (its revert included)"
    )
    return ("reverted", sentence) if old.cost < new.cost else ("kept", sentence)


@policies.register("always_keep")
def always_keep(evidence: Evidence) -> tuple[Verdict, str]:
    """Keep whatever the window shows."""
    return "kept", "the policy always keeps"


@policies.register("always_revert")
def always_revert(evidence: Evidence) -> tuple[Verdict, str]:
    """Revert whatever the window shows."""
    return "reverted", "the policy always reverts"


@policies.register("off")
def off(evidence: Evidence) -> tuple[Verdict, str]:
    """No validation: a change stays as it was made."""
    return "kept", "validation is off"


@policies.register("proactive")
def proactive(evidence: Evidence) -> tuple[Verdict, str]:
    """Decide before a change is made (see `foresee`); one that was made stays."""
    return "kept", "it was decided before it was made"


def rounds_left(budget_left: Decimal, round_cost: Decimal) -> int:
    """⌊budget left / cost of a round⌋, never below 0."""
    if budget_left <= 0:
        return 0
    return int((budget_left / round_cost).to_integral_value(ROUND_FLOOR))


def is_armed(
    *,
    arm: str,
    policy: str,
    round_cost_before: Decimal,
    round_cost_after: Decimal,
    spent: Decimal,
    change_cost: Decimal,
    budget: Decimal | None,
    objective: str = "total_budget",
) -> bool:
    """Whether a change is going to be validated (RVA step 2).

    `arm` "always" arms every change; "fewer_rounds" only one after which the budget buys fewer rounds. With objective
    cost_min, or without a budget, the measure is the cost of the rounds to come: armed when a round got dearer.
    """
    if policy in ("off", "proactive"):
        return False
    if arm == "always":
        return True
    if budget is None or objective == "cost_min":
        return round_cost_after > round_cost_before
    now = rounds_left(budget - spent, round_cost_before)
    return rounds_left(budget - spent - change_cost, round_cost_after) < now


def validate(
    before: Iterable[Sequence[float]],
    window: Iterable[Sequence[float]],
    *,
    round_cost_before: Number,
    round_cost_after: Number,
    spent: Number,
    budget: Number | None,
    revert_cost: Number = 0.0,
    objective: str = "total_budget",
    target: float | None = None,
    policy: str = "rva",
    trend: str = "log",
    context: Mapping[str, Any] | None = None,
) -> Decision:
    """Decide whether a reconfiguration is kept, from plain rows.

    `before`: rows (round, accuracy in percent, loss) of the rounds finished before the change; round 0 is the untrained
    model and may be missing. `window`: the same for the rounds since. `spent`: everything spent so far, the change
    included. Costs are in the scenario's unit. `context`: what the orchestrator knows besides the curve.
    Raises InvalidInput for an unknown policy, trend or objective and for rows that make no sense.
    """
    old_rows, new_rows = _rows("before", before), _rows("window", window)
    _check_question(new_rows, objective, target, budget)
    chosen = trends.get(trend)
    evaluation_round = new_rows[-1].round
    money = None if budget is None else exact(budget) - exact(spent)
    revert = exact(revert_cost)

    def future(fit: Fit | None, round_cost: Number, extra: Decimal) -> Future:
        cost = exact(round_cost)
        if cost <= 0:
            raise InvalidInput(f"the cost of a round is {cost}; it must be above 0")
        if objective == "cost_min":
            return _future_to_target(fit, cost, extra, evaluation_round + chosen.ahead, target)
        assert money is not None
        return _future_to_budget(fit, cost, extra, evaluation_round, money)

    evidence = Evidence(
        objective=objective,
        target=target,
        evaluation_round=evaluation_round,
        accuracy=new_rows[-1].accuracy,
        spent=exact(spent),
        budget_left=money,
        revert_cost=revert,
        old=future(chosen.before(old_rows), round_cost_before, revert),
        new=future(chosen.window(new_rows), round_cost_after, Decimal(0)),
        before=old_rows,
        window=new_rows,
        context=context,
    )
    judgement = Judgement(*policies.get(policy)(evidence))
    evidence = replace(
        evidence,
        old=_foreseen(evidence.old, judgement.old),
        new=_foreseen(evidence.new, judgement.new),
        extend=judgement.extend,
    )
    return Decision(judgement.verdict, judgement.reason, evidence)


def _foreseen(future: Future, forecast: Forecast | None) -> Future:
    """A future with a policy's own forecast in place of the trend's."""
    if forecast is None:
        return future
    return replace(future, predicted=forecast.predicted, interval=forecast.interval)


def _future_to_budget(fit: Fit | None, round_cost: Decimal, extra: Decimal, now: int, money: Decimal) -> Future:
    left = rounds_left(money - extra, round_cost)
    final = now + left
    return Future(
        round_cost=round_cost,
        rounds_left=left,
        final_round=final,
        predicted=None if fit is None else fit.at(final),
        interval=None if fit is None else fit.interval(final),
        cost=left * round_cost + extra,
        fit=fit,
    )


def _future_to_target(fit: Fit | None, round_cost: Decimal, extra: Decimal, now: int, target: float | None) -> Future:
    assert target is not None
    reached = None if fit is None else fit.first_x_reaching(target)
    left = None if reached is None else max(reached - now, 0)
    return Future(
        round_cost=round_cost,
        rounds_left=left,
        final_round=reached,
        predicted=None if fit is None or reached is None else fit.at(reached),
        interval=None if fit is None or reached is None else fit.interval(reached),
        cost=None if left is None else left * round_cost + extra,
        fit=fit,
    )


def _rows(name: str, rows: Iterable[Sequence[float]]) -> tuple[Row, ...]:
    try:
        parsed = tuple(Row(int(r), float(a), float(loss)) for r, a, loss in rows)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name}: every row must be (round, accuracy, loss): {error}") from None
    for earlier, later in pairwise(parsed):
        if later.round <= earlier.round:
            raise InvalidInput(f"{name}: round {later.round} follows round {earlier.round}; rounds must ascend")
    for row in parsed:
        if not 0 <= row.accuracy <= 100:
            raise InvalidInput(f"{name}: round {row.round} has accuracy {row.accuracy}; it must be a percentage, 0–100")
    return parsed


def _check_question(window: Sequence[Row], objective: str, target: float | None, budget: Number | None) -> None:
    if not window:
        raise InvalidInput("window: there is no row; a decision needs at least one round after the change")
    if objective not in OBJECTIVES:
        allowed = ", ".join(OBJECTIVES)
        raise InvalidInput(
            f"unknown objective {objective!r}; known are {allowed}.{did_you_mean(objective, OBJECTIVES)}"
        )
    if objective != "total_budget" and target is None:
        raise InvalidInput(f"objective {objective} needs a target accuracy (percent)")
    if objective != "cost_min" and budget is None:
        raise InvalidInput(f"objective {objective} needs a budget")


def _plain(cost: Decimal) -> str:
    return f"{cost.normalize():f}"
