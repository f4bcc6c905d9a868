"""Chapter 13: a training loop, a strategy that opens aggregators only if they pay, and clipping an update."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from aiotwin_nb.continuum import Infrastructure, Node, Role, exact
from aiotwin_nb.course.examine import call, checks, expect
from aiotwin_nb.planning import Configuration, PlanningRequest, cost_model, make_plan

CHAPTER = "13-own-task"


@checks.register(f"{CHAPTER}/train")
def train(attempt: Any) -> None:
    """A training loop in PyTorch."""
    import torch

    torch.manual_seed(0)
    features = torch.randn(64, 3)
    labels = (features[:, 0] > 0).long()
    batches = _Batches([(features[i : i + 16], labels[i : i + 16]) for i in range(0, 64, 16)])
    net = torch.nn.Linear(3, 2)
    start = copy.deepcopy(net)
    loss = attempt(net, batches, 3, 0.1)
    expect(batches.passes > 0, "nobody looks at the data: go through trainloader")
    expect(batches.passes == 3, f"three epochs are three passes through the data, not {batches.passes}")
    moved = any(not torch.equal(a, b) for a, b in zip(net.parameters(), start.parameters(), strict=True))
    expect(moved, "the network has not changed: does the optimiser take its steps, on net.parameters()?")
    error = torch.nn.functional.cross_entropy
    before, after = error(start(features), labels), error(net(features), labels)
    expect(after < before, "the loss is larger after training than before")
    expect(_fresh_gradients(attempt), "gradients of earlier batches are still there: clear them before each step")
    expect(isinstance(loss, float | int), f"return the loss as a plain number (loss.item()), not {type(loss).__name__}")


@checks.register(f"{CHAPTER}/strategy")
def strategy(attempt: Any) -> None:
    """A strategy that opens only aggregators that pay."""
    near = call(attempt, request := _request({"a1": 100, "a2": 100}))
    expect(isinstance(near, Configuration), f"return a configuration (request.hierarchical(...)), not {near!r}")
    places = Counter(client for _, clients in near.clusters for client in clients)
    expect(
        places == Counter(request.infrastructure.clients), f"every client needs one place; here it is {dict(places)}"
    )
    expect(
        request.cost_model.round_cost(request.infrastructure, near) <= _optimum(request),
        "both aggregators are near: using both is cheapest, with everybody at the nearer one",
    )
    dear = _request({"a1": 100, "a2": 5_000})
    found = call(attempt, dear)
    expect(
        found.aggregators == ("a1",),
        "a2's way to the global aggregator costs 5,000 per MB; nobody should use it, even if it is next door",
    )
    third = _request({"a1": 5_000, "a2": 100})
    cost = third.cost_model.round_cost(third.infrastructure, call(attempt, third))
    expect(cost <= _optimum(third), f"a round costs {cost:,.0f}; {_optimum(third):,.0f} is possible")


@checks.register(f"{CHAPTER}/clip")
def clip(attempt: Any) -> None:
    """Limit the norm of a whole update."""
    before = {"w": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([1.0, 1.0])}
    after = {"w": before["w"] + np.array([[3.0, 0.0], [0.0, 0.0]]), "b": before["b"] + np.array([0.0, 4.0])}  # norm 5
    same = _update(call(attempt, before, after, 10.0), before)
    expect(abs(same["w"][0, 0] - 3) < 1e-9, "an update of norm 5 is within the limit of 10 and must stay as it is")
    found = _update(call(attempt, before, after, 1.0), before)
    norm = float(np.sqrt(sum((array**2).sum() for array in found.values())))
    expect(abs(norm - 5) > 1e-6, "the update is as long as before")
    expect(abs(norm - np.sqrt(2)) > 1e-6, "the norm is that of all parameters together, not of each array by itself")
    expect(abs(norm - 1) < 1e-6, f"the clipped update must have the norm 1, and has {norm:.3f}")
    expect(abs(found["w"][0, 0] - 0.6) < 1e-6, "keep the direction: all parts shrink by the same factor")


class _Batches(list[Any]):
    """Batches that count how often they are gone through."""

    passes = 0

    def __iter__(self) -> Any:
        self.passes += 1
        return super().__iter__()


def _fresh_gradients(attempt: Any) -> bool:
    """Whether gradients of an earlier batch have no effect: stale ones are planted, which a fresh start removes."""
    import torch

    results = []
    for planted in (None, 1000.0):
        torch.manual_seed(1)
        net = torch.nn.Linear(2, 2)
        if planted:
            for parameter in net.parameters():
                parameter.grad = torch.full_like(parameter, planted)
        attempt(net, _Batches([(torch.ones(4, 2), torch.tensor([0, 1, 0, 1]))]), 1, 0.1)
        results.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    return bool(torch.allclose(results[0], results[1]))


def _request(uplinks: Mapping[str, int]) -> PlanningRequest:
    links = {
        "c1": {"a1": 20, "a2": 60},
        "c2": {"a1": 30, "a2": 50},
        "c3": {"a1": 200, "a2": 10},
        "c4": {"a1": 90, "a2": 80},
    }
    nodes = [Node("ga", Role.GLOBAL_AGGREGATOR)]
    nodes += [Node(la, Role.LOCAL_AGGREGATOR, {"ga": exact(cost)}) for la, cost in uplinks.items()]
    nodes += [Node(name, Role.CLIENT, {la: exact(cost) for la, cost in own.items()}) for name, own in links.items()]
    return PlanningRequest(Infrastructure.of(nodes), 2, 2, cost_model("communication", model_size_mb=1))


def _optimum(request: PlanningRequest) -> Any:
    return request.cost_model.round_cost(request.infrastructure, make_plan("min_comm_cost_open", {}, request))


def _update(found: Any, before: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    expect(isinstance(found, Mapping) and set(found) == set(before), "return a model with the same parameters")
    return {name: np.asarray(found[name]) - before[name] for name in before}
