"""A service without a model: one request after the other, each for a drawn time. A program of its own.

It is run as a file and needs only the standard library and aiohttp. Answers have the form of `aiotwin serve`; the label
is the first number of an input, rounded. `POST /speed {"factor": 4}` on its admin port makes it four times as slow. It
ends on SIGTERM, when requests in flight are answered, and when its standard input ends: its parent is gone then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import uuid
from typing import Any

from aiohttp import web


class Synthetic:
    """One server with exponential service times."""

    def __init__(self, name: str, service_ms: float, seed: str) -> None:
        self.name, self.service_ms, self.factor = name, service_ms, 1.0
        self.ready = True
        self.answers = 0
        self._draw = random.Random(seed)
        self._busy = asyncio.Lock()

    async def predict(self, request: web.Request) -> web.Response:
        """Answer after the service time; 400 for a body of another form."""
        try:
            inputs = (await request.json())["inputs"]
            labels = [round(_first(each)) for each in inputs]
        except (ValueError, KeyError, TypeError, IndexError):
            return web.json_response({"error": {"message": 'must be {"inputs": [...]} with numbers'}}, status=400)
        async with self._busy:
            await asyncio.sleep(self._draw.expovariate(1.0) * self.service_ms * self.factor / 1000)
        self.answers += 1
        identity = uuid.uuid4().hex
        rows = [{"id": f"{identity}-{k}", "label": label, "scores": [1.0]} for k, label in enumerate(labels)]
        return web.json_response({"predictions": rows, "model": {"id": "synthetic", "round": 0}})

    async def health(self, request: web.Request) -> web.Response:
        """It lives."""
        return web.json_response({"status": "alive"})

    async def is_ready(self, request: web.Request) -> web.Response:
        """Whether it takes requests."""
        return web.json_response({"ready": self.ready}, status=200 if self.ready else 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """One counter."""
        return web.Response(
            text=f"# TYPE aiotwin_inference_requests counter\naiotwin_inference_requests {self.answers}\n"
        )

    async def speed(self, request: web.Request) -> web.Response:
        """Be slower or faster from the next request on."""
        self.factor = max(0.001, float((await request.json())["factor"]))
        return web.json_response({"factor": self.factor})


def _first(value: Any) -> float:
    while isinstance(value, list):
        value = value[0]
    return float(value)


async def serve(options: argparse.Namespace) -> None:
    """Serve until told to end."""
    service = Synthetic(options.name, options.service_ms, options.seed)
    public, admin = web.Application(client_max_size=2**24), web.Application()
    public.router.add_post("/predict", service.predict)
    public.router.add_get("/health", service.health)
    public.router.add_get("/ready", service.is_ready)
    public.router.add_get("/metrics", service.metrics)
    admin.router.add_post("/speed", service.speed)
    runners = [web.AppRunner(app, access_log=None, shutdown_timeout=5.0) for app in (public, admin)]
    for runner in runners:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    urls = [f"http://127.0.0.1:{runner.addresses[0][1]}" for runner in runners]
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()

    def parent_said() -> None:
        if not os.read(0, 1):
            ending.set()

    loop.add_signal_handler(signal.SIGTERM, ending.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # an interrupt is for the notebook
    loop.add_reader(0, parent_said)
    print(json.dumps({"service": service.name, "url": urls[0], "admin": urls[1], "pid": os.getpid()}), flush=True)
    await ending.wait()
    service.ready = False
    for runner in runners:
        await runner.cleanup()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="synthetic")
    parser.add_argument("--service-ms", type=float, default=20.0)
    parser.add_argument("--seed", default="1")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
