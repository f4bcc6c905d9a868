"""Chapter 02: the average, the two-level round and what a round costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from aiotwin_nb.course.examine import Wrong, call, checks, expect

Model = Mapping[str, np.ndarray]
CHAPTER = "02-hfl-from-scratch"
CLUSTERS = {"a1": ["c1", "c2"], "a2": ["c3"]}
SAMPLES = {"c1": 10, "c2": 30, "c3": 80}
STEP = {"c1": 1.0, "c2": 2.0, "c3": -3.0}


@checks.register(f"{CHAPTER}/average")
def average(attempt: Any) -> None:
    """Weighted average of models."""
    ones, fives = _model(1.0), _model(5.0)
    given = [ones, fives], [10, 30]
    found = _is_model(call(attempt, *given), "average")
    value = float(found["w"].flat[0])
    expect(not _near(value, 3.0), "every model has the same weight; one that has seen more samples must count more")
    expect(not _near(value, 160.0), "the weighted sum is right, but it is not divided by anything yet")
    expect(not _near(value, 2.0), "the weights are the wrong way round: the smaller data set counts more")
    expect(_near(value, 4.0), f"models of 1 and 5 with 10 and 30 samples must average to 4, and it is {value:g}")
    expect(np.allclose(found["b"], 4.0), "the parameter w is right, but b is not: average every parameter")
    single = _is_model(call(attempt, [fives], [7]), "average")
    expect(np.allclose(single["w"], 5.0), "the average of one single model must be that model")
    attempt(*given)
    expect(np.allclose(ones["w"], 1.0) and np.allclose(fives["w"], 5.0), "it changes the models that it is given")


@checks.register(f"{CHAPTER}/global-round")
def global_round(attempt: Any) -> None:
    """A round of hierarchical federated learning, with clients that add a number of their own."""
    calls: list[tuple[str, int, int]] = []

    def train(model: Model, client: str, round: int, local_round: int) -> Model:
        calls.append((client, round, local_round))
        return {name: array * 0.5 + STEP[client] for name, array in model.items()}

    found = _is_model(call_with(attempt, train), "global_round")
    times = {client: sum(1 for name, *_ in calls if name == client) for client in SAMPLES}
    expect(all(times.values()), f"nobody asks {', '.join(c for c, n in times.items() if not n)} to train")
    expect(
        set(times.values()) == {2},
        f"with two local rounds every client trains twice in a global round; here it is {times}",
    )
    expect({at for _, at, _ in calls} == {7}, "pass the number of the global round on to train")
    expect({local for *_, local in calls} == {1, 2}, "the local rounds must be numbered 1, 2, … when clients train")
    value = float(found["w"].flat[0])
    right, variants = _reference(), _mistakes()
    for mistake, words in variants.items():
        expect(not _near(value, mistake) or _near(mistake, right), words)
    expect(
        _near(value, right), f"the result is {value:.3f} where it must be {right:.3f}: follow the two averages by hand"
    )


def call_with(attempt: Any, train: Callable[..., Model]) -> Any:
    """Call an attempt at the global round with a stand-in for training."""
    return call(attempt, _model(1.0), 7, CLUSTERS, 2, train, SAMPLES)


@checks.register(f"{CHAPTER}/round-cost")
def round_cost(attempt: Any) -> None:
    """Ψ_gr of a hierarchical configuration."""
    links = {("a1", "ga"): 100, ("a2", "ga"): 70, ("c1", "a1"): 20, ("c2", "a1"): 30, ("c3", "a2"): 5}

    def link(one: str, other: str) -> float:
        if (cost := links.get((one, other), links.get((other, one)))) is None:
            raise Wrong(f"there is no link between {one} and {other}: who sends its model to whom?")
        return cost

    found = call(attempt, CLUSTERS, "ga", link, 3, 2.0)
    expect(isinstance(found, int | float), f"it must return a number, and returns {found!r}")
    upper, lower, size, rounds = 170, 55, 2.0, 3
    for mistake, words in {
        upper + rounds * lower: "the links are right; how much travels over each of them?",
        size * (upper + lower): "in a global round the clients send their models L times, not once",
        size * rounds * (upper + lower): "the local aggregators send their models once in a global round, not L times",
        size * rounds * lower: "the way from the local aggregators to the global one costs as well",
        size * upper: "the clients' way to their aggregators costs as well",
    }.items():
        expect(not _near(found, mistake), words)
    right = size * (upper + rounds * lower)
    expect(
        _near(found, right), f"for S = 2 and L = 3, local aggregators' links of 170 and clients' of 55: not {found:g}"
    )


def _reference(*, restart: bool = False, equal_clients: bool = False, equal_clusters: bool = False) -> float:
    """The value after a global round, or after one with a mistake."""
    tops, weights = [], []
    for members in CLUSTERS.values():
        model = 1.0
        for _ in range(2):
            start = 1.0 if restart else model
            trained = [start * 0.5 + STEP[client] for client in members]
            counts = [1 if equal_clients else SAMPLES[client] for client in members]
            model = float(np.average(trained, weights=counts))
        tops.append(model)
        weights.append(1 if equal_clusters else sum(SAMPLES[client] for client in members))
    return float(np.average(tops, weights=weights))


def _mistakes() -> dict[float, str]:
    return {
        _reference(restart=True): "the second local round must go on from the cluster's own average, "
        "not from the global model again",
        _reference(equal_clients=True): "within a cluster, clients with more samples must count more",
        _reference(equal_clusters=True): "the global aggregator weighs both clusters alike; one has more samples",
        _reference(equal_clients=True, equal_clusters=True): "all weights are equal; samples must count",
    }


def _model(value: float) -> dict[str, np.ndarray]:
    return {"w": np.full((2, 3), value), "b": np.full(3, value)}


def _is_model(found: Any, name: str) -> Model:
    expect(found is not None, f"{name} returns nothing; is there a return?")
    expect(
        isinstance(found, Mapping), f"{name} must return a model, a dictionary of arrays, not {type(found).__name__}"
    )
    expect(set(found) == {"w", "b"}, f"the model must have the same parameters as those given, not {sorted(found)}")
    shapes: Sequence[Any] = [np.shape(found["w"]), np.shape(found["b"])]
    expect(shapes == [(2, 3), (3,)], f"arrays must keep their shapes; here they are {shapes[0]} and {shapes[1]}")
    return {key: np.asarray(array) for key, array in found.items()}


def _near(value: float, other: float) -> bool:
    return abs(float(value) - other) < 1e-6
