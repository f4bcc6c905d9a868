"""What a configuration costs: cost models, by name, in exact decimals.

Money is never a float here: 3.3 is 3.3 in the first round and in the hundred thousandth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from inspect import signature
from typing import Any, ClassVar, Protocol

from aiotwin_nb.continuum import Infrastructure, exact
from aiotwin_nb.errors import InfeasiblePlan, InvalidInput
from aiotwin_nb.planning.arguments import check_arguments
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.registry import Registry

EXACT = Context(prec=100)  # products and sums of numbers that people write stay far below 100 digits
HALF = Decimal("0.5")


class CostModel(Protocol):
    """What a configuration costs, in units of `unit`.

    The two `*_cost` parts of one node are what strategies minimise; they are None where the node cannot be placed there
    because a link is missing. `local_rounds` is L ≥ 1.
    """

    @property
    def name(self) -> str:
        """Name in the registry."""

    @property
    def unit(self) -> str:
        """Unit of every cost, for labels."""

    @property
    def additive(self) -> bool:
        """Whether Ψ_gr is a constant plus the aggregators' and members' parts; strategies that minimise it need that.

        A model of one's own may leave this out: it counts as additive then.
        """

    def round_cost(self, infrastructure: Infrastructure, configuration: Configuration) -> Decimal:
        """Ψ_gr: cost of one global round; raises InfeasiblePlan for a missing link."""

    def aggregation_cost(self, infrastructure: Infrastructure, configuration: Configuration) -> Decimal:
        """Cost of one local round (Ψ_gr with L = 1), as the original prints it; raises InfeasiblePlan likewise."""

    def change_cost(self, infrastructure: Infrastructure, current: Configuration | None, new: Configuration) -> Decimal:
        """Ψ_rc: cost of going from the current to the new configuration; 0 at the very start (current is None)."""

    def aggregator_cost(self, infrastructure: Infrastructure, aggregator: str, *, local_rounds: int) -> Decimal | None:
        """Part of Ψ_gr that using a local aggregator adds."""

    def member_cost(
        self, infrastructure: Infrastructure, client: str, aggregator: str, *, epochs: int, local_rounds: int
    ) -> Decimal | None:
        """Part of Ψ_gr that a client adds at an aggregator."""


cost_models: Registry[Callable[..., CostModel]] = Registry("cost model", "aiotwin_nb.cost_models")


@cost_models.register("communication")
@dataclass(frozen=True)
class CommunicationCost:
    """Cost of moving the model over the links; S = `model_size_mb` (MB), link(a, b) = cost per MB.

    Ψ_gr = S · (Σ_LA link(LA, GA) + L · Σ_client link(client, parent)), without the first sum in flat FL.
    Ψ_rc = S · Σ link(client, new parent) / 2 over the clients that are new or move: they download only, half a round
    trip; a client that leaves costs nothing. With `image_mb` (MB of the service's image) or `data_mb_per_sample` a node
    that joins downloads these too, Ψ_rc += link(node, parent) / 2 · (image_mb + data_mb_per_sample · samples); so does
    an LA that is opened (image alone, from the GA).
    Source: the AIoTwin orchestrator's communication cost (arXiv 2412.03385); the download is its to-do.
    """

    name: ClassVar[str] = "communication"
    unit: ClassVar[str] = "cost units"
    additive: ClassVar[bool] = True

    model_size_mb: Decimal
    image_mb: Decimal = Decimal(0)
    data_mb_per_sample: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        for field in ("image_mb", "data_mb_per_sample"):
            object.__setattr__(self, field, non_negative("cost model communication", field, getattr(self, field)))

    def round_cost(self, infrastructure: Infrastructure, configuration: Configuration) -> Decimal:
        """Ψ_gr; raises InfeasiblePlan for a missing link."""
        return self._cost(infrastructure, configuration, max(configuration.local_rounds, 1))

    def aggregation_cost(self, infrastructure: Infrastructure, configuration: Configuration) -> Decimal:
        """Ψ_gr with L = 1; raises InfeasiblePlan for a missing link."""
        return self._cost(infrastructure, configuration, 1)

    def change_cost(self, infrastructure: Infrastructure, current: Configuration | None, new: Configuration) -> Decimal:
        """Ψ_rc; raises InfeasiblePlan for a missing link to a new parent."""
        if current is None:
            return Decimal(0)
        return exact_sum(
            EXACT.multiply(EXACT.multiply(link_cost(infrastructure, node, parent), megabytes), HALF)
            for node, parent, megabytes in downloads(self, infrastructure, current, new)
        )

    def aggregator_cost(self, infrastructure: Infrastructure, aggregator: str, *, local_rounds: int) -> Decimal | None:
        """S · link(LA, GA): once per global round, whatever L is."""
        link = infrastructure.link(aggregator, infrastructure.global_aggregator)
        return None if link is None else EXACT.multiply(self.model_size_mb, link)

    def member_cost(
        self, infrastructure: Infrastructure, client: str, aggregator: str, *, epochs: int, local_rounds: int
    ) -> Decimal | None:
        """S · L · link(client, aggregator)."""
        link = infrastructure.link(client, aggregator)
        return None if link is None else EXACT.multiply(EXACT.multiply(self.model_size_mb, link), Decimal(local_rounds))

    def _cost(self, infrastructure: Infrastructure, configuration: Configuration, local_rounds: int) -> Decimal:
        ga = configuration.global_aggregator
        upper = exact_sum(link_cost(infrastructure, la, ga) for la in configuration.aggregators if la != ga)
        lower = exact_sum(link_cost(infrastructure, *pair) for pair in configuration.parents.items())
        return EXACT.multiply(self.model_size_mb, EXACT.add(upper, EXACT.multiply(Decimal(local_rounds), lower)))


class Downloading(Protocol):
    """What the size of a download depends on, in MB."""

    @property
    def model_size_mb(self) -> Decimal:
        """S, for every client that joins or moves."""

    @property
    def image_mb(self) -> Decimal:
        """The service's image, for every node that joins."""

    @property
    def data_mb_per_sample(self) -> Decimal:
        """One training sample, for every client that joins."""


def downloads(
    sizes: Downloading, infrastructure: Infrastructure, current: Configuration, new: Configuration
) -> Iterator[tuple[str, str, Decimal]]:
    """(node, parent, MB) of every download that a change needs."""
    before = current.parents
    for client, parent in new.parents.items():
        megabytes = sizes.model_size_mb if before.get(client) != parent else Decimal(0)
        if client not in before:
            data = EXACT.multiply(sizes.data_mb_per_sample, Decimal(infrastructure.nodes[client].samples))
            megabytes = exact_sum((megabytes, sizes.image_mb, data))
        if megabytes:
            yield client, parent, megabytes
    if sizes.image_mb and not new.is_flat:
        for la in new.aggregators:
            if la not in current.aggregators:
                yield la, new.global_aggregator, sizes.image_mb


def cost_model(
    name: str, *, model_size_mb: Decimal | float | int | str, args: Mapping[str, Any] | None = None
) -> CostModel:
    """Return the cost model with a name for a model of a size in MB (10^6 bytes); `args` are the model's own.

    Raises InvalidInput for an unknown name or argument, or a size that is not a positive number.
    """
    try:
        size = exact(model_size_mb)
    except InvalidOperation:
        size = Decimal("NaN")
    if not size.is_finite() or size <= 0:
        raise InvalidInput(f"model_size_mb is {model_size_mb!r}; allowed is a number of MB above 0, e.g. 3.3")
    model = cost_models.get(name)
    check_arguments(f"cost model {name}", list(signature(model).parameters.values()), args or {}, {"model_size_mb"})
    return model(model_size_mb=size, **(args or {}))


def non_negative(owner: str, name: str, value: Any) -> Decimal:
    """An argument as an exact decimal; raises InvalidInput unless it is a number, 0 or more."""
    try:
        number = Decimal("NaN") if isinstance(value, bool) else exact(value)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise InvalidInput(f"{owner}, {name}: {value!r} is not allowed; give a number, 0 or more")
    return number


def is_additive(model: CostModel) -> bool:
    """Whether a cost model is a sum over aggregators and members."""
    return bool(getattr(model, "additive", True))


def post_cost(model: CostModel, infrastructure: Infrastructure, current: Configuration, new: Configuration) -> Decimal:
    """Ψ_pr = Ψ_gr(new) − Ψ_gr(current): what every round costs more (less, when negative) after the change.

    Nodes that are gone must be left out of `current` first (`current.without(...)`): they cost nothing any more.
    """
    return EXACT.subtract(model.round_cost(infrastructure, new), model.round_cost(infrastructure, current))


def exact_sum(numbers: Iterable[Decimal]) -> Decimal:
    """Return the sum of decimals without rounding."""
    total = Decimal(0)
    for number in numbers:
        total = EXACT.add(total, number)
    return total


def link_cost(infrastructure: Infrastructure, a: str, b: str) -> Decimal:
    """Return the cost per MB between two nodes; raises InfeasiblePlan naming both when there is no link."""
    link = infrastructure.link(a, b)
    if link is None:
        raise InfeasiblePlan(f"there is no link between {a} and {b}; add one to the links of {a}, e.g. {b}: 20")
    return link
