"""The continuum, simulated: nodes, links, instances with queues, clients, failures, and the very same policies."""

from aiotwin_nb.inference.simulator.engine import ORACLE, simulate
from aiotwin_nb.inference.simulator.families import FAMILIES, family
from aiotwin_nb.inference.simulator.result import Result
from aiotwin_nb.inference.simulator.scenario import (
    Client,
    Curve,
    Link,
    Node,
    Outage,
    Replica,
    Scenario,
    parse_scenario,
)

__all__ = [
    "FAMILIES",
    "ORACLE",
    "Client",
    "Curve",
    "Link",
    "Node",
    "Outage",
    "Replica",
    "Result",
    "Scenario",
    "family",
    "parse_scenario",
    "simulate",
]
