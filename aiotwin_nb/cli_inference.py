"""The inference side's verbs: `aiotwin proxy …`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.balancing import DEFAULT_POLICY

if TYPE_CHECKING:
    from aiotwin_nb.inference.proxy import Proxy

SPARE_FILES = 256  # files besides the clients' connections and as many to instances


# proxy.


def _proxy_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `aiotwin proxy`."""
    parser.add_argument("--listen", type=_address, required=True, metavar="HOST:PORT", help="for clients; port 0: any")
    parser.add_argument("--services", type=Path, required=True, metavar="FILE", help="a YAML file; watched for changes")
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

    from aiotwin_nb.inference.proxy import FileSource, Limits, Proxy

    if options.drain is not None and not 0 <= options.drain < float("inf"):
        raise InvalidInput(f"--drain {options.drain:g}: must be 0 or more seconds")
    limits = Limits() if options.drain is None else Limits(drain=options.drain)
    limits = replace(limits, connections=min(limits.connections, _allowed_files() - SPARE_FILES))
    logging.basicConfig(level=logging.WARNING, format="aiotwin proxy: %(message)s", stream=sys.stderr)
    made = Proxy(
        FileSource(options.services),
        options.policy,
        node=options.node,
        listen=options.listen,
        admin=options.admin,
        limits=limits,
        seed=options.seed,
    )
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_run_proxy(made, options.json))


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
    "proxy": (_proxy_arguments, _proxy, "pass requests on to the instance that keeps its service's latency bound"),
}
