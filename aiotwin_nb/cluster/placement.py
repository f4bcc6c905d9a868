"""Which cluster node runs which service. Pure: what the cluster has is asked by callables."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


def _none() -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Placement:
    """Places for services. A service's place does not change while its node lives: that would be a new pod.

    `wished`: {node: cluster node}, asked anew each time. `usable`: cluster nodes on which something may be started now;
    `alive`: those on which what runs there goes on. `fixed`: no other place than the wished one will do (`actual`
    infrastructure: a node *is* a cluster node). Without any usable node the scheduler chooses.
    """

    wished: Callable[[], Mapping[str, str]] = field(default=dict)
    usable: Callable[[], Sequence[str]] = _none
    alive: Callable[[], Sequence[str]] = _none
    fixed: bool = False

    @classmethod
    def dealt(
        cls, nodes: Sequence[str], usable: Callable[[], Sequence[str]], alive: Callable[[], Sequence[str]]
    ) -> Placement:
        """Simulated infrastructure: a scenario's nodes dealt out to the cluster's nodes in turn."""
        machines = usable()
        places = {node: machines[i % len(machines)] for i, node in enumerate(nodes)} if machines else {}
        return cls(lambda: places, usable, alive)

    def of(self, node: str, present: str | None = None) -> str | None:
        """The cluster node for a node; `present`: where it is already. None: the scheduler's choice."""
        if present is not None and (self.fixed or present in self.alive()):
            return present
        wished, usable = self.wished().get(node), self.usable()
        if self.fixed or wished in usable or not usable:
            return wished if self.fixed or wished in usable else None
        return usable[int(hashlib.sha256(node.encode()).hexdigest(), 16) % len(usable)]
