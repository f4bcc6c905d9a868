"""Reading a scenario: YAML or a shipped lab, CSV node lists, overrides, and every check that needs no training."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from aiotwin_nb.continuum import Infrastructure, Role, check_infrastructure, read_nodes_csv
from aiotwin_nb.errors import InvalidInput, did_you_mean
from aiotwin_nb.scenario.labs import lab_names, lab_path
from aiotwin_nb.scenario.located import FieldPath, Located, dotted, parse_value, read_yaml
from aiotwin_nb.scenario.model import NodeSpec, Scenario
from aiotwin_nb.scenario.recast import recast, split_name

Override = tuple[str, Any]


def load_scenario(
    source: str | Path, *, overrides: Mapping[str, Any] | Iterable[Override] = (), seed: int | None = None
) -> Scenario:
    """Read a scenario file, or a shipped lab by name; `improvement@fashion_mnist` is a lab on another data set.

    `overrides`: values by dotted path (`validation.window`). `seed` overrides the file's. Raises InvalidInput naming
    file, line, field, value and what is allowed; several mistakes are reported together.
    """
    name, data_set = (source, None) if Path(source).exists() else split_name(str(source))
    path = find_scenario(name)
    pairs = list(overrides.items() if isinstance(overrides, Mapping) else overrides)
    if seed is not None:
        pairs.append(("seed", seed))
    if data_set is None:
        return build_scenario(read_yaml(path), path.parent, pairs)
    written = recast(build_scenario(read_yaml(path), path.parent), data_set)
    return build_scenario(Located(str(source), written, {}), path.parent, pairs)


def find_scenario(source: str | Path) -> Path:
    """Path of a scenario file or of the lab of that name."""
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        raise InvalidInput(f"{path}: is a folder; give a scenario file or the name of a lab ({', '.join(lab_names())})")
    lab = lab_path(str(source))
    if lab is None:
        names = lab_names()
        raise InvalidInput(
            f"{source}: there is no such file and no lab of that name; labs are {', '.join(names)}."
            + did_you_mean(str(source), names)
        )
    return lab


def node_from_yaml(path: Path) -> NodeSpec:
    """Read one node from a YAML file (`aiotwin inject --add NODE.yaml`)."""
    document = read_yaml(path)
    return _validated(NodeSpec, document, document.value, set())


def build_scenario(document: Located, folder: Path, overrides: Sequence[Override] = ()) -> Scenario:
    """Build and check a scenario from a parsed document; relative paths start at `folder`."""
    if not isinstance(document.value, dict):
        raise InvalidInput(f"{document.file}: is empty or not a mapping; a scenario starts like `name: my-lab`")
    raw = dict(document.value)
    overridden = {_override(raw, path, value) for path, value in overrides}
    _expand_files(raw, folder, document)
    scenario = _validated(Scenario, document, raw, overridden)
    problems = _semantic_problems(scenario, raw, document)
    if problems:
        raise InvalidInput("\n".join(problems))
    return scenario


def parse_override(text: str) -> Override:
    """Split `PATH=VALUE`; the value is read as YAML (5, 0.1, [n1, n2], null)."""
    path, value = split_override(text)
    return path, parse_value(value, f"--set {text}")


def split_override(text: str) -> tuple[str, str]:
    """Split `PATH=VALUE`; the value stays as written."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise InvalidInput(f"--set {text!r}: must look like PATH=VALUE, e.g. validation.window=3")
    return path.strip(), value


def _override(raw: dict[str, Any], dotted_path: str, value: Any) -> FieldPath:
    """Put a value at a dotted path (`events[0].after_round` or `events.0.after_round`)."""
    parts: list[str | int] = [int(p) if p.isdigit() else p for p in re.findall(r"[^.\[\]]+", dotted_path)]
    if not parts:
        raise InvalidInput(f"--set {dotted_path}: names no field; give a path such as validation.window")
    place: Any = raw
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        if isinstance(place, list):
            if not isinstance(part, int) or part >= len(place):
                raise InvalidInput(
                    f"--set {dotted_path}: {part!r} is no place in a list of {len(place)}; use 0 to {len(place) - 1}"
                )
            place[part] = value if last else _copied(place[part])
        elif isinstance(place, dict):
            part = _own_key(place, part)
            place[part] = value if last else _copied(place.get(part, {}))
        else:
            raise InvalidInput(f"--set {dotted_path}: {dotted(parts[:i])} is {place!r}, which has no fields")
        place = place[part]
    return tuple(parts)


