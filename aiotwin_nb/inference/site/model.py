"""The site file: one YAML file says everything about an embedded continuum. Unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aiotwin_nb.continuum import Infrastructure, Node, Role, exact
from aiotwin_nb.errors import InvalidInput, did_you_mean
from aiotwin_nb.inference.balancing import DEFAULT_POLICY, policies
from aiotwin_nb.inference.placement import Group, Rules, Terms
from aiotwin_nb.inference.services import DEFAULT_MAX_LATENCY_MS
from aiotwin_nb.orchestration.rundir import RunDirectory
from aiotwin_nb.scenario import load_scenario, shipped
from aiotwin_nb.scenario.load import mistakes
from aiotwin_nb.scenario.located import Located, read_yaml
from aiotwin_nb.scenario.model import NodeId

Ms = Annotated[float, Field(ge=0, le=60_000, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NodeSpec(_Section):
    """A node of the site."""

    id: NodeId
    rtt_ms: dict[NodeId, Ms] = Field(
        default_factory=dict, description="round trips to other nodes; others: shortest way"
    )
    links: dict[NodeId, Amount] = Field(default_factory=dict, description="cost per MB to other nodes")
    speed: float = Field(1.0, gt=0, le=1000, description="2 needs half of the service's service_ms")
    slots: int = Field(2, ge=0, le=16, description="most replicas")
    price: Amount = Field(1.0, description="of one replica for an hour")


class ServiceSpec(_Section):
    """The service: a learned one (`run`: a run's directory or a checkpoint) or, without, a synthetic one."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] = "service"
    run: str | None = Field(None, description="what aiotwin serve serves; null: a synthetic service")
    service_ms: float = Field(20.0, gt=0, le=60_000, description="mean time for a request at speed 1")
    max_latency_ms: float = Field(DEFAULT_MAX_LATENCY_MS, gt=0, description="within which answers are due")
    size_mb: Amount = Field(0.0, description="image and model")


class ClientSpec(_Section):
    """A group of clients at one node, whose requests arrive as a Poisson process."""

    id: NodeId
    node: NodeId
    rate: float = Field(10.0, ge=0, le=2000, description="requests per second")
    max_latency_ms: float | None = Field(None, gt=0, description="by default the service's")


class LabelSpec(_Section):
    """Labels of predictions: for which share of them, after how long, how many make a window."""

    share: Share = 0.5
    delay_s: float = Field(1.0, ge=0, le=3600)
    size: int = Field(50, ge=1)


class AdaptSpec(_Section):
    """How placements are changed while the site runs."""

    target: Share = 0.95
    patience: int = Field(5, ge=1, description="windows below target before a plan counts as too hopeful")
    dwell_s: float = Field(10.0, ge=0, description="seconds that a placement stays at least")
    min_gain: Share = 0.1
    dead_band: Share = 0.25
    moving: Amount = 0.0
    horizon_h: float = Field(1.0, gt=0)
    utilisation: float = Field(0.7, gt=0, lt=1)


class RetrainSpec(_Section):
    """`retrain when accuracy < below for windows`: what is learned then."""

    below: float = Field(gt=0, le=100, description="percent")
    windows: int = Field(3, ge=1)
    scenario: str = Field(description="a scenario file, relative to this one, or a lab's name")
    rest: int = Field(1, ge=0, description="windows after a decision before the rule looks again")


class SiteSpec(_Section):
    """Everything about an embedded continuum."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]*$")]
    seed: int = Field(1, ge=0, lt=2**63)
    service: ServiceSpec = ServiceSpec()
    policy: str = DEFAULT_POLICY
    nodes: list[NodeSpec] = Field(min_length=1, max_length=64)
    registry: NodeId | None = Field(None, description="the node that images and models come from")
    clients: list[ClientSpec] = Field(default_factory=list)
    placement: dict[NodeId, Annotated[int, Field(ge=0, le=16)]] | None = Field(
        None, description="replicas by node; null: the cheapest that keeps all bounds"
    )
    window_s: float = Field(1.0, gt=0, le=3600, description="seconds of a window of measurements")
    labels: LabelSpec = LabelSpec()
    adapt: AdaptSpec | None = Field(None, description="null: placements change only by hand")
    retrain: RetrainSpec | None = None

    @model_validator(mode="after")
    def _whole(self) -> SiteSpec:
        try:
            policies.get(self.policy)
        except InvalidInput as error:
            raise ValueError(f"policy: {error}") from None
        known = [node.id for node in self.nodes]
        _unique("node", known)
        _unique("client", [client.id for client in self.clients])
        for node in self.nodes:
            _known(f"rtt_ms of {node.id}", node.rtt_ms, known)
            _known(f"links of {node.id}", node.links, known)
        _known("clients", [client.node for client in self.clients], known)
        _known("placement", self.placement or {}, known)
        _known("registry", [self.registry] if self.registry else [], known)
        return self

    @property
    def infrastructure(self) -> Infrastructure:
        """The nodes as the learning side has them; `speed` in requests per second."""
        return Infrastructure.of(self.node(spec) for spec in self.nodes)

    def node(self, spec: NodeSpec) -> Node:
        """One node as the learning side has it."""
        links = {peer: exact(cost) for peer, cost in spec.links.items()}
        speed = exact(spec.speed * 1000 / self.service.service_ms)
        return Node(spec.id, Role.LOCAL_AGGREGATOR, links, speed=speed)

    @property
    def rtt_ms(self) -> dict[str, dict[str, float]]:
        """Round trips of links."""
        return {node.id: dict(node.rtt_ms) for node in self.nodes if node.rtt_ms}

    @property
    def groups(self) -> tuple[Group, ...]:
        """The clients as the placement has them."""
        return tuple(Group(c.id, c.node, c.rate, c.max_latency_ms or self.service.max_latency_ms) for c in self.clients)

    def rules(self) -> Rules:
        """How placements are made and changed."""
        adapt = self.adapt or AdaptSpec()
        terms = Terms(
            work=1.0,
            size_mb=self.service.size_mb,
            registry=self.registry or "",
            prices={node.id: node.price for node in self.nodes},
            slots_of={node.id: node.slots for node in self.nodes},
        )
        return Rules(terms, **adapt.model_dump())


def load_site(source: SiteSpec | str | Path) -> SiteSpec:
    """Read a site file, or a shipped one by name; paths in it start where it lies.

    Raises InvalidInput naming file, line, field, value and what is allowed.
    """
    if isinstance(source, SiteSpec):
        return _checked(source)
    path = _find(source)
    document = read_yaml(path)
    if not isinstance(document.value, dict):
        raise InvalidInput(f"{path}: is empty or not a mapping; a site starts like `name: my-site`")
    return _checked(parse_site(document, path.parent))


def _checked(site: SiteSpec) -> SiteSpec:
    """A site whose run and scenario are there; raises InvalidInput."""
    if site.service.run is not None and not Path(site.service.run).is_file():
        RunDirectory.open(site.service.run)
    if site.retrain is not None:
        if site.service.run is None:
            raise InvalidInput("retrain: the synthetic service learns nothing; give service.run, or leave retrain out")
        load_scenario(site.retrain.scenario)
    return site


def parse_site(document: Located, folder: Path) -> SiteSpec:
    """Check a parsed site file."""
    raw = _with_paths(document.value, folder)
    try:
        return SiteSpec.model_validate(raw)
    except ValidationError as error:
        found = [document.error(path, text) for path, text in mistakes(SiteSpec, raw, error)]
        raise InvalidInput("\n".join(dict.fromkeys(found))) from None


def site_names() -> list[str]:
    """Names of the shipped sites."""
    return sorted(path.stem for path in (shipped("labs") / "sites").glob("*.yaml"))


def _find(source: str | Path) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if str(source) in site_names():
        return shipped("labs") / "sites" / f"{source}.yaml"
    names = ", ".join(site_names())
    raise InvalidInput(
        f"{source}: there is no such site file; shipped are {names}.{did_you_mean(str(source), site_names())}"
    )


def _with_paths(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With paths of files that lie beside the site file."""

    def placed(section: Any, key: str) -> Any:
        if isinstance(section, dict) and isinstance(section.get(key), str) and (folder / section[key]).exists():
            return {**section, key: str(folder / section[key])}
        return section

    paths = {"service": "run", "retrain": "scenario"}
    return {name: placed(section, paths[name]) if name in paths else section for name, section in raw.items()}


def _unique(kind: str, ids: list[str]) -> None:
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise ValueError(f"{kind} {twice[0]!r} is there twice; rename one")


def _known(where: str, ids: Any, known: list[str]) -> None:
    for i in ids:
        if i not in known:
            raise ValueError(f"{where}: there is no node {i!r}; known are {', '.join(known)}.{did_you_mean(i, known)}")
