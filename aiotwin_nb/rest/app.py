"""HTTP: the original's two calls, the state of runs, and their journals as server-sent events."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from aiotwin_nb.errors import AIoTwinError, InfeasiblePlan, InvalidInput
from aiotwin_nb.orchestration.events import encode
from aiotwin_nb.orchestration.journal import Entry, JournalTail
from aiotwin_nb.rest.bodies import BODY, scenario_of
from aiotwin_nb.rest.openapi import document
from aiotwin_nb.rest.runs import Runs, TooManyRuns, UnknownRun, brief, told
from aiotwin_nb.scenario import Scenario

LARGEST_BODY = 4_000_000  # bytes: a scenario of 10 000 nodes
POLL = 0.2  # seconds between looks at a journal that others write
SILENCE = 15.0  # seconds after which a stream without news says so, that nobody in between closes it
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(runs: Runs, base: Scenario, token: str = "") -> web.Application:
    """The service. `base`: the scenario that requests build upon; `token`: what requests must bear, if anything."""
    app = web.Application(middlewares=[_telling_errors, _refusing_strangers(token)], client_max_size=LARGEST_BODY)
    service = _Service(runs, base)
    app.add_routes(
        [
            web.post("/fl/start", service.start),
            web.post("/fl/stop/{runId}", service.stop),
            web.get("/fl/runs", service.list),
            web.get("/fl/runs/{runId}", service.show),
            web.get("/fl/runs/{runId}/events", service.events, allow_head=False),
            web.get("/healthz", service.health),
            web.get("/openapi.json", service.describe),
        ]
    )
    return app


class _Service:
    def __init__(self, runs: Runs, base: Scenario) -> None:
        self._runs = runs
        self._base = base

    async def start(self, request: web.Request) -> web.Response:
        text = await request.text()
        try:
            body = json.loads(text or "{}")
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{BODY}: is not JSON: {error}") from None
        scenario = await asyncio.to_thread(scenario_of, body, self._base)
        run_id = await asyncio.to_thread(self._runs.start, scenario)
        return web.json_response(run_id, headers={"Location": f"/fl/runs/{run_id}"})

    async def stop(self, request: web.Request) -> web.Response:
        try:
            run = self._runs.get(request.match_info["runId"])
        except UnknownRun as error:
            raise InvalidInput(str(error)) from None  # what the original answers, too
        if await asyncio.to_thread(lambda: run.status) == "running":
            await asyncio.to_thread(run.stop)
        return web.Response()

    async def list(self, request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(lambda: [brief(run) for run in self._runs.all()]))

    async def show(self, request: web.Request) -> web.Response:
        run = self._runs.get(request.match_info["runId"])
        return web.json_response(await asyncio.to_thread(told, run))

    async def events(self, request: web.Request) -> web.StreamResponse:
        run = self._runs.get(request.match_info["runId"])
        tail, last = JournalTail(run.path / "journal.jsonl"), _last_seen(request)
        alive = run.is_alive
        entries = [entry for entry in await asyncio.to_thread(tail.read) if entry.seq > last]
        if not alive and not entries:
            return web.Response(status=204)  # by the standard, clients then stop to ask again
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        quiet = 0.0
        while True:
            for entry in entries:
                await response.write(_as_event(entry))
            if not alive:
                return response
            quiet = 0.0 if entries else quiet + POLL
            if quiet > SILENCE:
                await response.write(b": still running\n\n")
                quiet = 0.0
            await asyncio.sleep(POLL)
            alive = run.is_alive  # asked first: what is written before the end is read after it
            entries = [entry for entry in await asyncio.to_thread(tail.read) if entry.seq > last]

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def describe(self, request: web.Request) -> web.Response:
        return web.json_response(document())


def _last_seen(request: web.Request) -> int:
    text = request.headers.get("Last-Event-ID", "-1").strip()
    if not text.removeprefix("-").isdecimal():
        raise InvalidInput(f"Last-Event-ID: is {text!r}; must be the id of an event, a number")
    return int(text)


def _as_event(entry: Entry) -> bytes:
    name, data = encode(entry.event)
    content = json.dumps({"seq": entry.seq, "time": entry.time, "type": name, "data": data}, ensure_ascii=False)
    return f"id: {entry.seq}\nevent: {name}\ndata: {content}\n\n".encode()


@web.middleware
async def _telling_errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except TooManyRuns as error:
        return _error(409, str(error))
    except UnknownRun as error:
        return _error(404, str(error))
    except (InvalidInput, InfeasiblePlan) as error:
        return _error(400, str(error))
    except AIoTwinError as error:
        return _error(500, str(error))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        hint = {404: "there is no such path; see /openapi.json", 413: f"a body has at most {LARGEST_BODY} bytes"}
        return _error(error.status, hint.get(error.status, error.reason or "refused"), error.headers.get("Allow"))


def _error(status: int, message: str, allow: str | None = None) -> web.Response:
    headers = {} if allow is None else {"Allow": allow}
    return web.json_response({"error": message}, status=status, headers=headers)


def _refusing_strangers(token: str) -> Any:
    """Pages of other sites may not use a visitor's browser as their hand; with a token, nobody without it."""

    @web.middleware
    async def check(request: web.Request, handler: _Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return _error(403, f"Origin {origin}: is another site's page")
        given = request.headers.get("Authorization", "")
        open_to_all = request.path in ("/healthz", "/openapi.json")
        if token and not open_to_all and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return _error(401, "needs the header Authorization: Bearer TOKEN, with the orchestrator's token")
        return await handler(request)

    return check
