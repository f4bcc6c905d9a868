"""Small builders of nodes and requests for the planning tests."""

from __future__ import annotations

from decimal import Decimal

from aiotwin_nb.continuum import Infrastructure, Node, Role, exact
from aiotwin_nb.planning import PlanningRequest, cost_model


def node(node_id: str, role: str, **links: float) -> Node:
    return Node(node_id, Role(role), {peer: exact(cost) for peer, cost in links.items()})


def request_for(infrastructure: Infrastructure, current=None, size="3.3", epochs=2, local_rounds=2) -> PlanningRequest:
    model = cost_model("communication", model_size_mb=Decimal(size))
    return PlanningRequest(infrastructure, epochs, local_rounds, model, current)


def hands_on_nodes() -> list[Node]:
    la, client = "local_aggregator", "client"
    return [
        node("n1", "global_aggregator"),
        node("n2", la, n1=100),
        node("n3", la, n1=100),
        *(node(i, client, n1=120, n2=20, n3=60) for i in ("n4", "n5", "n6")),
        *(node(i, client, n1=120, n2=60, n3=20) for i in ("n7", "n8")),
    ]
