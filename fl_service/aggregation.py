"""Flower's aggregation strategies by name, and their memory (such as Adam's moments) as data that can be saved."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import Strategy

from fl_service.errors import StrategyError, listed, unknown
from fl_service.spec import TrainingSpec

SUPPORTED = (
    "FedAvg", "FedProx", "FedAvgM", "FedAdam", "FedYogi", "FedAdagrad", "FedMedian", "FedTrimmedAvg",
    "Krum", "MultiKrum", "Bulyan", "QFedAvg",
)  # fmt: skip
# Set by us in every strategy: all members of a round take part, one is enough, and nothing waits for more.
_MANAGED = {"fraction_train": 1.0, "min_train_nodes": 1, "min_available_nodes": 1}
_STATE = "strategy-state"
_ARRAYS = "strategy-arrays"
# Strategies keep the arrays that they last sent; they are sent anew in every round, so they are no memory.
_TRANSIENT = frozenset({"current_arrays"})


def allowed_arguments(name: str) -> dict[str, Any]:
    """Return {argument: default} that a user may set for a strategy; `inspect.Parameter.empty` marks a required one."""
    parameters = inspect.signature(_class(name)).parameters
    return {
        p.name: p.default
        for p in parameters.values()
        if (isinstance(p.default, int | float) or p.default is p.empty)
        and p.name not in _MANAGED
        and not p.name.startswith(("fraction_", "min_"))
        and p.kind is not p.VAR_KEYWORD
    }


def build(
    name: str, arguments: Mapping[str, Any], *, learning_rate: float | None = None, field: str = "aggregation"
) -> Strategy:
    """Build a Flower strategy that trains with exactly the members of each round.

    `learning_rate` is the clients', which QFedAvg needs to know and takes from here unless it is given.
    Raises StrategyError naming `field`, the value and what is allowed.
    """
    if name not in SUPPORTED:
        raise StrategyError(_refusal(name, field))
    allowed = allowed_arguments(name)
    given = dict(arguments)
    if "client_learning_rate" in allowed and learning_rate is not None:
        given.setdefault("client_learning_rate", learning_rate)
    _check_arguments(name, given, allowed, field)
    try:
        strategy = _class(name)(**given, **_MANAGED)
    except (TypeError, ValueError) as error:
        raise StrategyError(f"{field}.args: {name} refuses {dict(arguments)}: {error}") from error
    # Evaluation is the global aggregator's own. Set afterwards: as an argument, 0 makes Flower warn every time.
    strategy.fraction_evaluate, strategy.min_evaluate_nodes = 0.0, 0
    return cast(Strategy, strategy)


def of_tier(spec: TrainingSpec, tier: str) -> Strategy:
    """Build the strategy of a training's tier, ``global`` or ``local``; raises StrategyError."""
    name, arguments = spec.aggregation_global if tier == "global" else spec.aggregation_local
    return build(name, arguments, learning_rate=spec.settings.learning_rate, field=f"aggregation.{tier}")


def _class(name: str) -> Any:
    return getattr(flower, name)


def _refusal(name: str, field: str) -> str:
    known_to_flower = isinstance(name, str) and name in flower.__all__
    if not known_to_flower:
        return unknown(f"{field}.name", name, SUPPORTED)
    return (
        f"{field}.name: Flower's {name!r} cannot be driven round by round in two tiers and be resumed; "
        f"allowed: {listed(SUPPORTED)}."
    )


def _check_arguments(name: str, given: Mapping[str, Any], allowed: Mapping[str, Any], field: str) -> None:
    for key, value in given.items():
        if key not in allowed:
            raise StrategyError(unknown(f"{field}.args ({name})", key, allowed))
        default = allowed[key]
        whole = isinstance(default, int) and not isinstance(default, bool)
        sound = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not sound or not np.isfinite(value) or value < 0 or (key == "client_learning_rate" and value == 0):
            kind = "a whole number from 0 up" if whole else "a finite number from 0 up"
            raise StrategyError(f"{field}.args.{key} ({name}): {value!r} is not allowed; it must be {kind}")
    missing = [key for key, default in allowed.items() if default is inspect.Parameter.empty and key not in given]
    if missing:
        raise StrategyError(f"{field}.args ({name}): {listed(missing)} must be given; allowed: {listed(allowed)}")


def fewest_updates(strategy: Strategy) -> int:
    """Return how many updates a strategy needs before it aggregates at all."""
    return 4 * strategy.num_malicious_nodes + 3 if isinstance(strategy, flower.Bulyan) else 1


def forget_sent(strategy: Strategy) -> None:
    """Make a strategy take the arrays of its next round as its current ones.

    FedAvgM otherwise goes on from its own last result, which on a local aggregator is not the model it is sent.
    """
    if hasattr(strategy, "current_arrays"):
        strategy.current_arrays = None


def capture(strategy: Strategy, state: RecordDict) -> None:
    """Write a strategy's memory into a node's state; raises StrategyError where it cannot be written as data."""
    scalars: dict[str, Any] = {}
    arrays: dict[str, Array] = {}
    for name, value in _memory(strategy).items():
        if value is None or isinstance(value, bool | int | float | str):
            scalars[name] = value
        elif isinstance(value, dict) and all(isinstance(v, np.ndarray | np.generic) for v in value.values()):
            arrays |= {f"{name}|dict|{key}": Array(np.asarray(v)) for key, v in value.items()}
        elif isinstance(value, list) and all(isinstance(v, np.ndarray | np.generic) for v in value):
            arrays |= {f"{name}|list|{i:06d}": Array(np.asarray(v)) for i, v in enumerate(value)}
        else:
            raise StrategyError(
                f"the state of the strategy {type(strategy).__name__!r} cannot be saved ({name} is a "
                f"{type(value).__name__}), so a run with it could not be resumed; choose one of {listed(SUPPORTED)}"
            )
    state[_STATE] = ConfigRecord({"scalars": json.dumps(scalars)})
    state[_ARRAYS] = ArrayRecord(arrays)


def restore(strategy: Strategy, state: RecordDict) -> None:
    """Give a strategy the memory that `capture` wrote into a node's state; without one it starts afresh."""
    if _STATE not in state:
        return
    for name, value in json.loads(str(state.config_records[_STATE]["scalars"])).items():
        setattr(strategy, name, value)
    groups: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for key, array in state.array_records[_ARRAYS].items():
        name, kind, item = key.split("|", 2)
        groups.setdefault((name, kind), {})[item] = array.numpy()
    for (name, kind), items in groups.items():
        setattr(strategy, name, items if kind == "dict" else [items[i] for i in sorted(items)])


def _memory(strategy: Strategy) -> dict[str, Any]:
    """Return what a strategy has learnt: its attributes that are neither constructor arguments nor transient."""
    settings = inspect.signature(type(strategy)).parameters.keys() | _MANAGED.keys() | _TRANSIENT
    return {
        name: value
        for name, value in vars(strategy).items()
        if name not in settings and not name.startswith(("fraction_", "min_")) and not callable(value)
    }
