"""One global round: a strategy over a Grid, twice. The same code serves calls in one process and pods.

Messages between the tiers carry, besides arrays, a ConfigRecord ``config``:

- ``round``, ``local-round``, ``local-rounds``, ``epochs``, ``clusters`` (JSON: {aggregator: [client, …]}), and what
  clients are told (``lr``, ``batch-size`` …). A local aggregator passes all of it on; keys that the global strategy
  adds (FedProx's ``proximal-mu``) therefore reach the clients too, unless the local strategy sets its own.
- ``report-updates`` (where true): the last layer's change of every client is reported.

A reply carries arrays, a MetricRecord with ``num-examples``, and from a local aggregator a ConfigRecord ``report``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import Strategy

from fl_service import aggregation
from fl_service.errors import FLServiceError, StrategyError
from fl_service.grid import MemberGrid
from fl_service.records import to_arrays, to_record
from fl_service.spec import REPORT_UPDATES, Plan
from fl_service.updates import last_layer_change

SAMPLES = "num-examples"
LOSS_KEYS = ("train_loss", "train-loss", "loss")
_STEP = "steps"


@dataclass(frozen=True)
class ClientReport:
    """What one client did in one local round (1, 2, …); `update_norm`: ‖w_after − w_before‖₂, `seconds`: wall time."""

    client: str
    aggregator: str
    local_round: int
    samples: int
    train_loss: float
    seconds: float
    update_norm: float


@dataclass(frozen=True)
class Outcome:
    """What came of a round of one tier: `arrays` is None when the model is unchanged.

    `metrics`: {node: its metrics} of the nodes whose update can be used; `reports`: what clients did; `problems`:
    {node: why its update was left out}; `updates`: {client: change of its last layer}, where asked for.
    """

    arrays: ArrayRecord | None
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reports: tuple[ClientReport, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    updates: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def samples(self) -> dict[str, float]:
        """{node: training samples behind its update}."""
        return {node: metrics[SAMPLES] for node, metrics in self.metrics.items()}

    @property
    def loss(self) -> float:
        """Training loss, averaged over samples; NaN where no node reports one."""
        known = [m for m in self.metrics.values() if not math.isnan(training_loss(m))]
        total = sum(m[SAMPLES] for m in known)
        return sum(m[SAMPLES] * training_loss(m) for m in known) / total if known else math.nan


def training_loss(metrics: Mapping[str, Any]) -> float:
    """Return the training loss among a reply's metrics, NaN where there is none."""
    return next((float(metrics[key]) for key in LOSS_KEYS if key in metrics), math.nan)


def run_tier(
    strategy: Strategy,
    grid: MemberGrid,
    members: Sequence[str],
    arrays: ArrayRecord,
    config: Mapping[str, Any],
    step: int,
) -> Outcome:
    """Run one round of a strategy with exactly these members: configure, send and receive, check, aggregate.

    An update that is an error, not finite or of another shape is left out and stated in `problems`.
    """
    grid.begin_round(members, int(config["round"]), int(config.get("local-round", 0)))
    aggregation.forget_sent(strategy)
    messages = list(strategy.configure_train(step, arrays, ConfigRecord(dict(config)), grid))
    _check_all_asked(strategy, messages, members, grid)
    sent = to_arrays(arrays, copy=False)
    replies = {grid.name_of(reply.metadata.src_node_id): reply for reply in grid.send_and_receive(messages)}
    metrics: dict[str, dict[str, Any]] = {}
    problems = {name: "it did not reply in time" for name in members if name not in replies}
    for name, reply in replies.items():
        try:
            metrics[name] = _inspect(reply, sent)
        except FLServiceError as problem:
            problems[name] = str(problem)
        problems |= _nested_problems(reply)
    # Taken before the strategy sees the replies: some strategies take them apart.
    reports = tuple(r for name in metrics for r in _reports(replies[name], name, grid.owner, config, metrics[name]))
    updates = _updates({name: replies[name] for name in metrics}, sent) if config.get(REPORT_UPDATES) else {}
    outcome = Outcome(None, metrics, reports, problems, updates)
    if not metrics:
        return outcome
    try:
        return replace(outcome, arrays=_aggregate(strategy, step, [replies[name] for name in metrics], sent))
    except FLServiceError as problem:
        return replace(outcome, problems={**problems, grid.owner: str(problem)})


def _check_all_asked(strategy: Strategy, messages: list[Message], members: Sequence[str], grid: MemberGrid) -> None:
    asked = sorted(grid.name_of(message.metadata.dst_node_id) for message in messages)
    if asked != sorted(members):
        raise StrategyError(f"{type(strategy).__name__} asked {asked}, but the members are {sorted(members)}")


