"""The inference side's verbs: `aiotwin serve …`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiotwin_nb.inference.service import InferenceService

TOKEN_VARIABLE = "AIOTWIN_ADMIN_TOKEN"


# serve.


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="RUN|CHECKPOINT", help="a run directory, its name under ./runs, or a file")
    parser.add_argument(
        "--round", type=int, metavar="N", help="the run's checkpoint of this round; default: the newest"
    )
    parser.add_argument("--task", metavar="FILE", help="task.py (its code is run) or scenario, in place of the run's")
    parser.add_argument("--listen", default="127.0.0.1:8000", metavar="HOST:PORT", help="default: %(default)s")
    parser.add_argument("--admin", metavar="HOST:PORT", help="where the model can be exchanged: POST /model")
    parser.add_argument("--name", help="the service's name; default: the run's")
    parser.add_argument("--follow", action="store_true", help="take newer checkpoints as the run goes on")
    parser.add_argument(
        "--batch-ms", type=float, default=2.0, metavar="MS", help="how long a request waits for others; default: 2"
    )
    parser.add_argument(
        "--drain", type=float, default=2.0, metavar="SECONDS", help="from SIGTERM to the end of listening; default: 2"
    )
    parser.add_argument("--json", action="store_true", help="say as JSON where it listens")
    parser.epilog = (
        f"On other addresses than loopback, --admin needs a token in the environment variable {TOKEN_VARIABLE}. "
        "A run's task.py is executed, as by aiotwin run: serve only runs whose code you trust."
    )


def _serve(options: argparse.Namespace) -> int:
    from aiotwin_nb.inference.service import Address, InferenceService, Settings, open_source

    settings = Settings(batch_ms=options.batch_ms, drain=options.drain)
    listen = Address.parse(options.listen, "--listen")
    admin = None if options.admin is None else Address.parse(options.admin, "--admin")
    source = open_source(options.source, round_number=options.round, task=options.task, follow=options.follow)
    logging.basicConfig(stream=sys.stderr, format="aiotwin: %(message)s", level=logging.WARNING)

    async def serve() -> None:
        service = InferenceService(
            source,
            settings,
            name=options.name,
            listen=listen,
            admin=admin,
            token=os.environ.get(TOKEN_VARIABLE) or None,
            follow=options.follow,
        )
        ending = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ending.set)
        await service.start()
        _tell_where(service, options.json)
        await ending.wait()
        await service.stop()

    asyncio.run(serve())
    return 0


def _tell_where(service: InferenceService, as_json: bool) -> None:
    model = service.model.shown if service.model else None
    if as_json:
        where = {"url": service.url, "admin": service.admin_url, "model": model, "pid": os.getpid()}
        print(json.dumps({"service": service.name, **where}), flush=True)
        return
    what = f"model {model['id']}" if model else "the run's first model, once there is one"
    print(f"{service.name}: {what} at {service.url} (described at {service.url}/openapi.json)", flush=True)
    if service.admin_url:
        print(f"exchange the model with: POST {service.admin_url}/model", flush=True)


VERBS = {
    "serve": (_serve_arguments, _serve, "answer over HTTP with the model of a run or a checkpoint"),
}
