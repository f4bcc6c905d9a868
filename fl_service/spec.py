"""What a run trains and with whom: plain frozen data, free of torch and Flower, that can travel to another process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fl_service.errors import TaskError, unknown

OPTIMIZERS = ("sgd", "adam")
PARTITION_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "iid": (),
    "dirichlet": ("alpha",),
    "shards": ("shards_per_client",),
}
REPORT_UPDATES = "report-updates"  # key in a round's config: whether updates are to be reported
NOISE_KINDS = ("none", "shift", "random")


@dataclass(frozen=True)
class TrainingSpec:
    """What is learnt and how updates are combined; epochs and local rounds come with each round's `Plan`.

    `task`: keys of `TaskSettings`. `aggregation_global`, `aggregation_local`: (Flower strategy's name, its arguments).
    `report_updates`: whether rounds report what training did to every client's last layer.
    """

    seed: int
    task: Mapping[str, Any] = field(default_factory=dict)
    aggregation_global: tuple[str, Mapping[str, Any]] = ("FedAvg", {})
    aggregation_local: tuple[str, Mapping[str, Any]] = ("FedAvg", {})
    report_updates: bool = False

    @property
    def settings(self) -> TaskSettings:
        """The task's settings, checked; raises TaskError."""
        return TaskSettings.of(self.task)

    @property
    def client_config(self) -> dict[str, Any]:
        """What clients are told with every round."""
        s = self.settings
        config = {"lr": s.learning_rate, "batch-size": s.batch_size, "momentum": s.momentum, "optimizer": s.optimizer}
        return config | ({REPORT_UPDATES: True} if self.report_updates else {})

    @property
    def run_config(self) -> dict[str, Any]:
        """The run's configuration under the keys that Flower's tutorials read from the Context."""
        s = self.settings
        return {
            "seed": self.seed,
            "learning-rate": s.learning_rate,
            "lr": s.learning_rate,
            "batch-size": s.batch_size,
        }


@dataclass(frozen=True)
class TaskSettings:
    """The checked settings of a task.

    `name` is a built-in data set's; `file` is the path of a user's own task.py and takes its place. `test_samples`:
    size of the fixed choice from the global test set, None for all of it. `partition`: None (by each node's label
    counts) or {kind: iid | dirichlet | shards, …, partitions: number of slots}.
    """

    name: str = "digits"
    file: str | None = None
    model: str = "mlp"
    batch_size: int = 32
    learning_rate: float = 0.004
    momentum: float = 0.9
    optimizer: str = "sgd"
    test_samples: int | None = None
    partition: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, task: Mapping[str, Any]) -> TaskSettings:
        """Check a mapping of settings; raises TaskError naming the key, its value and what is allowed."""
        allowed = [f.name for f in fields(cls)]
        for key in task:
            if key not in allowed:
                raise TaskError(unknown("task", key, allowed))
        settings = cls(**{key: value for key, value in task.items() if value is not None})
        settings._check()
        return settings

    def _check(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise TaskError(unknown("task.optimizer", self.optimizer, OPTIMIZERS))
        _number("task.batch_size", self.batch_size, "a whole number from 1 up", lambda v: v >= 1 and v == int(v))
        _number("task.learning_rate", self.learning_rate, "a number above 0", lambda v: 0 < v < float("inf"))
        _number("task.momentum", self.momentum, "a number from 0 to below 1", lambda v: 0 <= v < 1)
        if self.test_samples is not None:
            _number(
                "task.test_samples", self.test_samples, "a whole number from 1 up", lambda v: v >= 1 and v == int(v)
            )
        if self.file is not None and not Path(self.file).is_file():
            raise TaskError(f"task.file: there is no file {self.file!r}; give the path of a task.py")
        if self.partition is not None:
            _check_partition(self.partition)


def _check_partition(partition: Mapping[str, Any]) -> None:
    kind = str(partition.get("kind"))
    if kind not in PARTITION_ARGUMENTS:
        raise TaskError(unknown("task.partition.kind", kind, PARTITION_ARGUMENTS))
    allowed: tuple[str, ...] = ("kind", "partitions", *PARTITION_ARGUMENTS[kind])
    for key, value in partition.items():
        if key not in allowed:
            raise TaskError(unknown(f"task.partition ({kind})", key, allowed))
        if key == "alpha":
            _number("task.partition.alpha", value, "a number above 0", lambda v: 0 < v < float("inf"))
        elif key != "kind":
            _number(f"task.partition.{key}", value, "a whole number from 1 up", lambda v: v >= 1 and v == int(v))


def _number(name: str, value: object, allowed: str, holds: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
        raise TaskError(f"{name}: {value!r} is not allowed; it must be {allowed}")


@dataclass(frozen=True)
class ClientNode:
    """One client as the FL service sees it.

    `data`: ((label, samples), …) by label. `slot`: (index, number of slots), where the data set is cut into slots.
    """

    name: str
    data: tuple[tuple[int, int], ...] = ()
    noise_kind: str = "none"
    noise_share: float = 0.0
    slot: tuple[int, int] | None = None

    def to_config(self) -> dict[str, str | int | float]:
        """Return the node as a Flower node configuration; partition-id and num-partitions are Flower's usual keys."""
        config: dict[str, str | int | float] = {"name": self.name, "data": json.dumps(self.data)}
        config |= {"label-noise-kind": self.noise_kind, "label-noise-share": float(self.noise_share)}
        if self.slot is not None:
            config |= {"partition-id": self.slot[0], "num-partitions": self.slot[1]}
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ClientNode:
        """Build a node from its Flower node configuration."""
        slot = (int(config["partition-id"]), int(config["num-partitions"])) if "partition-id" in config else None
        data = tuple((int(label), int(samples)) for label, samples in json.loads(config.get("data", "[]")))
        kind, share = config.get("label-noise-kind", "none"), config.get("label-noise-share", 0.0)
        return cls(str(config["name"]), data, str(kind), float(share), slot)


@dataclass(frozen=True)
class Plan:
    """Who works for whom, and how long: the FL service's view of a configuration.

    `clusters`: ((aggregator, (client, …)), …). In flat FL the one aggregator is the global aggregator itself.
    """

    global_aggregator: str
    clusters: tuple[tuple[str, tuple[str, ...]], ...]
    epochs: int
    local_rounds: int

    @property
    def is_flat(self) -> bool:
        """True when clients hang on the global aggregator directly."""
        return all(aggregator == self.global_aggregator for aggregator, _ in self.clusters)

    @property
    def local_aggregators(self) -> tuple[str, ...]:
        """Names of the local aggregators with clients; none in flat FL."""
        return () if self.is_flat else tuple(aggregator for aggregator, _ in self.clusters)

    @property
    def clients(self) -> tuple[str, ...]:
        """All clients that take part."""
        return tuple(client for _, clients in self.clusters for client in clients)


@dataclass
class Slots:
    """Which slot of the data each client has, where the data set is cut into slots.

    A client that declares one has that one; the others take the free ones in the order in which they come.
    """

    needed: bool
    count: int
    given: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: TaskSettings, clients: Sequence[ClientNode]) -> Slots:
        """Decide the number of slots: the setting, else what a client declares, else the number of clients."""
        declared = [node.slot[1] for node in clients if node.slot is not None]
        partition = settings.partition or {}
        count = partition.get("partitions") or (declared[0] if declared else len(clients))
        return cls(settings.file is not None or bool(partition), max(1, int(count)))

    def placed(self, node: ClientNode) -> ClientNode:
        """Return the client with its slot."""
        if not self.needed:
            return replace(node, slot=None)
        if node.slot is not None:
            return node
        index = self.given.setdefault(node.name, len(self.given))
        return replace(node, slot=(index, self.count))
