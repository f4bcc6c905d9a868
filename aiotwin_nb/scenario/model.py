"""The scenario: one YAML file says everything about a run. Unknown keys are errors, every default is written here."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator, model_validator

from aiotwin_nb.continuum import Change, Infrastructure, LabelNoise, Node, Role, exact
from aiotwin_nb.decision import policies, trends
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.planning.costs import cost_model, cost_models
from aiotwin_nb.planning.strategies import strategies
from aiotwin_nb.planning.utility import utilities
from aiotwin_nb.registry import Registry


def number(value: Decimal) -> int | float:
    """A decimal as the number a person would write: 1320 rather than 1320.0."""
    return int(value) if value == value.to_integral_value() else float(value)


def _to_decimal(value: Any) -> Any:
    return exact(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Amount = Annotated[Decimal, BeforeValidator(_to_decimal), PlainSerializer(number, when_used="always")]
Cost = Annotated[Amount, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[Amount, Field(gt=0, allow_inf_nan=False)]
NodeId = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")]
Samples = Annotated[int, Field(ge=0)]


def _known(registry: Registry[Any]) -> BeforeValidator:
    """Refuse a name that a registry does not know, with the registry's own message."""

    def check(name: Any) -> Any:
        if isinstance(name, str):
            try:
                registry.get(name)
            except InvalidInput as error:
                raise ValueError(str(error)) from None
        return name

    return BeforeValidator(check)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelNoiseSpec(_Section):
    """Wrong labels in a client's data: `shift` is label + 1, `random` a uniformly drawn label."""

    kind: Literal["none", "shift", "random"] = "none"
    share: float = Field(0.0, ge=0, le=1, description="part of the samples with a wrong label, 0 to 1")


class NodeSpec(_Section):
    """One node: role, links (cost per MB to other nodes) and, for clients, samples per label."""

    id: NodeId
    role: Role
    links: dict[NodeId, Cost] = Field(default_factory=dict, description="cost per MB to other nodes")
    data: dict[Samples, Samples] = Field(default_factory=dict, description="training samples per label")
    label_noise: LabelNoiseSpec = LabelNoiseSpec()
    energy: Cost | None = Field(None, description="energy per round unit, from the original's CSV")
    partition: tuple[int, int] | None = Field(None, description="(partition id, number of partitions), likewise")
    speed: Positive | None = Field(None, description="training samples per second, for costs in seconds")
    load: list[Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=list, description="load after round 1, 2, …, 0 to 1; the last value holds on"
    )
    rates: dict[NodeId, Positive] = Field(default_factory=dict, description="MB per second to other nodes, likewise")

    def to_node(self) -> Node:
        """The continuum's node."""
        return Node(
            id=self.id,
            role=self.role,
            links=dict(self.links),
            data=dict(self.data),
            label_noise=LabelNoise(self.label_noise.kind, self.label_noise.share),
            energy=self.energy,
            partition=self.partition,
            speed=self.speed,
            load=tuple(self.load),
            rates=dict(self.rates),
        )

    @classmethod
    def of(cls, node: Node) -> NodeSpec:
        """The scenario's form of a continuum node."""
        return cls(
            id=node.id,
            role=node.role,
            links=dict(node.links),
            data=dict(node.data),
            label_noise=LabelNoiseSpec(kind=node.label_noise.kind, share=node.label_noise.share),
            energy=node.energy,
            partition=node.partition,
            speed=node.speed,
            load=list(node.load),
            rates=dict(node.rates),
        )


class PartitionSpec(_Section):
    """How training data is divided when it is not by the nodes' own label counts."""

    kind: Literal["iid", "dirichlet", "shards"]
    alpha: float = Field(0.5, gt=0, description="concentration of the Dirichlet distribution; small is skewed")
    shards_per_client: int = Field(2, ge=1)