def _inspect(reply: Message, sent: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return a reply's metrics, with a client's update norm; raises FLServiceError for one that cannot be used."""
    if reply.has_error():
        raise FLServiceError(reply.error.reason)
    records = list(reply.content.array_records.values())
    metric_records = list(reply.content.metric_records.values())
    if len(records) != 1 or len(metric_records) != 1:
        raise FLServiceError("its reply needs exactly one ArrayRecord and one MetricRecord")
    metrics = dict(metric_records[0])
    samples = metrics.get(SAMPLES)
    if not isinstance(samples, int | float) or not 0 < samples < math.inf:
        raise FLServiceError(f"its MetricRecord needs {SAMPLES!r} above 0, it has {samples!r}")
    loss = training_loss(metrics)
    if any(key in metrics for key in LOSS_KEYS) and not math.isfinite(loss):
        raise FLServiceError(f"its training loss is {loss}: it diverged; try a smaller learning rate")
    arrays = to_arrays(records[0], copy=False)
    _check_fits(arrays, sent)
    if "update_norm" not in metrics and "report" not in reply.content.config_records:
        metrics["update_norm"] = _distance(arrays, sent)
    return metrics


def _check_fits(arrays: Mapping[str, np.ndarray], sent: Mapping[str, np.ndarray]) -> None:
    if arrays.keys() != sent.keys() or any(arrays[key].shape != sent[key].shape for key in sent):
        raise FLServiceError("its arrays have other names or shapes than the model it was sent")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise FLServiceError("its arrays are not finite (NaN or infinite): it diverged; try a smaller learning rate")


def _distance(arrays: Mapping[str, np.ndarray], sent: Mapping[str, np.ndarray]) -> float:
    with np.errstate(over="ignore"):
        return math.sqrt(sum(float(np.square(arrays[key] - sent[key], dtype=np.float64).sum()) for key in sent))


def _aggregate(strategy: Strategy, step: int, replies: list[Message], sent: Mapping[str, np.ndarray]) -> ArrayRecord:
    """Return the aggregated model in the types of the one that was sent; raises FLServiceError if there is none."""
    name, count = type(strategy).__name__, len(replies)
    try:
        arrays, _ = strategy.aggregate_train(step, replies)
    except Exception as error:
        raise StrategyError(f"{name} could not aggregate {count} updates: {type(error).__name__}: {error}") from error
    if arrays is None:
        fewest = aggregation.fewest_updates(strategy)
        raise StrategyError(f"{name} needs at least {fewest} updates to aggregate, it got {count}")
    new = {key: _as_type(array, sent[key].dtype) for key, array in to_arrays(arrays, copy=False).items()}
    if not all(np.isfinite(array).all() for array in new.values()):
        raise StrategyError(f"the model that {name} made of {count} updates is not finite: it was not used")
    return to_record({key: new[key] for key in sent})


def _as_type(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return an average in the model's own type: some strategies compute in float64, counters become fractions."""
    if array.dtype == dtype:
        return np.asarray(array)
    with np.errstate(over="ignore"):
        return np.asarray(np.rint(array) if np.issubdtype(dtype, np.integer) else array).astype(dtype)


def _report_of(reply: Message) -> dict[str, Any]:
    if not reply.has_content() or "report" not in reply.content.config_records:
        return {}
    report: dict[str, Any] = json.loads(str(reply.content.config_records["report"]["json"]))
    return report


def _nested_problems(reply: Message) -> dict[str, str]:
    problems: dict[str, str] = _report_of(reply).get("problems", {})
    return problems


def _reports(
    reply: Message, name: str, owner: str, config: Mapping[str, Any], measured: Mapping[str, Any]
) -> list[ClientReport]:
    """Return a client's own report, or those that a local aggregator passes on."""
    nested = _report_of(reply).get("clients")
    if nested is not None:
        return [ClientReport(**report) for report in nested]
    seconds, norm = float(measured.get("seconds", math.nan)), float(measured["update_norm"])
    local_round = int(config.get("local-round", 1))
    return [ClientReport(name, owner, local_round, int(measured[SAMPLES]), training_loss(measured), seconds, norm)]


def _updates(replies: Mapping[str, Message], sent: Mapping[str, np.ndarray]) -> dict[str, Sequence[float]]:
    """Return what training did to every client's last layer, or what local aggregators say of theirs."""
    found: dict[str, Sequence[float]] = {}
    for name, reply in replies.items():
        report = _report_of(reply)
        if "clients" in report:
            found |= report["updates"]
        else:
            (arrays,) = reply.content.array_records.values()
            found[name] = last_layer_change(sent, to_arrays(arrays))
    return found


class Tier:
    """A strategy whose memory lives in a node's Context.state, so it is saved, moved and restored with the node."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy

    def run(
        self,
        state: RecordDict,
        grid: MemberGrid,
        members: Sequence[str],
        arrays: ArrayRecord,
        configs: Sequence[Mapping[str, Any]],
    ) -> list[Outcome]:
        """Run one round for every config, each from the last one's model, and return what came of each.

        A round without a new model leaves the strategy's memory as it was, too.
        """
        if _STEP not in state:
            self._remember(state, 0)
        outcomes = []
        for config in configs:
            aggregation.restore(self.strategy, state)
            step = int(str(state.config_records[_STEP]["count"])) + 1
            outcome = run_tier(self.strategy, grid, members, arrays, config, step)
            outcomes.append(outcome)
            if outcome.arrays is not None:
                arrays = outcome.arrays
                self._remember(state, step)
        return outcomes

    def _remember(self, state: RecordDict, steps: int) -> None:
        aggregation.capture(self.strategy, state)
        state[_STEP] = ConfigRecord({"count": steps})


class LocalAggregator:
    """A local aggregator as a Flower app: trains its cluster for some local rounds and replies like a client."""

    def __init__(self, strategy: Strategy, grid: MemberGrid) -> None:
        self._tier, self._grid = Tier(strategy), grid

    def __call__(self, message: Message, context: Context) -> Message:
        """Run the local rounds that the message asks for; the reply has no arrays when no client delivered."""
        config = dict(next(iter(message.content.config_records.values())))
        arrays = next(iter(message.content.array_records.values()))
        members = json.loads(str(config["clusters"]))[self._grid.owner]
        configs = [{**config, "local-round": k} for k in range(1, int(str(config["local-rounds"])) + 1)]
        outcomes = self._tier.run(context.state, self._grid, members, arrays, configs)
        return Message(_reply(self._grid.owner, outcomes), reply_to=message)


def _reply(owner: str, outcomes: Sequence[Outcome]) -> RecordDict:
    """Return a local aggregator's reply: the model of the last round that gave one, and what its clients did.

    `num-examples` counts the clients whose update was used in at least one of the local rounds, each once. Where no
    round gave a model there are no arrays, which the global aggregator takes as a problem.
    """
    used = [outcome for outcome in outcomes if outcome.arrays is not None]
    problems = {} if used else {owner: "no client of it delivered an update"}
    for number, outcome in enumerate(outcomes, start=1):
        problems |= {node: f"local round {number}: {problem}" for node, problem in outcome.problems.items()}
    clients = [asdict(report) for outcome in outcomes for report in outcome.reports]
    # A client's first local round counts: all clients begin it with the same model, so their updates compare.
    updates = {node: update for outcome in reversed(outcomes) for node, update in outcome.updates.items()}
    report = ConfigRecord({"json": json.dumps({"clients": clients, "problems": problems, "updates": updates})})
    if not used or (model := used[-1].arrays) is None:
        return RecordDict({"report": report})
    samples = {node: count for outcome in used for node, count in outcome.samples.items()}
    metrics: dict[str, Any] = {SAMPLES: sum(samples.values())}
    if not math.isnan(used[-1].loss):
        metrics["train_loss"] = used[-1].loss
    return RecordDict({"arrays": model, "metrics": MetricRecord(metrics), "report": report})


@dataclass(frozen=True)
class GlobalRound:
    """What came of a global round: the new global model (the old one if nobody delivered), reports and problems.

    `updates`: {client: change of its last layer in its first local round}, where asked for.
    """

    arrays: ArrayRecord
    reports: tuple[ClientReport, ...]
    problems: Mapping[str, str]
    updates: Mapping[str, Sequence[float]] = field(default_factory=dict)


class GlobalAggregator:
    """The global aggregator: its strategy over local aggregators, or in flat FL over the clients themselves."""

    def __init__(self, strategy: Strategy, grid: MemberGrid, context: Context) -> None:
        self._tier, self._grid, self._context = Tier(strategy), grid, context

    def run_round(self, number: int, plan: Plan, arrays: ArrayRecord, config: Mapping[str, Any]) -> GlobalRound:
        """Run global round `number`; `config` is what clients are told (``lr``, ``batch-size`` …)."""
        members = plan.clients if plan.is_flat else plan.local_aggregators
        asked = {**config, "round": number, "epochs": plan.epochs, "clusters": json.dumps(dict(plan.clusters))}
        asked |= {"local-round": 1} if plan.is_flat else {"local-rounds": plan.local_rounds}
        if not members:
            return GlobalRound(arrays, (), {plan.global_aggregator: "there is no client: the model is unchanged"})
        (outcome,) = self._tier.run(self._context.state, self._grid, members, arrays, [asked])
        problems = dict(outcome.problems)
        if outcome.arrays is None:
            reason = problems.get(plan.global_aggregator, "no update arrived")
            problems[plan.global_aggregator] = f"{reason}: the model is unchanged"
        return GlobalRound(outcome.arrays or arrays, outcome.reports, problems, outcome.updates)
