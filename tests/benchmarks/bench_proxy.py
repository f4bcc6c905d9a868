"""What the proxy costs and what it withstands: `python tests/benchmarks/bench_proxy.py [--short] [PART…]`.

All on loopback: the proxy on one core, load generator and instances on another. Throughput beside nginx as a plain
reverse proxy, both by wrk (left out with the reason where one of them is not installed). Parts: latency, throughput, bodies, idle, kill,
link. Each writes its section of results/proxy.md (not with --short).
Ends with 1 when a target is missed.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

HERE = Path(__file__).resolve().parent
SHORT = "--short" in sys.argv
ROUNDS = 1 if SHORT else 3
SECONDS = 2 if SHORT else 4
RATE = 300.0  # requests a second
BOUND_MS = 300.0
DELAY_S = 0.6  # of the slow link
FAR_S = 0.05  # of the links to the other instances
CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, OTHER_CORE = CORES[0], CORES[-1]
FIELDS = {"Host": "svc", "X-Client-Id": "bench"}

missed: list[str] = []
rows: list[str] = []
notes: list[str] = []


def row(
    name: str, values: Sequence[float], unit: str, *, most: float | None = None, least: float | None = None
) -> None:
    """Report median and spread of one measurement, and whether its target is met."""
    middle = median(values)
    met = (most is None or middle <= most) and (least is None or middle >= least)
    target = f"≤ {most:g}" if most is not None else f"≥ {least:g}" if least is not None else ""
    verdict = ("met" if met else "**missed**") if target else ""
    if not met:
        missed.append(name)
    spread = f"{min(values):,.2f}–{max(values):,.2f}" if len(values) > 1 else ""
    rows.append(f"| {name} ({unit}) | {middle:,.2f} | {spread} | {target} | {verdict} |")
    print(rows[-1], flush=True)


# Processes.


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as channel:
        channel.bind(("127.0.0.1", 0))
        return int(channel.getsockname()[1])


def pinned(core: int, *command: str, **options: object) -> subprocess.Popen[str]:
    """Start a process on one core."""
    return subprocess.Popen(
        [*command],
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        **options,  # type: ignore[call-overload]
    )


def started(port: int) -> subprocess.Popen[str]:
    """Start an instance; returns before it listens."""
    return pinned(OTHER_CORE, sys.executable, str(HERE / "instance_for_proxy.py"), str(port))


def listening(port: int) -> None:
    """Wait until somebody listens."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.005)
        else:
            return


@contextmanager
def instances(count: int) -> Iterator[list[int]]:
    """Some instances; yields their ports."""
    ports = [free_port() for _ in range(count)]
    processes = [started(port) for port in ports]
    try:
        for port in ports:
            listening(port)
        yield ports
    finally:
        for process in processes:
            process.kill()
            process.wait()


