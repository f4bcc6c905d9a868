"""Cost models in seconds, from declared speeds and rates: `computation_time` (a sum) and `wall_time` (a maximum).

Nothing measured enters: the same scenario costs the same on every machine. Seconds are rounded to microseconds, so that
sums over a whole run stay exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from aiotwin_nb.continuum import Infrastructure
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.planning.costs import EXACT, cost_models, downloads, exact_sum, non_negative

MICROSECOND = Decimal("0.000001")


@cost_models.register("computation_time")
@dataclass(frozen=True)
class ComputationTime:
    """Seconds of computing that a round takes from all clients together.

    Ψ_gr = L · epochs · Σ_client samples(client) / speed(client), speed in samples/s. Ψ_rc = 0. Where a client is placed
    does not matter.
    """

    name: ClassVar[str] = "computation_time"
    unit: ClassVar[str] = "s"
    additive: ClassVar[bool] = True

    model_size_mb: Decimal

    def round_cost(self, infrastructure: Infrastructure, configuration: Configuration) -> Decimal:
        """Ψ_gr; raises InvalidInput for a client without declared speed or data."""
        return max(configuration.local_rounds, 1) * self.aggregation_cost(infrastructure, configuration)

    def aggregation_cost(self, infrastructure: Infrastructure, configuration: Configuration) -> Decimal:
        """Ψ_gr with L = 1."""
        c = configuration
        return exact_sum(training_seconds(infrastructure, client, c.epochs, self.name) for client in c.clients)

    def change_cost(self, infrastructure: Infrastructure, current: Configuration | None, new: Configuration) -> Decimal:
        """Ψ_rc = 0: a change computes nothing."""
        return Decimal(0)

    def aggregator_cost(self, infrastructure: Infrastructure, aggregator: str, *, local_rounds: int) -> Decimal | None:
        """0 (averaging is not counted); None without a link to the GA."""
        return None if infrastructure.link(aggregator, infrastructure.global_aggregator) is None else Decimal(0)

    def member_cost(
        self, infrastructure: Infrastructure, client: str, aggregator: str, *, epochs: int, local_rounds: int
    ) -> Decimal | None:
        """L · epochs · samples / speed; None without a link."""
        if infrastructure.link(client, aggregator) is None:
            return None
        return local_rounds * training_seconds(infrastructure, client, epochs, self.name)


@cost_models.register("wall_time")
@dataclass(frozen=True)
class WallTime:
    """Seconds from the start of a synchronous global round to its end: the slowest decides, at both tiers.

    Ψ_gr = max_LA ( L · max_client t(client, LA) + 2 · S / rate(LA, GA) ), with rate in MB/s, S in MB and
    t(client, p) = epochs · samples / speed + 2 · S / rate(client, p); in flat FL max_client t(client, GA).
    Ψ_rc = the slowest download of the change: S / rate(client, new parent), with `image_mb` and `data_mb_per_sample`
    also the image and the data of a node that joins.
    Not additive: a client faster than the slowest one of its cluster costs nothing.
    """

    name: ClassVar[str] = "wall_time"
    unit: ClassVar[str] = "s"
    additive: ClassVar[bool] = False

    model_size_mb: Decimal
    image_mb: Decimal = Decimal(0)
    data_mb_per_sample: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        for field in ("image_mb", "data_mb_per_sample"):
            object.__setattr__(self, field, non_negative("cost model wall_time", field, getattr(self, field)))

    def round_cost(self, infrastructure: Infrastructure, configuration: Configuration) -> Decimal:
        """Ψ_gr; raises InvalidInput for a missing speed, rate or data."""
        return self._cost(infrastructure, configuration, max(configuration.local_rounds, 1))

    def aggregation_cost(self, infrastructure: Infrastructure, configuration: Configuration) -> Decimal:
        """Ψ_gr with L = 1."""
        return self._cost(infrastructure, configuration, 1)

    def change_cost(self, infrastructure: Infrastructure, current: Configuration | None, new: Configuration) -> Decimal:
        """Ψ_rc: the slowest download."""
        if current is None:
            return Decimal(0)
        return _slowest(
            transfer_seconds(infrastructure, node, parent, megabytes)
            for node, parent, megabytes in downloads(self, infrastructure, current, new)
        )

    def aggregator_cost(self, infrastructure: Infrastructure, aggregator: str, *, local_rounds: int) -> Decimal | None:
        """The LA's own exchange with the GA, in seconds; no share of a sum. None without a link."""
        ga = infrastructure.global_aggregator
        if infrastructure.link(aggregator, ga) is None:
            return None
        return transfer_seconds(infrastructure, aggregator, ga, 2 * self.model_size_mb)

    def member_cost(
        self, infrastructure: Infrastructure, client: str, aggregator: str, *, epochs: int, local_rounds: int
    ) -> Decimal | None:
        """The client's own time at an aggregator, L · t(client, aggregator); no share of a sum. None without a link."""
        if infrastructure.link(client, aggregator) is None:
            return None
        return local_rounds * self._client_seconds(infrastructure, client, aggregator, epochs)

    def _client_seconds(self, infrastructure: Infrastructure, client: str, parent: str, epochs: int) -> Decimal:
        transfer = transfer_seconds(infrastructure, client, parent, 2 * self.model_size_mb)
        return training_seconds(infrastructure, client, epochs, self.name) + transfer

    def _cost(self, infrastructure: Infrastructure, configuration: Configuration, local_rounds: int) -> Decimal:
        ga = configuration.global_aggregator

        def cluster_seconds(aggregator: str, clients: Iterable[str]) -> Decimal:
            epochs = configuration.epochs
            lower = _slowest(self._client_seconds(infrastructure, client, aggregator, epochs) for client in clients)
            if aggregator == ga:
                return local_rounds * lower
            return local_rounds * lower + transfer_seconds(infrastructure, aggregator, ga, 2 * self.model_size_mb)

        return _slowest(cluster_seconds(aggregator, clients) for aggregator, clients in configuration.clusters)


def training_seconds(infrastructure: Infrastructure, client: str, epochs: int, model: str) -> Decimal:
    """Epochs · samples / speed; raises InvalidInput naming what the client does not declare."""
    node = infrastructure.nodes[client]
    if node.speed is None:
        raise InvalidInput(
            f"cost model {model} needs the speed of every client, but {client} declares none; add `speed: 200` "
            f"(samples/s, say) to node {client}, let `aiotwin calibrate RUN` measure it, or use communication"
        )
    if not node.samples:
        raise InvalidInput(
            f"cost model {model} needs the number of samples of every client, but {client} declares no data; "
            f"add data to node {client}, or use the cost model communication"
        )
    return _rounded(EXACT.divide(Decimal(epochs * node.samples), node.speed))


def transfer_seconds(infrastructure: Infrastructure, node: str, parent: str, megabytes: Decimal) -> Decimal:
    """MB / rate; raises InvalidInput when neither end declares the rate."""
    rate = infrastructure.rate(node, parent)
    if rate is None:
        raise InvalidInput(
            f"cost model wall_time needs the rate between {node} and {parent}, but neither declares it; add "
            f"`rates: {{{parent}: 10}}` (MB/s, say) to node {node}, or use the cost model computation_time"
        )
    return _rounded(EXACT.divide(megabytes, rate))


def _rounded(seconds: Decimal) -> Decimal:
    return seconds.quantize(MICROSECOND, context=EXACT)


def _slowest(seconds: Iterable[Decimal]) -> Decimal:
    return max(seconds, default=Decimal(0))
