"""The processes (or pods) of a run: global aggregator, local aggregator, client and evaluator."""

from __future__ import annotations

from typing import TYPE_CHECKING

GLOBAL_AGGREGATOR = "global-aggregator"
LOCAL_AGGREGATOR = "local-aggregator"
CLIENT = "client"
EVALUATOR = "evaluator"
ROLES = (GLOBAL_AGGREGATOR, LOCAL_AGGREGATOR, CLIENT, EVALUATOR)
AGGREGATORS = (GLOBAL_AGGREGATOR, LOCAL_AGGREGATOR)

if TYPE_CHECKING:
    from fl_service.roles.config import RoleConfig
    from fl_service.roles.process import Role


def make(role: str, config: RoleConfig) -> Role:
    """Return a role that can be started; only what this role needs is imported. Raises FLServiceError."""
    if role == GLOBAL_AGGREGATOR:
        from fl_service.roles.global_aggregator import GlobalAggregatorProcess

        return GlobalAggregatorProcess(config)
    if role == LOCAL_AGGREGATOR:
        from fl_service.roles.local_aggregator import LocalAggregatorProcess

        return LocalAggregatorProcess(config)
    if role == CLIENT:
        from fl_service.roles.client import Client

        return Client(config)
    from fl_service.roles.evaluator import Evaluator

    return Evaluator(config)