class Running:
    """A running proxy."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        said = json.loads(process.stdout.readline())  # type: ignore[union-attr]
        self.url, self.admin = said["url"], said["admin"]
        self.port = int(self.url.rpartition(":")[2])

    def megabytes(self, key: str = "VmRSS") -> float:
        """Return its resident memory, now or at its peak (VmHWM)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(f"{key}:")[1].split()[0]) / 1024

    def forget_peak(self) -> None:
        """Let the peak begin anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process and its children have used so far: what others do on the core is not in it."""
    pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    fields = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def waited(pid: int) -> float:
    """Return the seconds that a process was ready to run and had to wait because others had the core."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


@contextmanager
def proxy(ports: Sequence[int], policy: str | None = None) -> Iterator[Running]:
    """`aiotwin proxy` on its core, before instances i0, i1, … at these ports."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "services.yaml"
        listed = [f"{{id: i{n}, url: 'http://127.0.0.1:{port}', node: n{n}}}" for n, port in enumerate(ports)]
        file.write_text(f"services: {{svc: {{max_latency_ms: {BOUND_MS:g}, instances: [{', '.join(listed)}]}}}}")
        options = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--services", str(file), "--json"]
        options += ["--policy", policy] if policy else []
        command = [sys.executable, "-m", "aiotwin_nb", "proxy", *options, "--drain", "0"]
        process = pinned(PROXY_CORE, *command, stdout=subprocess.PIPE)
        try:
            yield Running(process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


@asynccontextmanager
async def session() -> AsyncIterator[ClientSession]:
    """A client with as many connections as it needs."""
    connector = TCPConnector(limit=0)
    async with ClientSession(connector=connector, headers=FIELDS, timeout=ClientTimeout(total=30)) as opened:
        yield opened


# Load: open loop, so that a slow answer does not slow the questions.


async def load(
    client: ClientSession, url: str, rate: float, seconds: float, done: list[tuple[float, float, bool]]
) -> None:
    """Ask at a steady rate; appends (when it was due, latency in ms, whether it was answered with 200)."""

    async def one(due: float) -> None:
        try:
            async with client.get(url) as answer:
                await answer.read()
                good = answer.status == 200
        except (ClientError, OSError, TimeoutError):
            good = False
        done.append((due, (time.perf_counter() - due) * 1000, good))

    start, tasks = time.perf_counter(), set()
    for number in range(int(rate * seconds)):
        due = start + number / rate
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


async def stats(client: ClientSession, running: Running) -> dict[str, object]:
    """Return what the proxy tells of the service."""
    async with client.get(f"{running.admin}/stats") as answer:
        return (await answer.json())["services"]["svc"]  # type: ignore[no-any-return]


async def instances_of(client: ClientSession, running: Running) -> list[dict[str, Any]]:
    """Return what the proxy tells of the service's instances."""
    service: Any = await stats(client, running)
    return list(service["instances"].values())


# The measurements.


async def added_latency() -> None:
    """The same questions with and without the proxy, at the same time, so that what else happens meets both."""
    with instances(1) as ports, proxy(ports) as running:
        added: dict[int, list[float]] = {50: [], 99: []}
        for_core = []
        urls = (f"http://127.0.0.1:{ports[0]}", running.url)
        async with session() as client:
            await asyncio.gather(*(load(client, url, RATE, 1, []) for url in urls))
            for _ in range(ROUNDS):
                done: tuple[list[Any], list[Any]] = ([], [])
                before = waited(running.process.pid)
                await asyncio.gather(
                    *(load(client, url, RATE, SECONDS, of) for url, of in zip(urls, done, strict=True))
                )
                for_core.append(1000 * (waited(running.process.pid) - before) / (RATE * SECONDS))
                direct, through = (quantiles([latency for _, latency, _ in of], n=100) for of in done)
                for at, values in added.items():
                    values.append(through[at - 1] - direct[at - 1])
    row("added latency at 300 requests/s, p50", added[50], "ms", most=1)
    row("added latency at 300 requests/s, p99", added[99], "ms", most=5)
    row("of this, waiting for a core that others used, mean", for_core, "ms")


NGINX = """
worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 10000000; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
{body} }}
"""
ANSWERING = 'server {{ listen 127.0.0.1:{port}; default_type text/plain; location / {{ return 200 "{text}"; }} }}'
PASSING = """
upstream up {{ server 127.0.0.1:{instance}; keepalive 256; keepalive_requests 10000000; }}
server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://up; proxy_http_version 1.1;
proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}
"""


@contextmanager
def nginx(core: int, name: str, body: str, port: int) -> Iterator[int]:
    """An nginx with one worker on one core; yields its process id."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "nginx.conf"
        file.write_text(NGINX.format(folder=folder, name=name, body=body))
        process = pinned(core, "nginx", "-c", str(file), "-p", folder)
        try:
            listening(port)
            yield process.pid
        finally:
            process.terminate()
            process.wait()


def wrk(port: int, connections: int) -> float:
    """Return the requests a second that wrk got answered; raises when any was not answered with 200."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "-H", "Host: svc", f"http://127.0.0.1:{port}/"]
    with pinned(OTHER_CORE, *command, stdout=subprocess.PIPE) as process:
        said = process.communicate()[0]
    assert "Non-2xx" not in said, said
    assert "Socket errors" not in said, said
    return float(said.split("Requests/sec:")[1].split()[0])


async def throughput() -> None:
    """Requests a second on one core, beside nginx."""
    if lacking := [name for name in ("wrk", "nginx") if shutil.which(name) is None]:
        notes.append(f"Throughput was not measured: {' and '.join(lacking)} not installed here.")
        return
    instance, passing = free_port(), free_port()
    answering = ANSWERING.format(port=instance, text="x" * 1024)
    ours, theirs, cpu_ours, cpu_theirs = [], [], [], []
    with (
        nginx(OTHER_CORE, "instance", answering, instance),
        nginx(PROXY_CORE, "passing", PASSING.format(instance=instance, port=passing), passing) as plain,
        proxy([instance]) as running,
    ):
        wrk(running.port, 32)
        for _ in range(ROUNDS):
            for port, pid, rates, per_cpu in (
                (running.port, running.process.pid, ours, cpu_ours),
                (passing, plain, theirs, cpu_theirs),
            ):
                before = cpu_seconds(pid)
                rates.append(wrk(port, 32))
                per_cpu.append(rates[-1] * SECONDS / (cpu_seconds(pid) - before))
    row("requests a second, 1 KB, one core, wrk with 32 connections", ours, "1/s", least=1500)
    row("nginx as a plain reverse proxy", theirs, "1/s")
    row("share of nginx's requests", [a / b for a, b in zip(ours, theirs, strict=True)], "ratio")
    row("requests per second of the proxy's CPU time", cpu_ours, "1/s")
    row("requests per second of nginx's CPU time", cpu_theirs, "1/s")
    row("share of nginx's per CPU time", [a / b for a, b in zip(cpu_ours, cpu_theirs, strict=True)], "ratio")


async def large_bodies() -> None:
    """100 MB through the proxy, in both directions."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield bytes(100_000)

    with instances(1) as ports, proxy(ports) as running:
        async with session() as client:
            await load(client, running.url, RATE, 1, [])
            for name, method, path, data in (("down", "GET", "/large", False), ("up", "PUT", "/", True)):
                growth, speed = [], []
                for _ in range(ROUNDS):
                    running.forget_peak()
                    before, start, size = running.megabytes(), time.perf_counter(), 0
                    fields = {"Content-Length": "100000000"} if data else {}
                    body = pieces() if data else None
                    async with client.request(method, running.url + path, data=body, headers=fields) as answer:
                        assert answer.status == 200
                        while piece := await answer.content.readany():
                            size += len(piece)
                    assert size == (1024 if data else 100_000_000)
                    growth.append(running.megabytes("VmHWM") - before)
                    speed.append(100 / (time.perf_counter() - start))
                row(f"100 MB {name}: growth of resident memory at its peak", growth, "MB", most=20)
                row(f"100 MB {name}: speed", speed, "MB/s")


async def idle_connections() -> None:
    """Many open connections, and requests beside them."""
    count = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500)
    with instances(1) as ports, proxy(ports) as running:
        async with session() as client:
            await load(client, running.url, RATE, 1, [])
            before = running.megabytes()
            address, opened = ("127.0.0.1", running.port), []
            try:
                for _ in range(count):
                    channel = socket.socket()
                    opened.append(channel)
                    await asyncio.to_thread(channel.connect, address)
                while json.loads(await _text(client, f"{running.admin}/stats"))["connections"] < count:
                    await asyncio.sleep(0.05)
                growth = running.megabytes() - before
                done: list[tuple[float, float, bool]] = []
                await load(client, running.url, RATE, SECONDS, done)
                assert all(good for _, _, good in done)
                for channel in opened[:: count // 10]:  # they are no dead ones
                    channel.sendall(b"GET / HTTP/1.1\r\nHost: svc\r\n\r\n")
                    assert (await asyncio.to_thread(channel.recv, 20)).startswith(b"HTTP/1.1 200")
            finally:
                for channel in opened:
                    channel.close()
    row("open idle connections", [count], "connections", least=10_000)
    row("their memory", [growth], "MB")
    row("latency beside them at 300 requests/s, p99", [quantiles([each[1] for each in done], n=100)[98]], "ms")


async def _text(client: ClientSession, url: str) -> str:
    async with client.get(url) as answer:
        return await answer.text()


async def killed_instance() -> None:
    """An instance of three is killed under load, and comes back."""
    failed, back = [], []
    for _ in range(ROUNDS):
        ports = [free_port() for _ in range(3)]
        processes = [started(port) for port in ports]
        try:
            for port in ports:
                listening(port)
            with proxy(ports, "round_robin") as running:
                async with session() as client:
                    done: list[tuple[float, float, bool]] = []
                    asking = asyncio.create_task(load(client, running.url, RATE, 6, done))
                    await asyncio.sleep(2)
                    processes[0].kill()
                    await asyncio.sleep(1.5)
                    assert not (await stats(client, running))["instances"]["i0"]["in_rotation"]  # type: ignore[index]
                    processes[0].wait()
                    processes[0] = started(ports[0])
                    await asyncio.to_thread(listening, ports[0])
                    ready = time.perf_counter()
                    while not (await stats(client, running))["instances"]["i0"]["in_rotation"]:  # type: ignore[index]
                        await asyncio.sleep(0.01)
                    back.append(time.perf_counter() - ready)
                    await asking
                    failed.append(sum(not good for _, _, good in done))
        finally:
            for process in processes:
                process.kill()
                process.wait()
    row("failed of 1800 requests when an instance is killed", failed, "requests", most=0)
    row("most of them in one round", [max(failed)], "requests", most=0)
    row("back in rotation after it is ready", back, "s", most=2)


class Link:
    """A TCP relay to an instance; what passes it is delayed."""

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self.delay = 0.0
        self._to = port
        self._passing: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Link:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Listen no more."""
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._passing.append(asyncio.create_task(self._pass(source, sink)))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(due - time.perf_counter())
                if not data:
                    writer.close()
                    return
                writer.write(data)

        delivering = asyncio.create_task(deliver())
        self._passing.append(delivering)
        try:
            while data := await reader.read(65_536):
                queue.put_nowait((time.perf_counter() + self.delay / 2, data))
        except ConnectionError:
            pass
        queue.put_nowait((time.perf_counter(), b""))
        await delivering


async def slow_link(policy: str | None, name: str, target: float | None) -> None:
    """The link to the nearest of three instances becomes slower than the bound; the others keep it."""
    before, restored, shares = [], [], []
    for _ in range(ROUNDS):
        with instances(3) as ports:
            async with AsyncExitStack() as stack:
                links = [await stack.enter_async_context(Link(port)) for port in ports]
                links[1].delay = links[2].delay = FAR_S
                starting = proxy([link.port for link in links], policy)
                running = await asyncio.to_thread(stack.enter_context, starting)  # the links are in this loop
                async with session() as client:
                    while not all(each["in_rotation"] for each in (await instances_of(client, running))):
                        await asyncio.sleep(0.01)
                    done: list[tuple[float, float, bool]] = []
                    asking = asyncio.create_task(load(client, running.url, 100, 12, done))
                    await asyncio.sleep(4)
                    service: Any = await stats(client, running)
                    before.append(100 * service["instances"]["i0"]["requests"] / service["requests"])
                    links[0].delay, slow_from = DELAY_S, time.perf_counter()
                    await asking
        within = [(due, good and latency <= BOUND_MS) for due, latency, good in done if due >= slow_from]
        restored.append(seconds_until_kept(sorted(within), slow_from))
        late = [kept for due, kept in within if due >= slow_from + 5]
        shares.append(100 * sum(late) / len(late))
    row(f"{name}: requests at the nearest before its link is slow", before, "%")
    row(f"{name}: until ≥ 95 % of the possible", restored, "s", most=target)
    row(f"{name}: share within the bound 5 s later", shares, "%", least=95 if target else None)


async def slow_links() -> None:
    """The default policy, and others beside it."""
    await slow_link(None, "default policy", 5)
    if not SHORT:
        for policy in ("least_latency", "qedgeproxy", "round_robin"):
            await slow_link(policy, policy, None)


def seconds_until_kept(within: list[tuple[float, bool]], start: float, share: float = 0.95) -> float:
    """Return when the share of every second from then on is kept; infinite when that never comes."""
    kept = start
    for number in range(int(within[-1][0] - start)):
        here = [good for due, good in within if start + number <= due < start + number + 1]
        if sum(here) < share * len(here):
            kept = start + number + 1
    return kept - start if kept - start < within[-1][0] - start - 1 else float("inf")


RESULT = HERE / "results" / "proxy.md"
TABLE = "| | median | min–max | target | |\n|---|---:|---:|---:|---|"


def report(part: str, load_before: float) -> None:
    """Write a part's section; those of other parts stay as they are."""
    parts = dict.fromkeys(TITLES, "")
    for section in RESULT.read_text().split("\n## ")[1:] if RESULT.exists() else []:
        title, _, text = section.partition("\n")
        parts |= {key: text.strip() for key, its in TITLES.items() if its == title}
    loads = f"Load of the machine: {load_before:.1f} before, {os.getloadavg()[0]:.1f} after."
    parts[part] = "\n\n".join([loads, *notes, *(["\n".join([TABLE, *rows])] if rows else [])])
    head = (
        f"# The proxy\n\n`aiotwin proxy` on one core of {len(CORES)}, which others use, too; load and instances on another; "
        "loopback.\nMedian and spread."
    )
    sections = [f"## {TITLES[key]}\n\n{text}" for key, text in parts.items() if text]
    RESULT.write_text("\n\n".join([head, *sections]) + "\n")


TITLES = {
    "latency": "Added latency",
    "throughput": "Throughput, beside nginx as a plain reverse proxy",
    "bodies": "Large bodies",
    "idle": "Idle connections",
    "kill": "A killed instance",
    "link": "A slow link (the possible share is 100 %)",
}
PARTS: dict[str, Callable[[], Awaitable[None]]] = {
    "latency": added_latency,
    "throughput": throughput,
    "bodies": large_bodies,
    "idle": idle_connections,
    "kill": killed_instance,
    "link": slow_links,
}


async def main() -> None:
    """Measure everything, or the parts that were asked for."""
    os.sched_setaffinity(0, {OTHER_CORE})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    chosen = [word for word in sys.argv[1:] if word != "--short"] or list(PARTS)
    if unknown := [part for part in chosen if part not in PARTS]:
        sys.exit(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    for part in chosen:
        load_before = os.getloadavg()[0]
        await PARTS[part]()
        if not SHORT:
            report(part, load_before)
        rows.clear()
        notes.clear()


if __name__ == "__main__":
    asyncio.run(main())
    sys.exit(f"missed: {', '.join(missed)}" if missed else 0)
