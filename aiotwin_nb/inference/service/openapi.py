"""The service's description in OpenAPI 3.1, with the very shape and bounds of its model's inputs."""

from __future__ import annotations

import math
from typing import Any

from aiotwin_nb import __version__
from aiotwin_nb.inference.service.inputs import described, shapes, shown_shape
from fl_service.tasks.classifier import InputForm


def document(name: str, form: InputForm, most: int, body_bytes: int) -> dict[str, Any]:
    """Return the document. `most`: inputs of a request; `body_bytes`: the largest body."""
    paths = {
        "/predict": {"post": _predict(form, most, body_bytes)},
        "/health": {"get": _plain("The process is alive", "health")},
        "/ready": {"get": _ready()},
        "/metrics": {"get": _plain("Measures in Prometheus' text format", "metrics", "text/plain")},
        "/openapi.json": {"get": _plain("This document", "openapi")},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Inference service {name}", "version": __version__},
        "paths": paths,
        "components": {"schemas": _schemas(form, most)},
    }


def _predict(form: InputForm, most: int, body_bytes: int) -> dict[str, Any]:
    request = {"required": True, "content": {"application/json": {"schema": _reference("Request")}}}
    refusals = {
        "400": "The body is no JSON, or a field is wrong; the answer names field, value and what is allowed",
        "408": "The body did not come in time",
        "413": f"The body has more than {body_bytes} bytes",
        "415": "The content type is not application/json",
        "422": "The model gives no finite scores for these numbers",
        "503": "Too many inputs wait, or there is no model yet; Retry-After says when to come again",
    }
    answers: dict[str, Any] = {"200": _answer("A prediction for every input, in the same order", _reference("Answer"))}
    answers |= {status: _answer(text, _reference("Error")) for status, text in refusals.items()}
    return {
        "operationId": "predict",
        "summary": f"Classify 1 to {most} inputs, each {described(form)}",
        "requestBody": request,
        "responses": answers,
    }


def _ready() -> dict[str, Any]:
    operation = _plain("Requests are taken", "ready")
    operation["responses"]["503"] = _answer("No model yet, or about to end", {"type": "object"})
    return operation


def _schemas(form: InputForm, most: int) -> dict[str, Any]:
    number: dict[str, Any] = {"type": "integer" if form.dtype.kind == "i" else "number"}
    if form.bounds is not None:
        number |= {"minimum": form.bounds[0], "maximum": form.bounds[1]}
    raw = {
        "type": "string",
        "contentEncoding": "base64",
        "description": f"{math.prod(form.shape) * form.raw.itemsize} bytes: {form.raw.name} of shape "
        f"{shown_shape(form.shape)}, the last index fastest, little-endian",
    }
    prediction = {
        "id": {"type": "string", "description": "by which a label that comes later is joined to this prediction"},
        "label": {"type": "integer", "description": "the class with the highest score"},
        "scores": {"type": "array", "items": {"type": "number"}, "description": "the network's output, to 6 decimals"},
    }
    error = {key: {"type": "string"} for key in ("message", "field", "value", "allowed")}
    return {
        "Input": {"anyOf": [*(_nested(shape, number) for shape in shapes(form)), raw]},
        "Request": _object(
            inputs={"type": "array", "minItems": 1, "maxItems": most, "items": _reference("Input")}
        ) | {"additionalProperties": False},
        "Model": _object(id={"type": "string"}, round={"type": "integer"}),
        "Answer": _object(
            predictions={"type": "array", "items": _object(**prediction)}, model=_reference("Model")
        ),
        "Error": _object(error={"type": "object", "properties": error, "required": ["message"]}),
    }  # fmt: skip


def _nested(shape: tuple[int, ...], number: dict[str, Any]) -> dict[str, Any]:
    if not shape:
        return number
    return {"type": "array", "minItems": shape[0], "maxItems": shape[0], "items": _nested(shape[1:], number)}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _plain(text: str, operation: str, kind: str = "application/json") -> dict[str, Any]:
    return {"operationId": operation, "summary": text, "responses": {"200": _answer(text, {}, kind)}}


def _answer(text: str, schema: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {"description": text, "content": {kind: {"schema": schema}}}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
