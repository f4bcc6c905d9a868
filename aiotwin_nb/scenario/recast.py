"""A lab on another data set: the same nodes, links and events, with amounts that fit the other images.

`improvement@fashion_mnist` is the lab `improvement` on Fashion-MNIST, wherever a scenario can be named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from aiotwin_nb.errors import InvalidInput, did_you_mean
from aiotwin_nb.scenario.model import Scenario, number

SEPARATOR = "@"
FROM = "digits"  # what the labs are written for


@dataclass(frozen=True)
class DataSetRule:
    """What a lab written for the digits needs on another data set, as factors of its own values.

    `samples`: of every client and label; `learning_rate`; `budget`: harder images are not worth as many rounds.
    `test_samples`: an amount, as it decides how coarse an accuracy is.
    """

    samples: Decimal
    learning_rate: Decimal
    budget: Decimal
    test_samples: int


# Found by trying: labs whose story is about labels (improvement, hands-on, degradation) keep it; see labs/README.md.
RULES: Mapping[str, DataSetRule] = {
    "fashion_mnist": DataSetRule(Decimal("2.5"), Decimal("0.5"), Decimal("0.6"), 2000),
}


def split_name(source: str) -> tuple[str, str | None]:
    """`improvement@fashion_mnist` as lab and data set; raises InvalidInput for a data set without a rule."""
    name, separator, data_set = source.partition(SEPARATOR)
    if not separator:
        return source, None
    if data_set not in RULES:
        raise InvalidInput(
            f"{source}: there is no rule for labs on {data_set!r}; after {SEPARATOR} there may be {', '.join(RULES)}."
            + did_you_mean(data_set, RULES)
        )
    return name, data_set


def recast(scenario: Scenario, data_set: str) -> dict[str, Any]:
    """The fields of a scenario on another data set; raises InvalidInput for one that is not on the digits."""
    rule = RULES[data_set]
    task = scenario.task
    if task.file is not None or task.name != FROM:
        raise InvalidInput(
            f"{scenario.name}{SEPARATOR}{data_set}: only scenarios on {FROM} can be put on another data set; "
            f"this one is on {task.file or task.name}"
        )
    raw = scenario.resolved()
    raw["name"] = f"{scenario.name}-on-{data_set.replace('_', '-')}"
    raw["task"] |= {
        "name": data_set,
        "learning_rate": float(Decimal(str(task.learning_rate)) * rule.learning_rate),
        "test_samples": rule.test_samples,
    }
    events = raw["events"]
    for node in [*raw["nodes"], *(node for event in events for node in event.get("add") or ())]:
        node["data"] = _scaled(node.get("data") or {}, rule)
    for event in events:
        if changed := event.get("data"):
            event["data"] = {node: _scaled(counts, rule) for node, counts in changed.items()}
    if (budget := scenario.objective.budget) is not None:
        raw["objective"]["budget"] = number(Decimal(str(budget)) * rule.budget)
    return raw


def _scaled(counts: Mapping[Any, int], rule: DataSetRule) -> dict[Any, int]:
    return {label: int(samples * rule.samples) for label, samples in counts.items()}
