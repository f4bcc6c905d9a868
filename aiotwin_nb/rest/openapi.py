"""The OpenAPI document of the orchestrator's interface."""

from __future__ import annotations

from typing import Any

from aiotwin_nb import __version__
from aiotwin_nb.rest.bodies import LabRequest, OriginalRequest
from aiotwin_nb.scenario import scenario_schema

_ORIGINAL = {
    "epochs": 2,
    "localRounds": 2,
    "trainingParams": {"batchSize": 32, "learningRate": 0.004},
    "configurationModel": "minCommCost",
    "modelSize": 3.3,
    "costConfiguration": {"costType": "totalBudget", "communicationBudget": 100000},
    "rvaEnabled": True,
}


def document() -> dict[str, Any]:
    """The interface as OpenAPI 3.1 describes it."""
    run = {"name": "runId", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "AIoTwin orchestrator", "version": __version__},
        "paths": {
            "/fl/start": {"post": _start()},
            "/fl/stop/{runId}": {
                "parameters": [run],
                "post": _operation("Stop a run at its next round boundary; one that has ended stays as it is.", None),
            },
            "/fl/runs": {
                "get": _operation("All runs, in the order in which they began.", _array(_ref("Run"))),
            },
            "/fl/runs/{runId}": {
                "parameters": [run],
                "get": _operation("One run: the fields of its summary.json so far.", _ref("Run"), missing="404"),
            },
            "/fl/runs/{runId}/events": {"parameters": [run], "get": _events()},
            "/healthz": {"get": _operation("Whether the orchestrator answers.", {"type": "object"})},
            "/openapi.json": {"get": _operation("This document.", {"type": "object"})},
        },
        "components": {"schemas": _schemas()},
    }


def _start() -> dict[str, Any]:
    forms = [_ref("OriginalRequest"), _ref("LabRequest"), _ref("Scenario")]
    examples = {
        "original": {"summary": "the original's parameters", "value": _ORIGINAL},
        "lab": {"summary": "a lab with other values", "value": {"lab": "hands-on", "set": {"validation.window": 3}}},
        "own": {"summary": "the orchestrator's own scenario as it is", "value": {}},
    }
    answer = _operation("Start a run; answers with its id when it has begun.", {"type": "string"}, missing=None)
    answer["responses"]["409"] = _answer("As many runs as are allowed at once are running.", _ref("Error"))
    content = {"application/json": {"schema": {"anyOf": forms}, "examples": examples}}
    return {**answer, "requestBody": {"required": False, "content": content}}


def _events() -> dict[str, Any]:
    text = (
        "The run's journal from its beginning and as it grows, as server-sent events: `id` is the entry's number, "
        "`event` its type, `data` the entry in JSON. Ends with the run."
    )
    last = {
        "name": "Last-Event-ID",
        "in": "header",
        "required": False,
        "description": "go on after this entry",
        "schema": {"type": "integer", "minimum": 0},
    }
    operation = _operation(text, None, missing="404")
    operation["responses"]["200"] = {
        "description": "the events",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    operation["responses"]["204"] = {"description": "The run has ended and there is nothing after this entry."}
    return {**operation, "parameters": [last]}


def _operation(text: str, schema: dict[str, Any] | None, missing: str | None = "400") -> dict[str, Any]:
    """An operation; `missing`: the status for a run that does not exist."""
    done: dict[str, Any] = {"description": "done"} if schema is None else _answer("done", schema)
    responses = {"200": done, "400": _answer("What is wrong with the request, in one message.", _ref("Error"))}
    if missing not in (None, "400"):
        responses[str(missing)] = _answer("There is no such run.", _ref("Error"))
    return {"summary": text, "responses": responses}


def _answer(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _schemas() -> dict[str, Any]:
    """All schemas; what they define inside is moved beside them, as one document has one such place."""
    prefix = "#/components/schemas/"
    schemas: dict[str, Any] = {
        "OriginalRequest": OriginalRequest.model_json_schema(ref_template=prefix + "{model}"),
        "LabRequest": LabRequest.model_json_schema(ref_template=prefix + "{model}"),
        "Scenario": _moved(scenario_schema(), prefix),
        "Run": {
            "type": "object",
            "required": ["run_id", "scenario", "status", "rounds", "total_cost"],
            "properties": {
                "run_id": {"type": "string"},
                "scenario": {"type": "string"},
                "status": {"enum": ["running", "finished", "stopped", "failed", "interrupted"]},
                "rounds": {"type": "integer"},
                "total_cost": {"type": "number"},
                "final_accuracy": {"type": ["number", "null"], "description": "percent"},
            },
        },
        "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    }
    for name in ("OriginalRequest", "LabRequest", "Scenario"):
        schemas |= schemas[name].pop("$defs", {})
    schemas["Scenario"].pop("$schema", None)
    return schemas


def _moved(schema: Any, prefix: str) -> Any:
    """A schema whose references lead to another place."""
    if isinstance(schema, dict):
        return {
            key: prefix + value.removeprefix("#/$defs/") if key == "$ref" else _moved(value, prefix)
            for key, value in schema.items()
        }
    return [_moved(value, prefix) for value in schema] if isinstance(schema, list) else schema


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}
