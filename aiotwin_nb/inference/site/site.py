"""The site for notebooks and scripts: plain calls; everything runs in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import ValidationError

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.monitoring.recorder import Recorder
from aiotwin_nb.inference.site.clients import Stream, numbers
from aiotwin_nb.inference.site.embedded import Continuum
from aiotwin_nb.inference.site.model import NodeSpec, SiteSpec, load_site
from aiotwin_nb.scenario.load import mistakes
from aiotwin_nb.scenario.located import dotted

if TYPE_CHECKING:
    import pandas as pd

    from aiotwin_nb.inference.rollout import RolloutEnded

T = TypeVar("T")


class Site:
    """An embedded continuum.

    >>> with Site("two-sides") as site:
    ...     site.wait_windows(3)
    ...     site.slow_link("west", "cloud", 200)
    ...     site.snapshot()["qos"]

    Everything is on loopback. The thread is a daemon, and the services end with their parent: a kernel that dies leaves
    nothing behind.
    """

    def __init__(
        self,
        source: SiteSpec | str | Path,
        *,
        out: str | Path | None = None,
        tracking: str | None = None,
        stream: Stream = numbers,
    ) -> None:
        """Read what there is; nothing is started.

        Args:
            source: a site file, the name of a shipped one, or a spec
            out: a new or empty folder for the journal and W&B; None: nothing is recorded
            tracking: auto, offline, online or off, where there is a folder
            stream: where clients' samples come from

        Raises:
            InvalidInput: the file is wrong
        """
        self.spec = load_site(source)
        self._out = None if out is None else Path(out)
        self._tracking = tracking
        self._stream = stream
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._continuum: Continuum | None = None

    def start(self) -> Self:
        """Start everything; returns when all instances listen."""
        if self._loop is not None:
            raise InvalidInput(f"the site {self.spec.name} runs already; close it first")
        recorder = None if self._out is None else Recorder(self._out, self.spec.name, tracking=self._tracking)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"site {self.spec.name}", daemon=True)
        self._thread.start()

        async def make() -> Continuum:
            return Continuum(self.spec, stream=self._stream, recorder=recorder)

        try:
            self._continuum = self._await(make())
            self._await(self._continuum.start())
        except BaseException:
            self.close()
            if recorder is not None:
                recorder.close()
            raise
        return self

    def close(self) -> None:
        """End everything; safe to call twice."""
        loop, continuum, thread = self._loop, self._continuum, self._thread
        if loop is None:
            return

        async def end() -> None:  # in the loop's own thread: a notebook's has another loop running
            try:
                if continuum is not None:
                    await continuum.close()
            finally:
                await loop.shutdown_default_executor()

        try:
            asyncio.run_coroutine_threadsafe(end(), loop).result()
        finally:
            self._loop = self._thread = None
            loop.call_soon_threadsafe(loop.stop)
            if thread is not None:
                thread.join(10.0)
            if not loop.is_running():
                loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Site {self.spec.name}: {'running' if self.running else 'closed'}>"

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._loop is not None

    # --- controls ---------------------------------------------------------------------------------------------------

    def overload(self, node: str, factor: float = 4.0) -> None:
        """Make a node's instances this many times as slow; 1 ends it."""
        self._await(self._site.overload(node, factor))

    def kill(self, subject: str) -> None:
        """Kill an instance or a node."""
        self._await(self._site.kill(subject))

    def restore(self, node: str) -> None:
        """End what was done to a node."""
        self._await(self._site.restore(node))

    def slow_link(self, a: str, b: str, rtt_ms: float) -> None:
        """Set the round trip of a link, in ms."""
        self._await(self._site.slow_link(a, b, rtt_ms))

    def new_node(self, node: NodeSpec | Mapping[str, Any] | str, **fields: Any) -> None:
        """Let a node join: a spec, a mapping, or its id and fields (`rtt_ms={"cloud": 20}, slots=2`)."""
        if not isinstance(node, NodeSpec):
            raw = {"id": node, **fields} if isinstance(node, str) else {**node, **fields}
            try:
                node = NodeSpec.model_validate(raw)
            except ValidationError as error:
                found = [f"{dotted(path)}: {text}" for path, text in mistakes(NodeSpec, raw, error)]
                raise InvalidInput("; ".join(found)) from None
        self._await(self._site.new_node(node))

    def burst(self, group: str, factor: float = 3.0, seconds: float | None = None) -> None:
        """Multiply a client group's requests, for some seconds or until told otherwise; 1 ends it."""
        self._await(self._site.burst(group, factor, seconds))

    def place(self, replicas: Mapping[str, int]) -> None:
        """Run these replicas, {node: how many}, and no others."""
        self._await(self._site.place(replicas))

    def use_policy(self, name: str) -> None:
        """Balance by another policy from now on."""
        self._await(self._site.use_policy(name))

    def use_stream(self, stream: Stream) -> None:
        """Let clients ask about other samples from now on: concept drift."""
        self._site.stream = stream

    def ask(self, node: str, *inputs: Any) -> dict[str, Any]:
        """Ask the service as a device at a node does, through its proxy; returns the service's answer.

        Raises InvalidInput when nobody answers, or not with success.
        """
        return self._await(self._site.ask(node, inputs))

    def roll_out(self, checkpoint: str | Path) -> RolloutEnded:
        """Try a model as a canary; kept everywhere or reverted. `checkpoint`: a file or a run's folder."""
        return self._await(self._site.learner.roll_out(str(Path(checkpoint).resolve())))

    # --- observation ------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """The service map of the last window; keys as in `Continuum.snapshot`."""
        return self._call(self._site.snapshot)

    def replicas(self) -> dict[str, int]:
        """Replicas that run, by node."""
        return self._call(self._site.replicas)

    def rows(self) -> list[dict[str, Any]]:
        """One row per window: `round`, `time` (seconds since the epoch), `policy`, `inference/…`."""
        return self._call(lambda: list(self._site.rows))

    def series(self, name: str = "inference/qos_share") -> pd.DataFrame:
        """A metric over windows, one column per policy that was in force; index: the window."""
        import pandas as pd

        table = pd.DataFrame(
            [{"window": r["round"], "policy": r["policy"], name: r.get(name)} for r in self.rows()],
            columns=["window", "policy", name],
        )
        return table.pivot(index="window", columns="policy", values=name)

    def wait_windows(self, count: int = 1, timeout: float = 60.0) -> None:
        """Wait until this many more windows are over; raises TimeoutError."""
        target = (self.rows() or [{"round": -1}])[-1]["round"] + count
        self.wait_for(lambda: bool(self.rows()) and self.rows()[-1]["round"] >= target, timeout)

    def wait_for(self, condition: Callable[[], bool], timeout: float = 60.0) -> None:
        """Wait until a condition holds; raises TimeoutError."""
        until = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > until:
                raise TimeoutError(f"the site {self.spec.name} is not as awaited after {timeout:g} s")
            time.sleep(0.05)

    @property
    def problems(self) -> list[str]:
        """What went wrong so far, for people."""
        return list(self._site.problems)

    @property
    def _site(self) -> Continuum:
        if self._continuum is None or self._loop is None:
            raise InvalidInput(f"the site {self.spec.name} does not run; start it first")
        return self._continuum

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        if (loop := self._loop) is None:  # closed by another thread in between
            work.close()
            raise InvalidInput(f"the site {self.spec.name} does not run; start it first")
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def _call(self, what: Callable[[], T]) -> T:
        """Call something in the site's thread."""

        async def called() -> T:
            return what()

        return self._await(called())
