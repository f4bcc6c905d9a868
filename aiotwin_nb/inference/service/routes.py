"""The routes of a service: what everybody may ask, and what only its administrator may."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
from aiohttp import ClientError, web
from aiohttp.typedefs import Handler

from aiotwin_nb.errors import AIoTwinError
from aiotwin_nb.inference.service.batching import Scored
from aiotwin_nb.inference.service.inputs import Refusal, read_json, told, wrong
from aiotwin_nb.inference.service.measures import CONTENT_TYPE

if TYPE_CHECKING:
    from aiotwin_nb.inference.service.service import InferenceService

_log = logging.getLogger(__name__)
_ADMIN_BYTES = 2**16
_DECIMALS = 6
_CHANGE = '{"checkpoint": PATH or RUN, "round": N (optional)} or {"model": ID of one in memory}'


def public_app(service: InferenceService) -> web.Application:
    """Return the application with /predict, /health, /ready, /metrics and /openapi.json."""

    async def predict(request: web.Request) -> web.Response:
        began = asyncio.get_running_loop().time()
        status = 500
        try:
            scored = await service.predict(await _json_body(request, service.settings.body_seconds))
            status = 200
            return _json(_answer(scored))
        except Refusal as refusal:
            status = refusal.status
            raise
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            service.answered(status, asyncio.get_running_loop().time() - began)

    async def health(request: web.Request) -> web.Response:
        return _json({"status": "alive"})

    async def ready(request: web.Request) -> web.Response:
        body: dict[str, Any] = {"status": service.state.value}
        if service.state.value == "ready" and service.model is not None:
            return _json({**body, "model": service.model.shown})
        return _json(body, 503, {"Retry-After": "1"})

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=service.measures(), headers={"Content-Type": CONTENT_TYPE})

    async def openapi(request: web.Request) -> web.Response:
        return _json(service.description())

    @web.middleware
    async def closing(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Send clients elsewhere for their next request, once the service is about to end."""
        response = await handler(request)
        if service.state.value == "draining":
            response.force_close()
        return response

    app = web.Application(middlewares=[closing, _as_json], client_max_size=service.body_bytes)
    app.router.add_post("/predict", predict)
    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/openapi.json", openapi)
    return app


def admin_app(service: InferenceService, token: str | None) -> web.Application:
    """Return the application with GET and POST /model."""

    async def show(request: web.Request) -> web.Response:
        return _json(_models(service))

    async def change(request: web.Request) -> web.Response:
        body = read_json(await _json_body(request, service.settings.body_seconds), _CHANGE)
        if service.following:
            raise Refusal(409, f"{service.name} follows its run; start it without --follow to exchange models by hand")
        before = service.model
        try:
            await _change(service, body)
        except AIoTwinError as error:
            raise Refusal(409, f"the model stays as it is: {error}") from error
        return _json({**_models(service), "before": before.shown if before else None})

    @web.middleware
    async def allowed(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and not hmac.compare_digest(given.encode(errors="replace"), token.encode()):
            headers = {"WWW-Authenticate": "Bearer"}
            raise Refusal(401, "this needs the header Authorization: Bearer TOKEN", headers=headers)
        return await handler(request)

    app = web.Application(middlewares=[_as_json, allowed], client_max_size=_ADMIN_BYTES)
    app.router.add_get("/model", show)
    app.router.add_post("/model", change)
    return app


async def _change(service: InferenceService, body: dict[str, Any]) -> None:
    if unknown := [key for key in body if key not in ("checkpoint", "round", "model")]:
        raise wrong(unknown[0][:60], told(body[unknown[0]]), f"left out; send {_CHANGE}")
    if ("checkpoint" in body) == ("model" in body) or ("model" in body and "round" in body):
        raise wrong("body", told(body), _CHANGE)
    key = "model" if "model" in body else "checkpoint"
    text, number = body[key], body.get("round")
    if not isinstance(text, str) or not text or "\0" in text:
        raise wrong(key, told(text), "a text")
    if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
        raise wrong("round", told(number), "a whole number")
    if key == "model":
        await service.go_back(text)
    else:
        await service.exchange_checkpoint(text, number)


def _models(service: InferenceService) -> dict[str, Any]:
    model = service.model
    return {
        "service": service.name,
        "model": {**model.shown, "checkpoint": str(model.path)} if model else None,
        "kept": [each.id for each in service.kept],
    }


async def _json_body(request: web.Request, seconds: float) -> bytes:
    if request.content_type != "application/json":
        raise wrong("Content-Type", told(request.content_type), "application/json", 415)
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise Refusal(408, f"the body did not come within {seconds:g} s", headers={"Connection": "close"}) from None
    except web.HTTPRequestEntityTooLarge:
        length = request.content_length
        value = f"{length} bytes" if length is not None else "more"
        raise wrong("body", value, f"at most {request.client_max_size} bytes", 413) from None
    except (web.RequestPayloadError, ClientError, ValueError) as error:  # a wrong chunk, or damaged compression
        raise Refusal(400, f"the body cannot be read: {error}", headers={"Connection": "close"}) from None


def _answer(scored: Scored) -> dict[str, Any]:
    rows = np.round(scored.scores.astype(np.float64), _DECIMALS).tolist()
    labels = scored.scores.argmax(axis=1).tolist()
    request = uuid.uuid4().hex
    predictions = [
        {"id": f"{request}-{i}", "label": label, "scores": row}
        for i, (label, row) in enumerate(zip(labels, rows, strict=True))
    ]
    return {"predictions": predictions, "model": scored.model.shown}


@web.middleware
async def _as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal, and every error, is an answer of the same form."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return _json(refusal.shown, refusal.status, refusal.headers)
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        message = f"{request.method} {request.path}: {error.reason}"
        return _json({"error": {"message": message}}, error.status, headers)
    except Exception:
        _log.exception("%s %s", request.method, request.path)
        return _json({"error": {"message": "an error in the service; its log says more"}}, 500)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    content = text.encode(errors="replace")  # a refusal may repeat half a surrogate pair
    return web.Response(body=content, status=status, headers=headers, content_type="application/json", charset="utf-8")
