"""Read the rows of a run from a W&B server."""

from __future__ import annotations

import os
import time
from typing import Any, ClassVar
from weakref import WeakSet

from aiotwin_nb.errors import AIoTwinError, InvalidInput
from aiotwin_nb.orchestration.ports import MetricSource
from aiotwin_nb.tracking.credentials import find_key
from aiotwin_nb.tracking.pace import Pace


class WandbApiSource(MetricSource):
    """The rows of `entity/project/run`; the server is asked as `Pace` allows, and only for what is new.

    Between two questions, and while it waits because the server did not answer, it gives what it has. `state`: the
    run's, in W&B's words (running, finished, crashed, …). `problem`: why the last question had no answer.
    """

    _all: ClassVar[WeakSet[WandbApiSource]] = WeakSet()

    def __init__(self, path: str, *, pace: Pace | None = None, api: Any = None) -> None:
        self.path = path
        self._pace = pace or Pace()
        self._api = api
        self._all.add(self)
        self.state = "running"
        self.problem = ""
        self._next_step = 0
        self._rows: dict[int, dict[str, Any]] = {}
        self._unseen: list[dict[str, Any]] = []

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far, one per round, ascending; of a repeated round, the row that was written last."""
        self._read()
        return [dict(self._rows[number]) for number in sorted(self._rows)]

    def poll(self) -> list[dict[str, Any]]:
        """The rows that this method has not returned yet."""
        self._read()
        new, self._unseen = self._unseen, []
        return new

    def _read(self) -> None:
        if not self._pace.is_due():
            return
        for row in self._fetch():
            self._next_step = max(self._next_step, row.get("_step", -1) + 1)
            row = {key: value for key, value in row.items() if not key.startswith("_") and value is not None}
            if "round" in row:
                self._rows[row["round"]] = row
                self._unseen.append(dict(row))

    def _fetch(self) -> list[dict[str, Any]]:
        api = self._api = self._api or _new_api()
        began = time.monotonic()
        try:
            api.flush()  # the client would give the run as it was at first
            run = api.run(self.path)
            # Asking for the history of a run without rows is an error.
            new = run.lastHistoryStep >= self._next_step
            rows = list(run.scan_history(min_step=self._next_step)) if new else []
        except Exception as error:
            self._pace.failed()
            self.problem = (
                f"could not read the run {self.path!r} from W&B ({error}); check the path (entity/project/run), "
                f"the network, and the key (`wandb login`). W&B is asked again in {self._pace.pause:.0f} s"
            )
            raise AIoTwinError(self.problem) from error
        self.state, self.problem = str(run.state), ""
        ended = self.state != "running"
        self._pace.answered(time.monotonic() - began, news=bool(rows), ended=ended, askers=len(self._all))
        return rows


def _new_api() -> Any:
    key = find_key()
    if key is None:  # the client would ask for it
        raise InvalidInput("reading a run from W&B needs a key and none is configured; run `wandb login` once")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import wandb
    except ImportError as error:
        raise InvalidInput("reading a run from W&B needs the package wandb; reinstall aiotwin-nb to get it") from error
    return wandb.Api(api_key=key)
