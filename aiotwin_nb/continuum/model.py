"""What exists: nodes of the computing continuum, their roles, links and data."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from aiotwin_nb.errors import InvalidInput, did_you_mean

K = TypeVar("K")
V = TypeVar("V")


class Role(StrEnum):
    """What a node does in hierarchical federated learning (HFL)."""

    GLOBAL_AGGREGATOR = "global_aggregator"
    LOCAL_AGGREGATOR = "local_aggregator"
    CLIENT = "client"


def natural_key(node_id: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key for node ids in which n2 comes before n10; ids that differ get keys that differ (n01 before n1)."""
    parts = re.findall(r"\d+|\D+", node_id)
    ordered = ((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)
    return (*ordered, (-1, 0, node_id))  # -1: an id comes before the longer ids that start with it


def natural_sorted(node_ids: Iterable[str]) -> list[str]:
    """Return node ids in natural order (n2 before n10)."""
    return sorted(node_ids, key=natural_key)


def exact(number: Decimal | float | int | str) -> Decimal:
    """Return the decimal a person wrote: 3.3 becomes exactly 3.3, not 3.2999 and so on."""
    return number if isinstance(number, Decimal) else Decimal(str(number))


@dataclass(frozen=True)
class LabelNoise:
    """Wrong labels in a client's data.

    `kind`: ``none``; ``shift`` (label + 1 modulo the number of classes); ``random`` (a uniformly drawn label).
    `share`: part of the samples whose label is wrong, 0 to 1.
    """

    kind: str = "none"
    share: float = 0.0


@dataclass(frozen=True)
class Node:
    """One node of the continuum.

    `links`: cost per MB to other nodes (the scenario's cost unit per MB).
    `data`: samples per label a client trains on; empty where the task partitions the data itself.
    `energy`: energy per round unit, as in the original's CSV; `partition`: (partition id, number of partitions).
    `speed`: training samples per second, `rates`: MB per second to other nodes; declared, not measured, so that plans
    and budgets do not depend on the machine a run happens on. `load`: load after round 1, 2, … (0 to 1), scripted; the
    last value holds on.
    """

    id: str
    role: Role
    links: Mapping[str, Decimal] = field(default_factory=dict)
    data: Mapping[int, int] = field(default_factory=dict)
    label_noise: LabelNoise = LabelNoise()
    energy: Decimal | None = None
    partition: tuple[int, int] | None = None
    speed: Decimal | None = None
    rates: Mapping[str, Decimal] = field(default_factory=dict)
    load: tuple[float, ...] = ()

    @property
    def samples(self) -> int:
        """Number of training samples declared for this node."""
        return sum(self.data.values())


@dataclass(frozen=True)
class Change:
    """What happened to the continuum at one round boundary: joins, leaves, new link costs, new data.

    `links`: {node: {peer: cost per MB}} and `data`: {node: {label: samples}} replace the named entries only.
    `avoided`: nodes that exist but are to stay outside the pipeline (about to be overloaded, or of least use);
    `readmitted`: nodes for which that is over.
    """

    added: tuple[Node, ...] = ()
    removed: tuple[str, ...] = ()
    links: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)
    data: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    avoided: tuple[str, ...] = ()
    readmitted: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.links or self.data or self.avoided or self.readmitted)

    def singles(self) -> tuple[Change, ...]:
        """The parts of this change, node by node, in the order in which an infrastructure applies it."""
        return (
            *(Change(removed=(i,)) for i in self.removed),
            *(Change(added=(node,)) for node in self.added),
            *(Change(links={i: links}) for i, links in self.links.items()),
            *(Change(data={i: data}) for i, data in self.data.items()),
            *(Change(avoided=(i,)) for i in self.avoided),
            *(Change(readmitted=(i,)) for i in self.readmitted),
        )

    def merged(self, later: Change) -> Change:
        """Return this change followed by a `later` one, as one change of the same round boundary.

        A node that joins and then leaves (or the other way round) ends as the later change says.
        """
        gone = set(later.removed)
        replaced = gone | {node.id for node in later.added}
        return Change(
            added=tuple(n for n in self.added if n.id not in replaced) + later.added,
            removed=tuple(i for i in self.removed if i not in gone)
            + tuple(i for i in later.removed if i not in {n.id for n in self.added} or i in self.removed),
            links=_overlay(_outside(self.links, replaced), later.links),
            data=_overlay(_outside(self.data, replaced), later.data),
            avoided=tuple(i for i in self.avoided if i not in replaced) + later.avoided,
            readmitted=tuple(i for i in self.readmitted if i not in replaced) + later.readmitted,
        )


