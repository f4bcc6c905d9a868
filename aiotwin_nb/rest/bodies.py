"""What the body of POST /fl/start may be, and the scenario that it asks for. Pure but for a lab that it names.

Either the original's parameters, a whole scenario, or a lab with some values set; an empty object asks for the
orchestrator's own scenario as it is. Fields that are left out are those of the orchestrator's own scenario.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from aiotwin_nb import api
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.scenario import Scenario, build_scenario, lab_names, load_scenario
from aiotwin_nb.scenario.load import mistakes
from aiotwin_nb.scenario.located import Located, dotted

BODY = "request body"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


class TrainingParams(_Body):
    """How clients train."""

    batch_size: int | None = None
    learning_rate: float | None = None


class CostConfiguration(_Body):
    """What the run is for: the best model within a budget, or the cheapest way to an accuracy."""

    cost_type: Literal["totalBudget", "costMin"]
    communication_budget: float | None = Field(None, description="for totalBudget, in the cost model's unit")
    budget: float | None = Field(None, description="the same, as later versions of the original call it")
    target_accuracy: float | None = Field(None, description="for costMin: percent, or a share of at most 1")


class OriginalRequest(_Body):
    """The original's parameters of a run. `epochs` or `localRounds` below 0: as the orchestrator's scenario has it."""

    epochs: int | None = None
    local_rounds: int | None = None
    training_params: TrainingParams = TrainingParams()
    configuration_model: Literal["minCommCost", "minKld", "centHier"] | None = None
    model_size: float | None = Field(None, description="MB")
    cost_source: Literal["communication", "energy"] | None = None
    cost_configuration: CostConfiguration | None = None
    rva_enabled: bool | None = Field(None, description="whether reconfigurations are validated")


class LabRequest(_Body):
    """A shipped lab (without: the orchestrator's own scenario), with values by dotted path and another seed."""

    lab: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    set: dict[str, Any] = Field(default_factory=dict, description='such as {"training.max_rounds": 20}')


_STRATEGIES = {"minCommCost": "min_comm_cost", "minKld": "min_kld", "centHier": "cent_hier"}
_NESTED: dict[str, type[BaseModel]] = {"trainingParams": TrainingParams, "costConfiguration": CostConfiguration}
_B = TypeVar("_B", bound=BaseModel)


def scenario_of(body: Any, base: Scenario) -> Scenario:
    """The scenario that a request asks for; raises InvalidInput naming the field, its value and what is allowed.

    `base`: the orchestrator's own. A request names no files: what is read here is the orchestrator's business.
    """
    if not isinstance(body, Mapping):
        raise InvalidInput(f"{BODY}: must be a JSON object")
    if _names_a_file(body):
        raise InvalidInput(f"{BODY}: csv: a request cannot name files; give the nodes themselves")
    if "nodes" in body:
        scenario = build_scenario(Located(BODY, dict(body), {}), Path.cwd())
    elif body.keys() & {"lab", "seed", "set"}:
        scenario = _with_values(_parsed(LabRequest, body), base)
    else:
        scenario = _as_the_original(_parsed(OriginalRequest, _spelled(OriginalRequest, body)), base)
    if scenario.task.file not in (None, base.task.file):
        raise InvalidInput(
            f"{BODY}: task.file: a request cannot name files; start the orchestrator with a scenario that has this task"
        )
    return scenario


def _with_values(request: LabRequest, base: Scenario) -> Scenario:
    if request.lab is not None and request.lab not in lab_names():
        raise InvalidInput(f"{BODY}: lab: is {request.lab!r}; labs are {', '.join(lab_names())}")
    source = base if request.lab is None else load_scenario(request.lab)
    values = {path: (f"set.{path}", value) for path, value in request.set.items()}
    return _resolved(source, values | ({} if request.seed is None else {"seed": ("seed", request.seed)}))


def _as_the_original(request: OriginalRequest, base: Scenario) -> Scenario:
    return _resolved(base, _values(request))


def _resolved(source: Scenario, said: Mapping[str, tuple[str, Any]]) -> Scenario:
    """The scenario with {path: (field of the request, value)} set; mistakes are told by the request's fields."""
    try:
        return api.resolve(source, {path: value for path, (_, value) in said.items()})
    except InvalidInput as error:
        message = str(error)
        for path, (name, _) in said.items():
            message = message.replace(f"--set {path}: {path}", name).replace(f"--set {path}", name)
        raise InvalidInput(f"{BODY}: {message}") from None


def _values(request: OriginalRequest) -> dict[str, tuple[str, Any]]:
    """{path in a scenario: (field of the request, value)} of all that a request says."""
    training, strategy, validated = request.training_params, request.configuration_model, request.rva_enabled
    said: dict[str, tuple[str, Any]] = {
        "training.epochs": ("epochs", _chosen(request.epochs)),
        "training.local_rounds": ("localRounds", _chosen(request.local_rounds)),
        "task.batch_size": ("trainingParams.batchSize", training.batch_size),
        "task.learning_rate": ("trainingParams.learningRate", training.learning_rate),
        "model_size_mb": ("modelSize", request.model_size),
        "strategy": ("configurationModel", strategy and {"name": _STRATEGIES[strategy]}),
        "cost": ("costSource", request.cost_source and {"model": request.cost_source}),
        "objective": ("costConfiguration", request.cost_configuration and _objective(request.cost_configuration)),
        "validation.policy": ("rvaEnabled", None if validated is None else "rva" if validated else "off"),
    }
    return {path: pair for path, pair in said.items() if pair[1] is not None}


def _chosen(number: int | None) -> int | None:
    return None if number is None or number < 0 else number


def _objective(asked: CostConfiguration) -> dict[str, Any]:
    """The original stops after the round in which the budget is reached: so an overshoot is allowed."""
    budget = asked.communication_budget if asked.budget is None else asked.budget
    if asked.cost_type == "totalBudget":
        if budget is None:
            raise InvalidInput(f"{BODY}: costConfiguration.communicationBudget: is missing; totalBudget needs it")
        return {"type": "total_budget", "budget": budget, "overshoot": "allowed"}
    if (target := asked.target_accuracy) is None:
        raise InvalidInput(f"{BODY}: costConfiguration.targetAccuracy: is missing; costMin needs it")
    share = 0 < target <= 1
    return {"type": "cost_min", "target_accuracy": 100 * target if share else target, "budget": budget}


def _parsed(model: type[_B], body: Mapping[str, Any]) -> _B:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        wrong = [f"{BODY}: {dotted(path)}: {text}" for path, text in mistakes(model, body, error)]
        raise InvalidInput("\n".join(dict.fromkeys(wrong))) from None


def _spelled(model: type[BaseModel], body: Mapping[str, Any]) -> dict[str, Any]:
    """The body with the model's own spelling of its keys: the original takes CostType for costType."""
    known = {(field.alias or name).lower(): field.alias or name for name, field in model.model_fields.items()}
    spelled = {}
    for key, value in body.items():
        name = known.get(str(key).lower(), key)
        inner = _NESTED.get(name)
        spelled[name] = _spelled(inner, value) if inner is not None and isinstance(value, Mapping) else value
    return spelled


def _names_a_file(value: Any) -> bool:
    """Whether nodes are to be read from a file, anywhere."""
    if isinstance(value, Mapping):
        return set(value) == {"csv"} or any(_names_a_file(each) for each in value.values())
    return isinstance(value, list) and any(_names_a_file(each) for each in value)
