"""The orchestrator's one decision function: `decide(state, observation) -> (state, actions)`, pure.

The rules, in the order in which a run meets them:

1. the strategy plans the first configuration;
2. a round is charged when it has finished; a full validation window is decided then;
3. at the boundary to the next round, what happened (scripted events, commands) changes the infrastructure and the
   strategy plans again: mandatory changes are forced, optional ones are made if the budget covers them and their way
   back, and validated if the scenario says so;
4. a round is started only if the budget covers it.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from aiotwin_nb.continuum import Change, Infrastructure, Role
from aiotwin_nb.decision import (
    Decision,
    Fit,
    LogFit,
    Row,
    converged,
    forecast_load,
    foresee,
    is_armed,
    rounds_left,
    validate,
)
from aiotwin_nb.errors import InfeasiblePlan, InvalidInput
from aiotwin_nb.orchestration.events import (
    Action,
    BoundaryReached,
    Charged,
    CommandApplied,
    Curve,
    Decided,
    DecisionName,
    Deployed,
    InfrastructureChanged,
    Observation,
    Planned,
    Reconfiguration,
    Reconfigured,
    RoundFinished,
    RoundStarted,
    RunEnded,
    RunResumed,
    RunStarted,
    Window,
    WindowExtended,
    WindowMoved,
)
from aiotwin_nb.orchestration.question import infrastructure_for, question, revert_cost
from aiotwin_nb.orchestration.state import RunState, evolve
from aiotwin_nb.planning.configuration import Configuration, ConfigurationDiff, diff
from aiotwin_nb.planning.utility import dropped_by, utilities


def decide(state: RunState, observation: Observation) -> tuple[RunState, tuple[Action, ...]]:
    """Return the state after an observation and the actions that follow from it, in order."""
    step = _Step(evolve(state, observation))
    match observation:
        case RunStarted():
            _plan_first(step)
        case RoundFinished():
            _after_round(step)
        case BoundaryReached():
            _before_next_round(step)
        case RunResumed():
            if step.state.boundary == step.state.round >= 0 and step.state.round_under_way is None:
                _start_round(step)  # the run rested between two rounds
        case CommandApplied():
            pass  # acts at the boundary
    return step.state, tuple(step.actions)


class _Step:
    """The state as it evolves under the actions decided so far."""

    def __init__(self, state: RunState) -> None:
        self.state = state
        self.actions: list[Action] = []

    def do(self, action: Action) -> None:
        self.state = evolve(self.state, action)
        self.actions.append(action)

    def end(self, status: str, reason: str, message: str = "") -> None:
        self.do(RunEnded(status, reason, message))  # type: ignore[arg-type]

    def deploy(self, configuration: Configuration) -> None:
        cost = self.state.rules.cost_model.round_cost(self.state.infrastructure, configuration)
        self.do(Deployed(self.state.round, configuration, cost))


def _plan_first(step: _Step) -> None:
    state = step.state
    configuration = state.rules.plan(state.infrastructure, None)
    costs = state.rules.cost_model
    step.do(
        Planned(
            configuration,
            costs.round_cost(state.infrastructure, configuration),
            costs.aggregation_cost(state.infrastructure, configuration),
        )
    )


# After a round.


def _after_round(step: _Step) -> None:
    """Decide if the window is full, then end the run if this round was its last."""
    state = step.state
    ending = _ending(state)
    if state.window is not None and state.round >= state.window.evaluation_round:
        _evaluate(step, state.window, last=ending is not None)
    if ending is not None:
        step.end("finished", *ending)


def _ending(state: RunState) -> tuple[str, str] | None:
    """Stop reason and message, if the round that has just finished is the last."""
    objective, row = state.rules.scenario.objective, state.history[-1]
    target = objective.stops_at
    if target is not None and row.accuracy >= target:
        return "target", f"accuracy {row.accuracy:.2f} % reached the target of {target} %"
    if state.rules.hard_budget is None and state.rules.budget is not None and state.spent >= state.rules.budget:
        return "budget", "the round that has finished reached the budget"
    if row.round >= state.rules.scenario.training.max_rounds:
        return "rounds", f"round {row.round} is the last (training.max_rounds)"
    if objective.stop_when_converged and state.window is None and converged([r.accuracy for r in state.history]):
        return "converged", f"the accuracy has settled at about {row.accuracy:.2f} %"
    return None


def _evaluate(step: _Step, window: Window, *, last: bool) -> None:
    """Decide on the reconfiguration whose window is full, and go back if it is to be reverted.

    Nothing is changed back after the `last` round: it would be paid and never used.
    """
    state = step.state
    record = state.reconfigurations[window.index]
    back = revert_cost(state, window)
    imposed = state.rules.forks.get(record.after_round)
    extra = 0 if imposed or last else _extra_rounds_left(state, window, back)
    decision = validate(**question(state, window, extra_rounds_left=extra))
    if decision.evidence.extend and extra:
        return step.do(WindowExtended(window.index, window.evaluation_round + 1, decision.reason))
    verdict: DecisionName = imposed or decision.decision
    reason = "imposed to see this branch" if imposed else decision.reason
    if verdict == "reverted" and window.missing and not (imposed and state.rules.returning):
        verdict, reason = "forced", f"there is no way back: {', '.join(window.missing)} is gone; {reason}"
    elif verdict == "reverted" and last:
        reason = f"{reason}; the run ends with this round, so nothing was changed back"
    elif verdict == "reverted" and not _fits(state, back + window.base_round_cost):
        verdict, reason = "kept", f"the budget does not cover the revert and one round after it; {reason}"
    goes_back = verdict == "reverted" and not last
    idle = state.idle
    if goes_back:
        idle = (idle | set(diff(window.base, state.current).joined)) - {*window.base.parents, *window.base.aggregators}
    step.do(Decided(window.index, _with_evidence(record, decision, back, verdict, reason), tuple(sorted(idle))))
    if goes_back:
        _, returned = infrastructure_for(window, state)
        if returned:
            step.do(InfrastructureChanged(state.round, returned))
        step.do(Charged(state.round, "revert", back))
        step.deploy(window.base)
    return None


def _extra_rounds_left(state: RunState, window: Window, revert_cost: Decimal) -> int:
    """Rounds by which a window may still grow: to twice its length, while the way back stays covered."""
    longest = 2 * state.rules.scenario.validation.window
    rounds = longest - (window.evaluation_round - window.start_round)
    reserve = revert_cost + window.base_round_cost
    if state.rules.hard_budget is not None:
        rounds = min(rounds, rounds_left(state.rules.hard_budget - state.spent - reserve, state.round_cost))
    return max(rounds, 0)


def _with_evidence(
    record: Reconfiguration, decision: Decision, revert_cost: Decimal, verdict: DecisionName, reason: str
) -> Reconfiguration:
    evidence = decision.evidence
    return replace(
        record,
        decision=verdict,
        reason=reason,
        budget_left_at_evaluation=evidence.budget_left,
        accuracy_at_evaluation=evidence.accuracy,
        predicted_old=decision.predicted_old,
        predicted_new=decision.predicted_new,
        interval_old=decision.interval_old,
        interval_new=decision.interval_new,
        rounds_left_old=decision.rounds_left_old,
        rounds_left_new=decision.rounds_left_new,
        revert_cost=revert_cost,
        curve_old=_curve(evidence.old.fit, evidence.old.final_round),
        curve_new=_curve(evidence.new.fit, evidence.new.final_round),
    )


def _curve(fit: Fit | None, horizon: int | None) -> Curve | None:
    """A logarithmic fit for the record; other trends have none of this form."""
    if not isinstance(fit, LogFit):
        return None
    return Curve(fit.a, fit.b, fit.points[0], fit.points[-1], horizon)


# Before the next round.


def _before_next_round(step: _Step) -> None:
    stop = next((command.stop for command in step.state.commands if command.stop), None)
    change, skipped = _change_at_boundary(step.state)
    if change or skipped:
        step.do(InfrastructureChanged(step.state.round, change, skipped))
        if change:
            _move_window(step, change)
            _reconfigure(step, change)
    if step.state.status != "running":
        return
    if stop:
        step.end("stopped", stop)
    else:
        _start_round(step)


def _start_round(step: _Step) -> None:
    if not _fits(step.state, step.state.round_cost):
        step.end("finished", "budget", "the budget does not cover another round")
    else:
        step.do(RoundStarted(step.state.round + 1))


def _change_at_boundary(state: RunState) -> tuple[Change, tuple[str, ...]]:
    """Everything that changes now, as one change; parts that no longer make sense are skipped with the reason."""
    scripted = state.rules.changes.get(state.round, Change())
    parts = [scripted, *(command.change for command in state.commands if command.change)]
    parts += [_least_useful(state), _overloads(state)]
    merged, skipped = Change(), []
    infrastructure = state.infrastructure
    for part in parts:
        for single in _singles(part):
            try:
                infrastructure = infrastructure.apply(single)
            except InvalidInput as error:
                skipped.append(str(error))
            else:
                merged = merged.merged(single)
    return merged, tuple(skipped)


def _singles(change: Change) -> list[Change]:
    """A change node by node, in the order in which an infrastructure applies it."""
    return [
        *(Change(removed=(i,)) for i in change.removed),
        *(Change(added=(node,)) for node in change.added),
        *(Change(links={i: links}) for i, links in change.links.items()),
        *(Change(data={i: data}) for i, data in change.data.items()),
        *(Change(avoided=(i,)) for i in change.avoided),
        *(Change(readmitted=(i,)) for i in change.readmitted),
    ]


def _least_useful(state: RunState) -> Change:
    """The clients that a scripted `drop` takes out of the pipeline; one always stays."""
    events = [e for e in state.rules.scenario.events if e.after_round == state.round and e.drop is not None]
    avoided: tuple[str, ...] = ()
    for event in events:
        assert event.drop is not None
        members = set(state.current.clients) - set(avoided)
        nodes = {i: n for i, n in state.infrastructure.nodes.items() if n.role is not Role.CLIENT or i in members}
        known = state.training.norms  # a member whose updates were all left out has moved the model by nothing
        norms = {client: [known.get(client, 0.0)] for client in members} if known else {}
        utility = utilities.get(event.drop.utility)(Infrastructure(nodes), norms)
        avoided += dropped_by(utility, {state.round: event.drop.clients}, state.round)
    return Change(avoided=avoided)


def _overloads(state: RunState) -> Change:
    """Members whose overload is forecast are to be avoided; those whose load is forecast to be low again come back.

    The margin of 0.1 between the two keeps a node at the threshold from going in and out.
    """
    rule = state.rules.scenario.triggers.overload
    if rule is None or state.round < 1:
        return Change()
    avoided, readmitted = [], []
    members = {*state.current.clients, *state.current.aggregators} - {state.current.global_aggregator}
    for name, node in state.infrastructure.nodes.items():
        series = [node.load[min(i, len(node.load) - 1)] for i in range(state.round)] if node.load else []
        load = forecast_load(series, rule.horizon, history=rule.history)
        if load is None:
            continue
        if name in members and name not in state.overloaded and load >= rule.threshold:
            avoided.append(name)
        elif name in state.overloaded and load < rule.threshold - 0.1:
            readmitted.append(name)
    return Change(avoided=tuple(avoided), readmitted=tuple(readmitted))


def _move_window(step: _Step, change: Change) -> None:
    """Keep an open window's way back true to a change: without nodes that left, with the costs of now.

    Where clients of the base have lost their aggregator there is no way back any more, and the window is closed.
    """
    state, window = step.state, step.state.window
    if window is None:
        return
    missing = tuple(i for i in window.missing if i not in state.infrastructure.nodes)
    left = set(change.removed) - set(missing)
    base = window.base.without(left)
    if not base.clients or set(base.clients) != set(window.base.clients) - left:
        return _close_window(step, f"{', '.join(change.removed)} left inside the window")
    cost = window.base_round_cost if missing else state.rules.cost_model.round_cost(state.infrastructure, base)
    moved = replace(window, base=base, base_round_cost=cost, missing=missing)
    if moved != window:
        step.do(WindowMoved(moved))
    return None


def _reconfigure(step: _Step, change: Change) -> None:
    """Plan again after a change of the infrastructure, and make, refuse or validate what follows."""
    state, old = step.state, step.state.current
    reduced = old.without(change.removed)
    orphans = [i for i in old.clients if i in state.infrastructure.nodes and i not in reduced.clients]
    lost = tuple(i for i in change.removed if i in old.parents or i in old.aggregators)
    try:
        proposal = state.rules.plan(state.plannable(), reduced, state.training)
    except (InfeasiblePlan, InvalidInput) as error:  # invalid: a node joined without what strategy or costs need
        if orphans or not reduced.clients:
            return step.end("failed", "infeasible", f"no configuration is possible after this change: {error}")
        proposal = reduced
    if not lost and not diff(reduced, proposal):
        return step.deploy(reduced)  # same members and places, but link costs or data may be new
    record = _record(state, change, reduced, proposal)
    if orphans:
        return _force(step, record)
    beforehand = state.rules.scenario.validation.policy == "proactive" and state.round not in state.rules.forks
    if beforehand and diff(reduced, proposal):
        return _decide_beforehand(step, record, reduced, bool(lost))
    base = _way_back(state, change, proposal)
    if base is not None and _armed(state, record, base):
        return _begin_window(step, record, base, reduced)
    if lost and not diff(reduced, proposal):
        return _force(step, record)
    return _adopt_unvalidated(step, record, reduced, bool(lost))


def _record(state: RunState, change: Change, reduced: Configuration, proposal: Configuration) -> Reconfiguration:
    costs, infrastructure, old = state.rules.cost_model, state.infrastructure, state.current
    delta: ConfigurationDiff = diff(old, proposal)
    before = costs.round_cost(infrastructure, old) if reduced == old else state.round_cost
    return Reconfiguration(
        after_round=state.round,
        trigger=change,
        configuration=proposal,
        previous=old,
        aggregation_cost=costs.aggregation_cost(infrastructure, proposal),
        change_cost=costs.change_cost(infrastructure, reduced, proposal),
        round_cost_before=before,
        round_cost_after=costs.round_cost(infrastructure, proposal),
        joined=delta.joined,
        left=delta.left,
        moved=tuple(client for client, _, _ in delta.moved),
        proactive=bool(change.avoided),
        decision="not_validated",
        reason="",
    )


def _way_back(state: RunState, change: Change, proposal: Configuration) -> Window | None:
    """The window that a validation of the proposal would open; None when there is nothing to compare it with.

    The base is the last validated configuration, less the nodes that are gone. When that equals the proposal, all that
    changed is that nodes left: then the configuration with them is the base, for comparison, though it cannot return.
    """
    pending = state.window if state.window and not state.window.missing else None
    validated = pending.base if pending else state.current
    base = validated.without(change.removed)
    gone = tuple(i for i in change.removed if i in validated.parents or i in validated.aggregators)
    complete = set(base.clients) == set(validated.clients) - set(gone)
    if complete and base.clients and base != proposal:
        cost, gone = state.rules.cost_model.round_cost(state.infrastructure, base), ()
    elif gone:
        base, cost = validated, pending.base_round_cost if pending else state.round_cost
    else:
        return None
    return Window(
        index=len(state.reconfigurations),
        base=base,
        base_round=pending.base_round if pending else state.round,
        base_round_cost=cost,
        start_round=state.round,
        evaluation_round=state.round + state.rules.scenario.validation.window,
        missing=gone,
    )


def _armed(state: RunState, record: Reconfiguration, window: Window) -> bool:
    validation = state.rules.scenario.validation
    if record.after_round in state.rules.forks:
        return True
    if state.window is not None and not window.missing:
        return validation.policy != "off"  # what was being validated still is
    return is_armed(
        arm=validation.arm,
        policy=validation.policy,
        round_cost_before=window.base_round_cost,
        round_cost_after=record.round_cost_after,
        spent=state.spent,
        change_cost=record.change_cost,
        budget=state.rules.budget,
        objective=state.rules.scenario.objective.type,
    )


def _begin_window(step: _Step, record: Reconfiguration, window: Window, reduced: Configuration) -> None:
    """Make the change, to be validated after the window, if the budget covers it, its window and the way back."""
    state = step.state
    rounds = state.rules.scenario.validation.window
    home, _ = infrastructure_for(window, state)
    way_back = state.rules.cost_model.change_cost(home, record.configuration, window.base)
    if window.missing and not state.rules.returning:
        way_back = Decimal(0)
    needed = record.change_cost + rounds * record.round_cost_after + way_back + window.base_round_cost
    optional = bool(diff(reduced, record.configuration))
    if optional and not _fits(state, needed):
        reason = f"the budget does not cover the change, {rounds} rounds, the revert and one round after it"
        return _refuse(step, record, reduced, reason)
    if state.window is not None:
        _close_window(step, f"another change after round {state.round} came first; it is validated together with that")
    pending = replace(
        record,
        decision="pending",
        reason=f"to be validated after round {window.evaluation_round}",
        evaluation_round=window.evaluation_round,
    )
    _make(step, pending, window)
    return None


def _force(step: _Step, record: Reconfiguration) -> None:
    """A member or an aggregator is gone: what is left must be arranged anew, whatever it costs."""
    state = step.state
    if not _fits(state, record.change_cost + record.round_cost_after):
        gone = ", ".join(record.trigger.removed)
        return step.end("finished", "budget", f"the budget does not cover going on without {gone}")
    if state.window is not None:
        _close_window(step, f"{', '.join(record.trigger.removed)} left inside the window")
    _make(step, replace(record, decision="forced", reason=f"{', '.join(record.trigger.removed)} is gone"), None)
    return None


def _adopt_unvalidated(
    step: _Step, record: Reconfiguration, reduced: Configuration, forced: bool, *, reason: str = ""
) -> None:
    state = step.state
    if not _fits(state, record.change_cost + record.round_cost_after):
        return _refuse(step, record, reduced, "the budget does not cover the change and one round after it")
    off = state.rules.scenario.validation.policy == "off"
    unwatched = "validation is off" if off else "the budget buys no fewer rounds than before, so it is not validated"
    reason = reason or unwatched
    if forced:
        reason = f"{', '.join(record.trigger.removed)} is gone"
    if state.window is not None:
        _close_window(step, f"another change after round {state.round} came first")
    _make(step, replace(record, decision="forced" if forced else "not_validated", reason=reason), None)
    return None


def _decide_beforehand(step: _Step, record: Reconfiguration, reduced: Configuration, lost: bool) -> None:
    """Make an optional change only if an improvement is predicted (policy proactive); nothing is watched."""
    state = step.state
    if state.rules.budget is None:
        return _adopt_unvalidated(step, record, reduced, lost)
    foresight = foresee(
        [Row(row.round, row.accuracy, row.loss) for row in state.history],
        trend=state.rules.scenario.validation.trend,
        budget_left=state.rules.budget - state.spent,
        change_cost=record.change_cost,
        round_cost_before=record.round_cost_before,
        round_cost_after=record.round_cost_after,
        coverage_before=_coverage(state, reduced),
        coverage_after=_coverage(state, record.configuration),
    )
    if foresight is None:
        return _adopt_unvalidated(step, record, reduced, lost)
    record = replace(
        record,
        proactive=True,
        predicted_old=foresight.predicted_old,
        predicted_new=foresight.predicted_new,
        rounds_left_old=foresight.rounds_left_old,
        rounds_left_new=foresight.rounds_left_new,
    )
    sentence = (
        f"{foresight.predicted_new:.2f} % with the change ({foresight.rounds_left_new} rounds), "
        f"{foresight.predicted_old:.2f} % without ({foresight.rounds_left_old} rounds)"
    )
    if not foresight.worthwhile:
        return _refuse(step, record, reduced, f"no improvement is predicted: {sentence}", cause="proactive")
    return _adopt_unvalidated(step, record, reduced, lost, reason=f"an improvement is predicted: {sentence}")


def _coverage(state: RunState, configuration: Configuration) -> float:
    """Labels that the members hold / labels that anybody holds; 1 where no labels are declared."""
    nodes = state.infrastructure.nodes
    everything = {label for node in nodes.values() for label, count in node.data.items() if count}
    held = {label for i in configuration.clients for label, count in nodes[i].data.items() if count}
    return len(held) / len(everything) if everything else 1.0


def _refuse(
    step: _Step, record: Reconfiguration, reduced: Configuration, reason: str, *, cause: str = "budget"
) -> None:
    """Leave the pipeline as it is (less the nodes that are gone); nodes that wanted to join stay outside."""
    idle = tuple(sorted((step.state.idle | {*record.joined}) - {*reduced.parents, *reduced.aggregators}))
    step.do(Reconfigured(replace(record, decision="refused", reason=f"{cause}: {reason}"), None, idle))
    step.deploy(reduced)


def _make(step: _Step, record: Reconfiguration, window: Window | None) -> None:
    step.do(Reconfigured(record, window, tuple(sorted(step.state.idle))))
    step.do(Charged(step.state.round, "change", record.change_cost))
    step.deploy(record.configuration)


def _close_window(step: _Step, reason: str) -> None:
    """End an open window without a verdict."""
    window = step.state.window
    assert window is not None
    record = step.state.reconfigurations[window.index]
    undecided = replace(record, decision="undecided", reason=reason, evaluation_round=None)
    step.do(Decided(window.index, undecided, tuple(sorted(step.state.idle))))


def _fits(state: RunState, cost: Decimal) -> bool:
    """Whether a payment stays within the budget; always, where overshoot is allowed."""
    budget = state.rules.hard_budget
    return budget is None or state.spent + cost <= budget
