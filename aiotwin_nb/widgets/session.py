"""What the panels of one lab share: the scenario that is being drafted, and the run that is followed.

Panels observe traits and never call each other; the session is the only one that starts, follows or commands runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import traitlets

from aiotwin_nb import api
from aiotwin_nb.cluster.happenings import Happenings
from aiotwin_nb.errors import AIoTwinError, InvalidInput
from aiotwin_nb.orchestration.inbox import Command, check_command, parse_command, submit
from aiotwin_nb.scenario import Scenario
from aiotwin_nb.widgets.follow import Follower, Snapshot
from aiotwin_nb.widgets.truth import Truth, begin_truth, read_truth

TRUTH_SECONDS = 1.0  # how often it is asked how far the roads not taken are


class Session(traitlets.HasTraits):
    """The model behind a lab's panels.

    `scenario`: what `start` would run; `change` edits it. `phase`: none (nothing runs), starting, or attached.
    `cluster`: the cluster that `start` runs on, as `cluster` of `aiotwin_nb.run`; None: this machine.
    `snapshot`: what is known of the run; set from the follower's thread, so observers must be quick and must not raise.
    `mistake`: what is wrong with a value that was typed and that the draft has not taken; while there is one nothing
    starts.
    `selected`: id of the node that is selected. `problem`: the last thing that went wrong and has not been mended.
    `truth`: what is known of the run's roads not taken; `compare` runs them. `reveal`: whether panels may show the
    futures that are predicted for a reconfiguration whose decision has not fallen; a learner may have to predict first.
    """

    scenario = traitlets.Instance(Scenario)
    phase = traitlets.Enum(("none", "starting", "attached"), default_value="none")
    cluster = traitlets.Dict(allow_none=True, default_value=None)
    snapshot = traitlets.Instance(Snapshot, allow_none=True)
    selected = traitlets.Unicode("")
    problem = traitlets.Unicode("")
    mistake = traitlets.Unicode("")
    truth = traitlets.Instance(Truth, args=())
    reveal = traitlets.Bool(True)

    def __init__(self, scenario: api.Source, *, runs: str | Path = "runs") -> None:
        super().__init__(scenario=api.resolve(scenario, {}))
        self.runs = Path(runs)
        self._run: api.Run | None = None
        self._follower: Follower | None = None
        self._starter: threading.Thread | None = None
        self._watcher: threading.Thread | None = None
        self._arrived = threading.Condition()
        self._when_waited: list[Callable[[], None]] = []
        self._closed = False

    # The draft.

    def change(self, changes: Mapping[str, Any]) -> None:
        """Edit the scenario by dotted paths (`{"validation.window": 3}`); raises InvalidInput, then nothing changes."""
        self.scenario = api.resolve(self.scenario, changes)

    # The run.

    @property
    def run(self) -> api.Run | None:
        """The run that is followed."""
        return self._run

    def start(self, **options: Any) -> None:
        """Start the scenario as a process of its own and follow it; returns at once, `phase` says how far it is.

        `options`: as for `aiotwin_nb.run`; by default on `cluster`, where one is chosen. Raises InvalidInput when a run
        of this lab is under way, or for a `mistake`.
        """
        self._refuse_while_busy()
        if self.mistake:
            raise InvalidInput(self.mistake)
        self.problem, self.phase, self.snapshot = "", "starting", None
        if self.cluster is not None:
            options.setdefault("runtime", "kubernetes")
        if options.get("runtime") == "kubernetes":
            options["cluster"] = {**(self.cluster or {}), **options.get("cluster", {})}
        options.setdefault("out", self.runs / api.default_directory(self.scenario).name)
        self._in_background(lambda: api.run(self.scenario, **options))

    def resume(self) -> None:
        """Go on with the stopped or interrupted run; returns at once."""
        run = self._needed_run()
        self._refuse_while_busy()
        self.problem, self.phase = "", "starting"
        self._in_background(run.resume)

    def stop(self) -> str:
        """Ask the run to stop at the next round boundary; returns the command's id at once. It can be resumed."""
        return self._send(parse_command({"command": "stop"}))

    def inject(self, change: Mapping[str, Any]) -> str:
        """Send a change of the nodes to the run; returns the command's id at once.

        `change`: add, remove, link, data (and after_round) as in a scenario's events. Raises InvalidInput for what
        makes no sense now; what the run itself refuses later is in `snapshot.commands`.
        """
        return self._send(parse_command({"command": "inject", **change}))

    def on_cluster(self) -> Happenings:
        """What can be made happen on the cluster of the run that is followed; raises InvalidInput where there is none.

        Its methods ask the cluster and take their time.
        """
        options = api.cluster_of(self._needed_run().path)
        if options is None:
            raise InvalidInput(f"{self._needed_run().path.name}: is not on a cluster")
        return Happenings(options.connect())

    def compare(self) -> None:
        """Run the roads not taken of the run that has ended, in a process of its own; returns at once: see `truth`."""
        run = self._needed_run()
        if self.snapshot is not None and self.snapshot.live:
            raise InvalidInput(f"{run.path.name} is running; the other branches can be run when it has ended")
        begin_truth(run.path)
        self._watch_truth(run)

    def attach(self, reference: str | Path | None = None) -> None:
        """Follow a run that exists, by default the newest under `runs`; its scenario becomes the draft.

        `reference`: its folder, or its name under `runs`.
        """
        if reference is None:
            reference = _newest(self.runs)
        elif (self.runs / reference / "scenario.yaml").is_file():
            reference = self.runs / reference
        self._follow(api.attach(reference))
        self.problem = ""
        self.scenario = self._needed_run().scenario

    def detach(self) -> None:
        """Follow the run no longer; it goes on, and its scenario stays as the draft of a new one."""
        if self._follower is not None:
            self._follower.close()
        self._run = self._follower = None
        self.problem, self.snapshot, self.phase = "", None, "none"

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the run has ended and its last rows are here; raises what `Run.wait` raises."""
        until = None if timeout is None else time.monotonic() + timeout
        with self._arrived:
            while self.phase == "starting" or (self._run is not None and not self._ended()):
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"the run still goes on after {timeout:g} s")
                self._arrived.wait(0.5 if left is None else min(left, 0.5))
        if self._run is None:
            raise InvalidInput(self.problem or "nothing was started; call start() first")
        for callback in self._when_waited:
            callback()
        self._run.wait(None if until is None else max(until - time.monotonic(), 0.1))  # its process ends a bit later

    def when_waited(self, callback: Callable[[], None]) -> None:
        """Call back before `wait` returns: what is shown by then is what a headless notebook keeps."""
        self._when_waited.append(callback)

    def close(self) -> None:
        """End what this notebook has running for the lab: readers and waiters. The run goes on. Safe to call twice."""
        self._closed = True
        if self._follower is not None:
            self._follower.close()
        if self._starter is not None:
            self._starter.join(timeout=10)
        self.unobserve_all()

    # Inside.

    def _ended(self) -> bool:
        return self.snapshot is not None and not self.snapshot.live

    def _send(self, command: Command) -> str:
        run, snapshot = self._needed_run(), self.snapshot
        if snapshot is None:
            raise InvalidInput("the run has only just begun; try again in a moment")
        if snapshot.status == "finished":
            raise InvalidInput(f"{run.path.name}: the run has finished ({snapshot.state.stop_reason}); start a new one")
        check_command(command, snapshot.state)
        return submit(run.path / "inbox", command)

    def _needed_run(self) -> api.Run:
        if self._run is None:
            raise InvalidInput("this lab has no run yet; start one, or attach to one")
        return self._run

    def _refuse_while_busy(self) -> None:
        if self.phase == "starting":
            raise InvalidInput("a run is being started already")
        if self._run is not None and self._run.status == "running":
            raise InvalidInput(f"{self._run.path.name} is running; stop it first, or open a second lab")

    def _in_background(self, begin: Callable[[], api.Run]) -> None:
        def work() -> None:
            try:
                run = begin()
                if not self._closed:
                    self._follow(run)
            except (AIoTwinError, OSError) as error:
                self.problem = str(error)
                self.phase = "none" if self._run is None else "attached"
            with self._arrived:
                self._arrived.notify_all()

        self._starter = threading.Thread(target=work, name="aiotwin-start", daemon=True)
        self._starter.start()

    def _follow(self, run: api.Run) -> None:
        if self._follower is not None:
            self._follower.close()
        self._run = run
        self._follower = Follower(run.path, self._take)
        self._take(self._follower.look())
        self._watch_truth(run)
        self.phase = "attached"
        self._follower.start()

    def _watch_truth(self, run: api.Run) -> None:
        """Take in what is known of the roads not taken, and follow while they are being run."""
        self.truth = read_truth(run.path)
        if self.truth.status == "running" and not (self._watcher is not None and self._watcher.is_alive()):
            self._watcher = threading.Thread(target=self._follow_truth, name="aiotwin-truth", daemon=True)
            self._watcher.start()

    def _follow_truth(self) -> None:
        while not self._closed and self._run is not None and self.truth.status == "running":
            time.sleep(TRUTH_SECONDS)
            self.truth = read_truth(self._run.path)

    def _take(self, snapshot: Snapshot | None) -> None:
        if snapshot is None or self._closed:
            return
        self.snapshot = snapshot
        with self._arrived:
            self._arrived.notify_all()


def _newest(runs: Path) -> Path:
    found = sorted(runs.glob("*/scenario.yaml"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InvalidInput(f"there are no runs under {runs}; start one first")
    return found[-1].parent
