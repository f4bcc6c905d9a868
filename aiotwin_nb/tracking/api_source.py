"""Read the rows of a run from a W&B server."""

from __future__ import annotations

import os
import time
from typing import Any

from aiotwin_nb.errors import AIoTwinError, InvalidInput
from aiotwin_nb.orchestration.ports import MetricSource
from aiotwin_nb.tracking.credentials import find_key


class WandbApiSource(MetricSource):
    """The rows of `entity/project/run`, asked for at most once in `min_interval` seconds, and only what is new."""

    def __init__(self, path: str, *, min_interval: float = 5.0, api: Any = None) -> None:
        self.path = path
        self.min_interval = min_interval
        self._api = api
        self._asked: float | None = None
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
        now = time.monotonic()
        if self._asked is not None and now - self._asked < self.min_interval:
            return
        self._asked = now
        for row in self._fetch():
            self._next_step = max(self._next_step, row.get("_step", -1) + 1)
            row = {key: value for key, value in row.items() if not key.startswith("_") and value is not None}
            if "round" in row:
                self._rows[row["round"]] = row
                self._unseen.append(dict(row))

    def _fetch(self) -> list[dict[str, Any]]:
        api = self._api = self._api or _new_api()
        try:
            api.flush()  # the client would give the run as it was at first
            run = api.run(self.path)
            # Asking for the history of a run without rows is an error.
            return list(run.scan_history(min_step=self._next_step)) if run.lastHistoryStep >= self._next_step else []
        except Exception as error:
            raise AIoTwinError(
                f"could not read the run {self.path!r} from W&B ({error}); check the path (entity/project/run), "
                "the network, and the key (`wandb login`)"
            ) from error


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