def _own_key(mapping: dict[Any, Any], part: str | int) -> Any:
    """The mapping's own spelling of a key: 4 and "4" are the same path."""
    return next((key for key in mapping if str(key) == str(part)), part)


def _copied(value: Any) -> Any:
    return dict(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else value


def _expand_files(raw: dict[str, Any], folder: Path, document: Located) -> None:
    """Replace `{csv: PATH}` by the nodes of the file and make the task's path absolute."""
    if "nodes" in raw:
        raw["nodes"] = _nodes_of(raw["nodes"], folder, document, ("nodes",))
    events = raw.get("events")
    if isinstance(events, list):
        raw["events"] = [
            {**event, "add": _nodes_of(event["add"], folder, document, ("events", i, "add"))}
            if isinstance(event, dict) and "add" in event
            else event
            for i, event in enumerate(events)
        ]
    task = raw.get("task")
    if isinstance(task, dict) and isinstance(task.get("file"), str):
        raw["task"] = {**task, "file": str((folder / task["file"]).resolve())}


def _nodes_of(value: Any, folder: Path, document: Located, path: FieldPath) -> Any:
    if not isinstance(value, dict):
        return value
    if set(value) != {"csv"} or not isinstance(value["csv"], str):
        raise InvalidInput(document.error(path, f"is {value!r}; give a list of nodes or {{csv: PATH}}"))
    file = folder / value["csv"]
    if not file.is_file():
        raise InvalidInput(document.error((*path, "csv"), f"there is no file {file}"))
    return [NodeSpec.of(node).model_dump(exclude_none=True) for node in read_nodes_csv(file)]


M = TypeVar("M", bound=BaseModel)


def _validated(model: type[M], document: Located, raw: Any, overridden: set[FieldPath]) -> M:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        messages = []
        for path, text in mistakes(model, raw, error):
            override = next((o for o in overridden if path[: len(o)] == o), None)
            message = document.error(path, text)
            messages.append(message if override is None else f"--set {dotted(override)}: {dotted(path)}: {text}")
        raise InvalidInput("\n".join(dict.fromkeys(messages))) from None


def mistakes(model: type[BaseModel], raw: Any, error: ValidationError) -> list[tuple[FieldPath, str]]:
    """What is wrong with a document: (field, value and what is allowed) for every mistake."""
    found = []
    for detail in error.errors():
        path = _path_in(raw, detail["loc"], detail["type"])
        found.append((path, _explain(model, path, detail)))
    return found


def _path_in(raw: Any, loc: Sequence[str | int], kind: str) -> FieldPath:
    """A pydantic location as a path of the document: without union tags and key marks, mapping keys as text."""
    path: list[str | int] = []
    place = raw
    for i, part in enumerate(loc):
        if isinstance(place, list) and isinstance(part, int):
            path.append(part)
            place = place[part] if part < len(place) else None
        elif isinstance(place, dict) and (key := _own_key(place, part)) in place:
            path.append(str(key))
            place = place[key]
        elif kind == "missing" and i == len(loc) - 1:
            path.append(part)
    return tuple(path)


def _explain(model: type[BaseModel], path: FieldPath, detail: ErrorDetails) -> str:
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        allowed = _fields_at(model, path[:-1])
        name = str(path[-1])
        return f"unknown field; allowed here are {', '.join(allowed)}.{did_you_mean(name, allowed)}"
    if kind == "missing":
        return "is missing; add it"
    if kind in ("literal_error", "enum"):
        expected = re.findall(r"'([^']*)'", detail.get("ctx", {}).get("expected", ""))
        return f"is {value!r}; allowed are {', '.join(expected)}.{did_you_mean(str(value), expected)}"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if kind in ("model_type", "model_attributes_type", "dict_type", "list_type"):
        return f"is {value!r}; {message.removeprefix('input ')}"
    shown = "" if kind == "value_error" and (isinstance(value, dict) or repr(value) in message) else f"is {value!r}; "
    return shown + message.replace("input should", "it must").replace("string should", "it must")


def _fields_at(model: Any, path: FieldPath) -> list[str]:
    """Names of the fields allowed at a path of the model."""
    for part in path:
        if isinstance(part, str):  # a number is a place in a list, whose items' model _inner has found already
            by_alias = {field.alias or name: field for name, field in _inner(model).model_fields.items()}
            model = by_alias[part].annotation
    model = _inner(model)
    return [field.alias or name for name, field in model.model_fields.items()]


def _inner(annotation: Any) -> Any:
    """The model inside list[...], dict[..., ...], optional and annotated types."""
    while get_origin(annotation) is not None:
        candidates = [_inner(arg) for arg in get_args(annotation)]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not models:
            return annotation
        annotation = models[0]
    return annotation


def _semantic_problems(scenario: Scenario, raw: dict[str, Any], document: Located) -> list[str]:
    """Checks of the whole: nodes twice, links, roles, events that cannot happen."""
    problems: list[str] = []
    seen: dict[str, int] = {}
    for i, node in enumerate(scenario.nodes):
        if node.id in seen:
            first = document.line_of(("nodes", seen[node.id]))
            at = f" (first on line {first})" if first else ""
            problems.append(document.error(("nodes", i, "id"), f"node {node.id!r} is there twice{at}; rename one"))
        seen.setdefault(node.id, i)
    if problems:
        return problems
    later = [node.id for event in scenario.events for node in event.add]
    for problem in check_infrastructure(scenario.infrastructure, later):
        place: FieldPath = ("nodes", seen[problem.node]) if problem.node in seen else ("nodes",)
        problems.append(
            document.error((*place, *problem.field.split(".", 1)) if problem.field else place, problem.message)
        )
    return problems or _event_problems(scenario, document)


def _event_problems(scenario: Scenario, document: Located) -> list[str]:
    problems: list[str] = []
    infrastructure = scenario.infrastructure
    for i, event in sorted(enumerate(scenario.events), key=lambda pair: pair[1].after_round):
        if event.after_round >= scenario.training.max_rounds:
            problems.append(
                document.error(
                    ("events", i, "after_round"),
                    f"is {event.after_round}, but round {scenario.training.max_rounds} (training.max_rounds) is the "
                    f"last; an event acts before the next round, so give at most {scenario.training.max_rounds - 1}",
                )
            )
        for j, node_id in enumerate(event.remove):
            if node_id == infrastructure.global_aggregator:
                problems.append(document.error(("events", i, "remove", j), "the global aggregator cannot leave"))
                return problems
        try:
            infrastructure = infrastructure.apply(event.to_change())
        except InvalidInput as error:
            problems.append(document.error(("events", i), str(error)))
            return problems
        problems += _after_event(infrastructure, scenario, i, document)
        if problems:
            return problems
    return problems


def _after_event(infrastructure: Infrastructure, scenario: Scenario, i: int, document: Located) -> list[str]:
    """What is wrong with the infrastructure once an event has happened; links to nodes gone by then are fine."""
    ever = [n.id for n in scenario.nodes] + [n.id for e in scenario.events for n in e.add]
    added = {node.id: j for j, node in enumerate(scenario.events[i].add)}
    problems = []
    for problem in check_infrastructure(infrastructure, ever):
        place: FieldPath = ("events", i)
        if problem.node in added:
            place = ("events", i, "add", added[problem.node])
        problems.append(document.error(place, problem.message))
    if any(node.role is Role.GLOBAL_AGGREGATOR for node in scenario.events[i].add):
        problems.append(document.error(("events", i, "add"), "a global aggregator cannot join a running pipeline"))
    return list(dict.fromkeys(problems))


def scenario_schema() -> dict[str, Any]:
    """JSON schema of the scenario file (draft 2020-12); editors complete and check with it."""
    from aiotwin_nb.decision import policies, trends
    from aiotwin_nb.planning.costs import cost_models
    from aiotwin_nb.planning.strategies import strategies

    schema = Scenario.model_json_schema(by_alias=True)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "AIoTwin scenario"}
    csv = {
        "type": "object",
        "properties": {"csv": {"type": "string", "description": "the original's headerless CSV of nodes"}},
        "required": ["csv"],
        "additionalProperties": False,
    }
    definitions = schema["$defs"]
    for properties, field in ((schema["properties"], "nodes"), (definitions["EventSpec"]["properties"], "add")):
        properties[field] = {"anyOf": [properties[field], csv]}
    for definition, field, names in (
        ("StrategySpec", "name", strategies.names()),
        ("CostSpec", "model", cost_models.names()),
        ("ValidationSpec", "policy", policies.names()),
        ("ValidationSpec", "trend", trends.names()),
    ):
        definitions[definition]["properties"][field]["enum"] = names
    return schema
