"""How often a W&B server is asked: slowly, as the notebooks of a room may share one key.

W&B limits the requests of a user by their number in a window of time, and those on a project by the time its database
works for them; how many depends on the plan and is not published. Its advice to clients is about a second between two
requests, and to wait when they are answered 429 (https://docs.wandb.ai/guides/track/limits). Its client does the
latter: here that is seen as an answer that takes long, or as a failure after some 20 seconds.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable

from aiotwin_nb.errors import InvalidInput

VARIABLE = "AIOTWIN_WANDB_INTERVAL"
INTERVAL_S = 10.0  # a question is 2 requests, 5 where there is news: at most one request in 2 seconds
LONGEST_S = 300.0
_IDLE_S = 60.0  # the longest pause only because nothing is new
_FAILED_S = 30.0
_SHARE = 5.0  # a pause is at least that many times as long as the answer took
_vary = random.Random().uniform  # not the draws that runs are made of


def configured_interval() -> float:
    """The shortest pause in seconds; raises InvalidInput for a setting that is none."""
    text = os.environ.get(VARIABLE) or str(INTERVAL_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds <= LONGEST_S:
        raise InvalidInput(f"{VARIABLE}={text}: must be a number of seconds from 1 to {LONGEST_S:g}")
    return seconds


class Pace:
    """When the next question is due. Pauses vary by a fifth, so that notebooks opened together drift apart.

    `interval`: the shortest pause in seconds; by default what AIOTWIN_WANDB_INTERVAL says, else 10.
    """

    def __init__(
        self,
        interval: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        vary: Callable[[float, float], float] = _vary,
    ) -> None:
        self.interval = interval = configured_interval() if interval is None else interval
        self.pause = 0.0
        self._clock = clock
        self._vary = vary
        self._failures = 0
        self._idle = interval
        self._due = clock()

    def is_due(self) -> bool:
        """Whether the server may be asked now."""
        return self._clock() >= self._due

    def answered(self, seconds: float, *, news: bool, ended: bool = False, askers: int = 1) -> None:
        """Note an answer that took some seconds. `ended`: the run is over; `askers`: who share this process."""
        self._failures = 0
        self._idle = self.interval if news else min(self._idle * 1.5, max(_IDLE_S, self.interval))
        pause = max(self._idle * askers, seconds * _SHARE)
        self._wait(max(pause, LONGEST_S) if ended and not news else min(pause, LONGEST_S))

    def failed(self) -> None:
        """Note that there was no answer: too many requests, or no server."""
        self._failures += 1
        self._wait(min(_FAILED_S * 2 ** (self._failures - 1), LONGEST_S))

    def _wait(self, seconds: float) -> None:
        self.pause = seconds * self._vary(0.8, 1.2)
        self._due = self._clock() + self.pause