class TaskSpec(_Section):
    """What is learned: a built-in data set (`name`) or a user's own task.py (`file`)."""

    name: str | None = Field(
        None,
        description="digits | fashion_mnist | mnist | cifar10 | people | people_evening | people_any; "
        "digits unless file is given",
    )
    file: str | None = Field(None, description="path of a task.py, relative to the scenario")
    model: Literal["mlp", "cnn", "cnn62k"] = "mlp"
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(0.004, gt=0, allow_inf_nan=False)
    momentum: float = Field(0.9, ge=0, lt=1)
    optimizer: Literal["sgd", "adam"] = "sgd"
    test_samples: int = Field(500, ge=1, description="size of the global test set")
    partition: PartitionSpec | None = Field(None, description="default: by the nodes' data")

    @model_validator(mode="after")
    def _one_source(self) -> TaskSpec:
        if self.name is not None and self.file is not None:
            raise ValueError("give either name (a built-in data set) or file (your task.py), not both")
        if self.name is None and self.file is None:
            object.__setattr__(self, "name", "digits")
        return self


class TrainingSpec(_Section):
    """How long is trained: epochs per local round, local rounds per global round, global rounds at most."""

    epochs: int = Field(2, ge=1)
    local_rounds: int = Field(2, ge=1)
    max_rounds: int = Field(100, ge=1)


class StrategySpec(_Section):
    """The configuration strategy by name and arguments."""

    name: Annotated[str, _known(strategies)] = "min_comm_cost"
    args: dict[str, Any] = Field(default_factory=dict)


class FlowerStrategySpec(_Section):
    """A Flower aggregation strategy by class name and arguments."""

    name: str = "FedAvg"
    args: dict[str, Any] = Field(default_factory=dict)


class AggregationSpec(_Section):
    """Flower strategies of the global and of the local tier."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    global_: FlowerStrategySpec = Field(FlowerStrategySpec(), alias="global")
    local: FlowerStrategySpec = FlowerStrategySpec()


class CostSpec(_Section):
    """The cost model by name and arguments."""

    model: Annotated[str, _known(cost_models)] = "communication"
    args: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _constructible(self) -> CostSpec:
        try:
            cost_model(self.model, model_size_mb=1, args=self.args)
        except InvalidInput as error:
            raise ValueError(str(error)) from None
        return self


class ObjectiveSpec(_Section):
    """What the run is for, and when it stops.

    `total_budget`: the best model the budget buys; stops when it is spent. `cost_min`: the cheapest way to the target
    accuracy; stops there (a budget, if given, is a guard). `both`: the best model the budget buys, but no better than
    the target: stops at whichever comes first.
    """

    type: Literal["total_budget", "cost_min", "both"] = "total_budget"
    budget: Positive | None = Field(Decimal(100000), description="in the cost model's unit; null: none (cost_min only)")
    target_accuracy: float | None = Field(None, gt=0, le=100, description="percent; needed by cost_min and both")
    overshoot: Literal["forbidden", "allowed"] = "forbidden"
    stop_when_converged: bool = Field(False, description="also stop when the accuracy no longer changes")

    @property
    def stops_at(self) -> float | None:
        """The accuracy (percent) at which the run stops; None when it goes on to its budget."""
        return None if self.type == "total_budget" else self.target_accuracy

    @model_validator(mode="after")
    def _complete(self) -> ObjectiveSpec:
        if self.type != "cost_min" and self.budget is None:
            raise ValueError(f"objective {self.type} needs a budget above 0")
        if self.type != "total_budget" and self.target_accuracy is None:
            raise ValueError(f"objective {self.type} needs target_accuracy (percent)")
        return self


class ValidationSpec(_Section):
    """How a reconfiguration is validated."""

    policy: Annotated[str, _known(policies)] = "rva"
    trend: Annotated[str, _known(trends)] = "log"
    window: int = Field(5, ge=1, description="rounds watched before the decision (W)")
    arm: Literal["fewer_rounds", "always"] = "fewer_rounds"


class OverloadSpec(_Section):
    """When a node counts as about to be overloaded: its load, forecast some rounds ahead, reaches a threshold."""

    threshold: float = Field(0.9, gt=0, le=1, description="load at which a node is overloaded, 0 to 1")
    horizon: int = Field(3, ge=1, description="how many rounds ahead")
    history: int = Field(5, ge=2, description="how many past rounds the forecast uses")


class TriggersSpec(_Section):
    """What makes the orchestrator act besides events: the forecast of an overload (null: nothing)."""

    overload: OverloadSpec | None = None


class DropSpec(_Section):
    """The least useful clients leave the pipeline (the energy variant of the original system)."""

    clients: int = Field(1, ge=1, description="how many")
    utility: Annotated[str, _known(utilities)] = "dataset_share"


class ChangeSpec(_Section):
    """Nodes that join or leave, link costs and data that change: in a scenario's events and in commands to a run."""

    add: list[NodeSpec] = Field(default_factory=list)
    remove: list[NodeId] = Field(default_factory=list)
    link: dict[NodeId, dict[NodeId, Cost]] = Field(default_factory=dict)
    data: dict[NodeId, dict[Samples, Samples]] = Field(default_factory=dict)

    def to_change(self) -> Change:
        """The continuum's change."""
        return Change(
            added=tuple(node.to_node() for node in self.add),
            removed=tuple(self.remove),
            links={i: dict(links) for i, links in self.link.items()},
            data={i: dict(data) for i, data in self.data.items()},
        )


