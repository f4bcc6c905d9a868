"""The inference side's verbs: `aiotwin serve …`, `aiotwin proxy …`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.balancing import DEFAULT_POLICY

if TYPE_CHECKING:
    from aiotwin_nb.inference.proxy import Proxy, ServiceSource
    from aiotwin_nb.inference.service import InferenceService

TOKEN_VARIABLE = "AIOTWIN_ADMIN_TOKEN"
SPARE_FILES = 256  # files besides the clients' connections and as many to instances


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


# proxy.


def _proxy_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `aiotwin proxy`."""
    parser.add_argument("--listen", type=_address, required=True, metavar="HOST:PORT", help="for clients; port 0: any")
    services = parser.add_mutually_exclusive_group(required=True)
    services.add_argument("--services", type=Path, metavar="FILE", help="a YAML file; watched for changes")
    services.add_argument(
        "--cluster", action="store_true", help="the labelled Services of a Kubernetes namespace; watched for changes"
    )
    parser.add_argument("--namespace", metavar="NAME", help="with --cluster; default: the pod's or the context's")
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="with --cluster; default: in a pod its account, else kubectl's"
    )
    parser.add_argument("--context", metavar="NAME", help="with --cluster: a context of the kubeconfig")
    parser.add_argument(
        "--policy", default=DEFAULT_POLICY, metavar="NAME", help="which instance gets a request; default: %(default)s"
    )
    parser.add_argument("--node", default="", metavar="ID", help="the node that the proxy runs on")
    parser.add_argument("--admin", type=_address, metavar="HOST:PORT", help="for /health, /ready, /stats and /metrics")
    parser.add_argument("--seed", type=int, metavar="N", help="of what the policy draws at random; default: the node's")
    parser.add_argument("--drain", type=float, metavar="SECONDS", help="for requests in flight at the end; default: 30")
    parser.add_argument("--json", action="store_true", help="say where it listens as JSON")


def _proxy(options: argparse.Namespace) -> int:
    """Run a proxy until SIGTERM or SIGINT, then let its requests end; a second signal cuts them off."""
    from dataclasses import replace

    from aiotwin_nb.inference.proxy import Limits, Proxy

    if options.drain is not None and not 0 <= options.drain < float("inf"):
        raise InvalidInput(f"--drain {options.drain:g}: must be 0 or more seconds")
    limits = Limits() if options.drain is None else Limits(drain=options.drain)
    limits = replace(limits, connections=min(limits.connections, _allowed_files() - SPARE_FILES))
    logging.basicConfig(level=logging.WARNING, format="aiotwin proxy: %(message)s", stream=sys.stderr)
    made = Proxy(
        _source(options),
        options.policy,
        node=options.node,
        listen=options.listen,
        admin=options.admin,
        limits=limits,
        seed=options.seed,
    )
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_run_proxy(made, options.json))


def _source(options: argparse.Namespace) -> ServiceSource:
    """Where services come from: a file or a cluster."""
    from aiotwin_nb.inference.proxy import FileSource

    of_cluster = {name: getattr(options, name) for name in ("kubeconfig", "context", "namespace")}
    if not options.cluster:
        if given := [name for name, value in of_cluster.items() if value is not None]:
            raise InvalidInput(f"--{given[0]}: only with --cluster, in place of --services")
        return FileSource(options.services)
    from aiotwin_nb.inference.proxy.cluster_source import ClusterSource, connect

    return ClusterSource(connect(**of_cluster))


async def _run_proxy(made: Proxy, as_json: bool) -> int:
    loop = asyncio.get_running_loop()
    ending, cutting = asyncio.Event(), asyncio.Event()

    def told() -> None:
        (cutting if ending.is_set() else ending).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    async with made:
        if as_json:
            print(json.dumps({"url": made.url, "admin": made.admin_url, "policy": made.policy}), flush=True)
        else:
            admin = f", its own paths at {made.admin_url}" if made.admin_url else ""
            print(f"proxy at {made.url} ({made.policy}){admin}; ends on SIGTERM", flush=True)
        await ending.wait()
        draining, cut = asyncio.create_task(made.close()), asyncio.create_task(cutting.wait())
        await asyncio.wait((draining, cut), return_when=asyncio.FIRST_COMPLETED)
        cut.cancel()
        if not draining.done():
            made.hurry()
        if count := await draining:
            print(f"aiotwin proxy: {count} connections were cut off", file=sys.stderr)
    return 0


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop


def _allowed_files() -> int:
    """Raise how many files may be open to what the system allows; returns it."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 1_000_000 if hard == resource.RLIM_INFINITY else hard


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdigit() and int(port) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} must look like HOST:PORT, such as 127.0.0.1:8080")
    return host.strip("[]"), int(port)


VERBS = {
    "serve": (_serve_arguments, _serve, "answer over HTTP with the model of a run or a checkpoint"),
    "proxy": (_proxy_arguments, _proxy, "pass requests on to the instance that keeps its service's latency bound"),
}
