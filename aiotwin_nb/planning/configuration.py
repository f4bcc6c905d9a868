"""What to run: a configuration of the FL pipeline, and the difference of two (ΔR in the slides)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiotwin_nb.continuum import natural_key, natural_sorted


@dataclass(frozen=True)
class Configuration:
    """Which aggregator serves which clients, and how long each trains.

    `clusters`: (aggregator, clients) pairs; aggregators and clients in natural order, no empty cluster. In flat FL the
    one aggregator is the GA itself. `epochs`: local epochs per local round. `local_rounds`: local rounds (L) per
    global round; 1 in flat FL.
    """

    global_aggregator: str
    clusters: tuple[tuple[str, tuple[str, ...]], ...]
    epochs: int
    local_rounds: int

    @classmethod
    def of(
        cls, global_aggregator: str, clusters: Mapping[str, Iterable[str]], *, epochs: int, local_rounds: int
    ) -> Configuration:
        """Build a configuration in canonical order, leaving out aggregators without clients."""
        members = {agg: tuple(natural_sorted(clients)) for agg, clients in clusters.items()}
        ordered = tuple((agg, members[agg]) for agg in sorted(members, key=natural_key) if members[agg])
        return cls(global_aggregator, ordered, epochs, local_rounds)

    @classmethod
    def of_parents(
        cls, global_aggregator: str, parents: Mapping[str, str], *, epochs: int, local_rounds: int
    ) -> Configuration:
        """Build a configuration from {client: aggregator}."""
        clusters: dict[str, list[str]] = {}
        for client, aggregator in parents.items():
            clusters.setdefault(aggregator, []).append(client)
        return cls.of(global_aggregator, clusters, epochs=epochs, local_rounds=local_rounds)

    @property
    def aggregators(self) -> tuple[str, ...]:
        """Aggregators with clients, natural order."""
        return tuple(aggregator for aggregator, _ in self.clusters)

    @property
    def clients(self) -> tuple[str, ...]:
        """All clients, natural order."""
        return tuple(natural_sorted(self.parents))

    @property
    def parents(self) -> dict[str, str]:
        """{client: its aggregator}."""
        return {client: aggregator for aggregator, clients in self.clusters for client in clients}

    @property
    def is_flat(self) -> bool:
        """True when clients hang on the GA directly."""
        return self.aggregators in ((self.global_aggregator,), ())

    def as_dict(self) -> dict[str, list[str]]:
        """{aggregator: [clients]} for JSON."""
        return {aggregator: list(clients) for aggregator, clients in self.clusters}

    def without(self, nodes: Iterable[str]) -> Configuration:
        """Return this configuration without some clients or aggregators (whose clients then have no place)."""
        gone = set(nodes)
        clusters = {a: [c for c in clients if c not in gone] for a, clients in self.clusters if a not in gone}
        return Configuration.of(self.global_aggregator, clusters, epochs=self.epochs, local_rounds=self.local_rounds)


@dataclass(frozen=True)
class ConfigurationDiff:
    """ΔR: clients that join, leave or move (client, old parent, new parent); aggregators opened, closed."""

    joined: tuple[str, ...]
    left: tuple[str, ...]
    moved: tuple[tuple[str, str, str], ...]
    opened: tuple[str, ...]
    closed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.joined or self.left or self.moved or self.opened or self.closed)


def diff(current: Configuration, new: Configuration) -> ConfigurationDiff:
    """Return the reconfiguration changes ΔR from the current to the new configuration."""
    before, after = current.parents, new.parents
    return ConfigurationDiff(
        joined=tuple(natural_sorted(after.keys() - before.keys())),
        left=tuple(natural_sorted(before.keys() - after.keys())),
        moved=tuple(
            (c, before[c], after[c]) for c in natural_sorted(before.keys() & after.keys()) if before[c] != after[c]
        ),
        opened=tuple(natural_sorted(set(new.aggregators) - set(current.aggregators))),
        closed=tuple(natural_sorted(set(current.aggregators) - set(new.aggregators))),
    )
