"""An inference service in a process: its model, its two listeners, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Any

from aiohttp import web

from aiotwin_nb.errors import AIoTwinError, InvalidInput
from aiotwin_nb.inference.service.batching import Batcher, Scored
from aiotwin_nb.inference.service.checkpoints import Learned, Source, of_run, resolve, rounds
from aiotwin_nb.inference.service.inputs import Refusal, read_inputs
from aiotwin_nb.inference.service.measures import Measures
from aiotwin_nb.inference.service.models import Model, build
from aiotwin_nb.inference.service.openapi import document
from aiotwin_nb.inference.service.routes import admin_app, public_app
from aiotwin_nb.inference.service.settings import Address, Settings

_log = logging.getLogger(__name__)
_KEPT_MODELS = 2  # the one that answers, and the one to go back to
_BYTES_PER_NUMBER = 32  # of JSON, generously


class State(Enum):
    """Whether requests are taken."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


class InferenceService:
    """Serves a source over HTTP from `start` (or `async with`) to `stop`; belongs to one event loop.

    `admin`: where the model can be exchanged; on loopback, or anywhere with a `token`. `follow`: newer checkpoints of
    the source's run are taken as they come. `name`: how the service is called in measures and its description.
    """

    def __init__(
        self,
        source: Source,
        settings: Settings | None = None,
        *,
        name: str | None = None,
        listen: Address | None = None,
        admin: Address | None = None,
        token: str | None = None,
        follow: bool = False,
    ) -> None:
        if admin is not None and not admin.is_loopback and not token:
            raise InvalidInput(
                f"--admin {admin.host}:{admin.port}: others could exchange the model; listen on 127.0.0.1, or set a "
                "token in the environment variable AIOTWIN_ADMIN_TOKEN"
            )
        if follow and source.run is None:
            raise InvalidInput("--follow: only a run can be followed; give its directory")
        self.source, self.settings, self.name = source, settings or Settings(), name or source.name
        self.following, self.state = follow, State.LOADING
        self._listen, self._admin, self._token = listen or Address(), admin, token
        self._kept: dict[str, Model] = {}
        if source.learned is not None:
            self._keep(build(source.kind, source.learned))
        self._swapping = asyncio.Lock()
        self._batcher: Batcher | None = None
        self._measures = Measures(self.name, lambda: self._batcher.waiting if self._batcher else 0)
        self._runners: list[web.AppRunner] = []
        self._follower: asyncio.Task[None] | None = None
        numbers = self.settings.max_inputs * math.prod(source.kind.form.shape)
        self.body_bytes = max(2**16, numbers * _BYTES_PER_NUMBER)

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> InferenceService:
        """Begin to listen; raises InvalidInput for an address that cannot be had."""
        s = self.settings
        self._batcher = Batcher(
            self.model,
            largest=s.max_inputs,
            wait_seconds=s.batch_ms / 1000,
            waiting=s.max_waiting,
            observe=self._measures.batch,
        )
        try:
            self._listen = await self._open(public_app(self), self._listen, "--listen")
            if self._admin is not None:
                self._admin = await self._open(admin_app(self, self._token), self._admin, "--admin")
        except BaseException:
            await self.stop(at_once=True)
            raise
        if self.model is not None:
            self._took(self.model)
        if self.following:
            self._follower = asyncio.create_task(self._follow())
        return self

    async def stop(self, *, at_once: bool = False) -> None:
        """End without losing a request: /ready answers 503, then nothing new is taken, then what is there is answered.

        `at_once`: do not wait for others to see that this one is not ready any more. Safe to call twice.
        """
        self.state = State.DRAINING
        if self._follower is not None:
            self._follower.cancel()
            with suppress(asyncio.CancelledError):
                await self._follower
            self._follower = None
        if not at_once:
            await asyncio.sleep(self.settings.drain)
        while self._runners:
            await self._runners.pop(0).cleanup()
        if self._batcher is not None:
            batcher, self._batcher = self._batcher, None
            await batcher.close()

    async def __aenter__(self) -> InferenceService:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(at_once=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._listen.url

    @property
    def admin_url(self) -> str | None:
        """Where its model can be exchanged, if anywhere."""
        return None if self._admin is None else self._admin.url

    # --- the model --------------------------------------------------------------------------------------------------

    @property
    def model(self) -> Model | None:
        """The model that answers."""
        return next(reversed(self._kept.values()), None)

    @property
    def kept(self) -> list[Model]:
        """The models in memory: the one that answered before, and the one that answers."""
        return list(self._kept.values())

    async def exchange(self, load: Callable[[], Learned]) -> Model:
        """Answer with another model from now on; what is being answered is answered by the old one.

        Raises InvalidInput, and keeps the old one, for a checkpoint that is damaged or of another architecture.
        """
        async with self._swapping:
            try:
                model = await asyncio.to_thread(lambda: build(self.source.kind, load()))
            except AIoTwinError:
                self._measures.refused()
                raise
            self._take(model)
            return model

    async def exchange_checkpoint(self, reference: str, round_number: int | None = None) -> Model:
        """Answer with a checkpoint's model; `reference`: a file or a run."""
        return await self.exchange(lambda: resolve(reference, round_number))

    async def go_back(self, identity: str) -> Model:
        """Answer with a model that is still in memory; raises InvalidInput."""
        async with self._swapping:
            if identity not in self._kept:
                raise InvalidInput(f"model {identity!r}: is not in memory; there are {', '.join(self._kept) or 'none'}")
            self._take(self._kept[identity])
            return self._kept[identity]

    def _take(self, model: Model) -> None:
        before = self.model
        self._keep(model)
        if self._batcher is not None:
            self._batcher.model = model
            if before is None or before.id != model.id or self.state is State.LOADING:
                self._took(model)

    def _keep(self, model: Model) -> None:
        self._kept.pop(model.id, None)
        self._kept[model.id] = model
        while len(self._kept) > _KEPT_MODELS:
            del self._kept[next(iter(self._kept))]

    def _took(self, model: Model) -> None:
        self._measures.took(model.id, model.round)
        if self.state is State.LOADING:
            self.state = State.READY

    # --- requests ---------------------------------------------------------------------------------------------------

    async def predict(self, body: bytes) -> Scored:
        """Score the inputs of a request's body; raises Refusal."""
        if self._batcher is None or self.model is None:
            raise Refusal(503, f"{self.name} has no model yet", headers={"Retry-After": "1"})
        inputs = read_inputs(body, self.source.kind.form, self.settings.max_inputs)
        try:
            async with asyncio.timeout(self.settings.answer_seconds):
                return await self._batcher.scores(inputs)
        except TimeoutError:
            message = f"there is no answer after {self.settings.answer_seconds:g} s; try again, or another instance"
            raise Refusal(503, message, headers={"Retry-After": "1"}) from None

    def answered(self, status: int, seconds: float) -> None:
        """Count an answer."""
        self._measures.answered(status, seconds)

    def measures(self) -> bytes:
        """What is measured, in Prometheus' text format."""
        return self._measures.text()

    def description(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return document(self.name, self.source.kind.form, self.settings.max_inputs, self.body_bytes)

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _open(self, app: web.Application, address: Address, option: str) -> Address:
        patience = self.settings.answer_seconds + self.settings.body_seconds
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=patience)
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.TCPSite(runner, address.host, address.port).start()
        except OSError as error:
            reason = error.strerror or error
            raise InvalidInput(
                f"{option} {address.host}:{address.port}: cannot be listened on ({reason}); choose another address"
            ) from error
        return Address(address.host, runner.addresses[0][1])

    async def _follow(self) -> None:
        """Take newer checkpoints of the run as they come; one that cannot be taken is told once."""
        seen: tuple[int, int] | None = None
        run = self.source.run
        while True:
            newest = await asyncio.to_thread(_newest, self.source)
            if newest is not None and newest != seen:
                seen = newest
                try:
                    await self.exchange(lambda: of_run(run))
                except AIoTwinError as error:
                    _log.warning("the model stays as it is: %s", error)
            await asyncio.sleep(self.settings.follow)


def _newest(source: Source) -> tuple[int, int] | None:
    """Round and time of change of a run's newest checkpoint."""
    for number, path in reversed(rounds(source.run).items()):
        with suppress(OSError):  # dropped by the run just now
            return number, path.stat().st_mtime_ns
    return None
