"""Strategy `flat`: no hierarchy."""

from __future__ import annotations

from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.planning.strategies.base import PlanningRequest, strategies


@strategies.register("flat")
def flat(request: PlanningRequest) -> Configuration:
    """Put every client on the GA; local aggregators are not used.

    Objective: none, there is one such configuration. It trains epochs · local_rounds epochs per global round, so that
    a global round is as much training as in the hierarchy; Ψ_gr = S · Σ_client link(client, GA).
    Source: classical federated averaging (McMahan et al., 2017); what the original falls back to.
    """
    return request.flat()