def _outside(mapping: Mapping[str, V], node_ids: Collection[str]) -> dict[str, V]:
    return {i: value for i, value in mapping.items() if i not in node_ids}


def _overlay(first: Mapping[str, Mapping[K, V]], second: Mapping[str, Mapping[K, V]]) -> dict[str, dict[K, V]]:
    return {i: {**first.get(i, {}), **second.get(i, {})} for i in [*first, *(i for i in second if i not in first)]}


@dataclass(frozen=True)
class Infrastructure:
    """The nodes that exist now, by id, in natural order; every query is pure, every change returns a new one."""

    nodes: Mapping[str, Node]

    @classmethod
    def of(cls, nodes: Iterable[Node]) -> Infrastructure:
        """Build an infrastructure; raises InvalidInput for a node id that occurs twice."""
        by_id: dict[str, Node] = {}
        for node in nodes:
            if node.id in by_id:
                raise InvalidInput(f"node {node.id!r} is there twice; every node needs an id of its own")
            by_id[node.id] = node
        return cls({i: by_id[i] for i in natural_sorted(by_id)})

    @property
    def global_aggregator(self) -> str:
        """Id of the one global aggregator (GA); raises InvalidInput when there is none."""
        found = self.with_role(Role.GLOBAL_AGGREGATOR)
        if not found:
            raise InvalidInput(f"no node has the role {Role.GLOBAL_AGGREGATOR.value!r}; give it to exactly one node")
        return found[0]

    @property
    def local_aggregators(self) -> tuple[str, ...]:
        """Ids of the local aggregators (LAs), natural order."""
        return self.with_role(Role.LOCAL_AGGREGATOR)

    @property
    def clients(self) -> tuple[str, ...]:
        """Ids of the clients, natural order."""
        return self.with_role(Role.CLIENT)

    def with_role(self, role: Role) -> tuple[str, ...]:
        """Ids of the nodes with a role, natural order."""
        return tuple(i for i, node in self.nodes.items() if node.role is role)

    def link(self, a: str, b: str) -> Decimal | None:
        """Cost per MB between two nodes, declared on either side; None when there is no link."""
        found = self.nodes[a].links.get(b) if a in self.nodes else None
        return found if found is not None or b not in self.nodes else self.nodes[b].links.get(a)

    def rate(self, a: str, b: str) -> Decimal | None:
        """MB per second between two nodes, declared on either side; None when it is not declared."""
        found = self.nodes[a].rates.get(b) if a in self.nodes else None
        return found if found is not None or b not in self.nodes else self.nodes[b].rates.get(a)

    def apply(self, change: Change) -> Infrastructure:
        """Return the infrastructure after a change.

        Raises InvalidInput when the change names a node that does not exist or adds one that does.
        """
        nodes = dict(self.nodes)
        for node_id in change.removed:
            self._known(node_id, nodes, "remove")
            del nodes[node_id]
        for node in change.added:
            if node.id in nodes:
                raise InvalidInput(f"cannot add node {node.id!r}: it is there already; choose another id")
            nodes[node.id] = node
        for node_id, links in change.links.items():
            self._known(node_id, nodes, "change a link of")
            nodes[node_id] = replace(nodes[node_id], links={**nodes[node_id].links, **links})
        for node_id, data in change.data.items():
            self._known(node_id, nodes, "change the data of")
            nodes[node_id] = replace(nodes[node_id], data={**nodes[node_id].data, **data})
        return Infrastructure.of(nodes.values())

    def apply_possible(self, changes: Iterable[Change]) -> tuple[Infrastructure, Change, tuple[str, ...]]:
        """Apply changes node by node, leaving out what makes no sense any more.

        Returns the infrastructure after them, what was applied as one change, and why the rest was left out.
        """
        infrastructure, applied, skipped = self, Change(), []
        for single in (single for change in changes for single in change.singles()):
            try:
                infrastructure = infrastructure.apply(single)
            except InvalidInput as error:
                skipped.append(str(error))
            else:
                applied = applied.merged(single)
        return infrastructure, applied, tuple(skipped)

    @staticmethod
    def _known(node_id: str, nodes: Mapping[str, Node], verb: str) -> None:
        if node_id not in nodes:
            raise InvalidInput(
                f"cannot {verb} node {node_id!r}: there is none; known are {', '.join(nodes)}."
                + did_you_mean(node_id, nodes)
            )
