"""Cost model `weighted`: a weighted sum of other cost models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

from aiotwin_nb.continuum import Infrastructure
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.planning.costs import EXACT, CostModel, cost_model, cost_models, exact_sum, is_additive, non_negative


@cost_models.register("weighted")
@dataclass(frozen=True)
class WeightedCost:
    """Ψ = Σ_m w_m · Ψ_m for every cost, Ψ_gr and Ψ_rc alike.

    `weights`: {cost model: weight}, where a weight is what one unit of that model is worth, e.g. {communication: 1,
    computation_time: 0.5} counts a second as half a cost unit. `args`: {cost model: its own arguments}.
    Additive when all its models are.
    """

    name: ClassVar[str] = "weighted"
    unit: ClassVar[str] = "weighted units"

    model_size_mb: Decimal
    weights: Mapping[str, Any]
    args: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.weights, Mapping) or not self.weights:
            raise InvalidInput(
                f"cost model weighted, weights: {self.weights!r} is not allowed; "
                "give {cost model: weight}, e.g. {communication: 1, energy: 10}"
            )
        for name in self.args:
            if name not in self.weights:
                raise InvalidInput(f"cost model weighted, args: {name!r} has no weight; weights are for {self._known}")
        object.__setattr__(self, "_parts", tuple(self._part(name) for name in self.weights))

    @property
    def _known(self) -> str:
        return ", ".join(self.weights)

    def _part(self, name: str) -> tuple[Decimal, CostModel]:
        if name == self.name:
            raise InvalidInput("cost model weighted, weights: a weighted sum cannot be a part of itself")
        weight = non_negative("cost model weighted", f"weights.{name}", self.weights[name])
        return weight, cost_model(name, model_size_mb=self.model_size_mb, args=self.args.get(name))

    @property
    def parts(self) -> tuple[tuple[Decimal, CostModel], ...]:
        """(weight, cost model) of every part."""
        found: tuple[tuple[Decimal, CostModel], ...] = self.__dict__["_parts"]
        return found

    @property
    def additive(self) -> bool:
        """Whether all its models are additive."""
        return all(is_additive(model) for _, model in self.parts)

    def round_cost(self, infrastructure: Infrastructure, configuration: Configuration) -> Decimal:
        """Ψ_gr."""
        return exact_sum(EXACT.multiply(w, m.round_cost(infrastructure, configuration)) for w, m in self.parts)

    def aggregation_cost(self, infrastructure: Infrastructure, configuration: Configuration) -> Decimal:
        """Ψ_gr with L = 1."""
        return exact_sum(EXACT.multiply(w, m.aggregation_cost(infrastructure, configuration)) for w, m in self.parts)

    def change_cost(self, infrastructure: Infrastructure, current: Configuration | None, new: Configuration) -> Decimal:
        """Ψ_rc."""
        return exact_sum(EXACT.multiply(w, m.change_cost(infrastructure, current, new)) for w, m in self.parts)

    def aggregator_cost(self, infrastructure: Infrastructure, aggregator: str, *, local_rounds: int) -> Decimal | None:
        """Weighted sum of the parts' aggregator costs; None where one is."""
        return self._sum(
            m.aggregator_cost(infrastructure, aggregator, local_rounds=local_rounds) for _, m in self.parts
        )

    def member_cost(
        self, infrastructure: Infrastructure, client: str, aggregator: str, *, epochs: int, local_rounds: int
    ) -> Decimal | None:
        """Weighted sum of the parts' member costs; None where one is."""
        return self._sum(
            m.member_cost(infrastructure, client, aggregator, epochs=epochs, local_rounds=local_rounds)
            for _, m in self.parts
        )

    def _sum(self, costs: Iterable[Decimal | None]) -> Decimal | None:
        total = Decimal(0)
        for (weight, _), cost in zip(self.parts, costs, strict=True):
            if cost is None:
                return None
            total = EXACT.add(total, EXACT.multiply(weight, cost))
        return total