class EventSpec(ChangeSpec):
    """Something that happens after a round: nodes join, leave or are dropped, link costs or data change."""

    after_round: int = Field(ge=0, description="acts before the next round; 0: before the first")
    drop: DropSpec | None = None

    @model_validator(mode="after")
    def _something(self) -> EventSpec:
        if not (self.add or self.remove or self.link or self.data or self.drop):
            raise ValueError("the event does nothing; give add, remove, link, data or drop")
        return self


class Scenario(_Section):
    """Everything about a run; the same scenario and seed give the same run."""

    name: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]*$")]
    seed: int = Field(1, ge=0, lt=2**63)
    task: TaskSpec = TaskSpec(name="digits")
    model_size_mb: Positive | Literal["auto"] = Field(
        Decimal("3.3"), description="S in MB; auto = parameter bytes / 10^6"
    )
    nodes: list[NodeSpec] = Field(min_length=1)
    training: TrainingSpec = TrainingSpec()
    strategy: StrategySpec = StrategySpec()
    aggregation: AggregationSpec = AggregationSpec()
    cost: CostSpec = CostSpec()
    objective: ObjectiveSpec = ObjectiveSpec()
    validation: ValidationSpec = ValidationSpec()
    triggers: TriggersSpec = TriggersSpec()
    events: list[EventSpec] = Field(default_factory=list)

    @field_validator("model_size_mb", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "auto":
            raise ValueError("must be a number of MB above 0, or the word auto")
        return value

    @property
    def infrastructure(self) -> Infrastructure:
        """The nodes that exist at the start."""
        return Infrastructure.of(self._placed(node.to_node()) for node in self.nodes)

    def _placed(self, node: Node) -> Node:
        """A client with its part of the data, where the task divides the data and no node says which part it has.

        Clients that join later have parts from the start, so that everybody's data stay what they are.
        """
        everyone = [*self.nodes, *(n for event in self.events for n in event.add)]
        divided = self.task.file is not None or self.task.partition is not None
        if not divided or node.role is not Role.CLIENT or any(n.partition for n in everyone):
            return node
        clients = list(dict.fromkeys(n.id for n in everyone if n.role is Role.CLIENT))
        return replace(node, partition=(clients.index(node.id), len(clients)))

    def changes(self) -> dict[int, Change]:
        """Scripted changes by the round after which they act; events of the same round are merged in order."""
        merged: dict[int, Change] = {}
        for event in self.events:
            change = event.to_change()
            change = replace(change, added=tuple(self._placed(node) for node in change.added))
            merged[event.after_round] = merged.get(event.after_round, Change()).merged(change)
        return dict(sorted(merged.items()))

    def resolved(self) -> dict[str, Any]:
        """Plain values with every default written out, ready for YAML."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=False)
