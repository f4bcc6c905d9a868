"""Requests that arrive together go through the model together, in a thread of their own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from aiotwin_nb.inference.service.inputs import Refusal
from aiotwin_nb.inference.service.models import Model


@dataclass(frozen=True)
class Scored:
    """Class scores (n, classes) and the model that gave them."""

    scores: np.ndarray
    model: Model


@dataclass(frozen=True, eq=False)
class _Waiting:
    inputs: np.ndarray
    arrived: float
    answer: asyncio.Future[Scored]


class Batcher:
    """Collects inputs for at most `wait_seconds`, or until there are `largest`, while the thread does the last batch.

    At most `waiting` inputs wait. `model` may be replaced at any time: a batch ends with the model it began with.
    `observe(inputs, seconds)` is told of every batch.
    """

    def __init__(
        self,
        model: Model | None,
        *,
        largest: int,
        wait_seconds: float,
        waiting: int,
        observe: Callable[[int, float], None],
    ) -> None:
        self.model = model
        self._largest, self._wait, self._most, self._observe = largest, wait_seconds, waiting, observe
        self._queue: deque[_Waiting] = deque()
        self._count = 0
        self._closing = False
        self._changed = asyncio.Event()
        # One thread with one thread of torch's: small networks are slower on two, and the event loop needs the other.
        self._thread = ThreadPoolExecutor(1, "model", initializer=torch.set_num_threads, initargs=(1,))
        self._task = asyncio.create_task(self._work())

    @property
    def waiting(self) -> int:
        """Inputs that wait."""
        return self._count

    async def scores(self, inputs: np.ndarray) -> Scored:
        """Return the scores of inputs (n, …), n up to `largest`; raises Refusal (503) when too many wait."""
        if self._count + len(inputs) > self._most:
            message = f"{self._count} inputs wait already, of at most {self._most}; try again, or another instance"
            raise Refusal(503, message, headers={"Retry-After": "1"})
        loop = asyncio.get_running_loop()
        waiting = _Waiting(inputs, loop.time(), loop.create_future())
        self._queue.append(waiting)
        self._count += len(inputs)
        self._changed.set()
        return await waiting.answer

    async def close(self) -> None:
        """Answer everything that waits, then end."""
        self._closing = True
        self._changed.set()
        await self._task
        self._thread.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._gather(loop)
            batch = self._take()
            if not batch:
                if self._closing:
                    return
                continue
            model = self.model
            assert model is not None, "requests are refused before there is a model"
            began = loop.time()
            results = await loop.run_in_executor(self._thread, _compute, model, [each.inputs for each in batch])
            self._observe(sum(len(each.inputs) for each in batch), loop.time() - began)
            for each, result in zip(batch, results, strict=True):
                if each.answer.done():  # nobody waits for it any more
                    continue
                if isinstance(result, Refusal):
                    each.answer.set_exception(result)
                else:
                    each.answer.set_result(Scored(result, model))

    async def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the first input, then for a full batch or the first one's time."""
        while not self._closing:
            self._changed.clear()
            if not self._queue:
                await self._changed.wait()
                continue
            left = self._queue[0].arrived + self._wait - loop.time()
            if left <= 0 or self._count >= self._largest:
                return
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._queue and (not batch or size + len(self._queue[0].inputs) <= self._largest):
            waiting = self._queue.popleft()
            self._count -= len(waiting.inputs)
            if not waiting.answer.done():
                batch.append(waiting)
                size += len(waiting.inputs)
        return batch


def _compute(model: Model, parts: Sequence[np.ndarray]) -> list[np.ndarray | Refusal]:
    """The scores of every request's inputs; where the model fails on them all, each is tried for itself."""
    try:
        scores = model.classifier.scores(np.concatenate(parts))
        if len(scores) != sum(map(len, parts)):
            raise ValueError(f"the model gave {len(scores)} answers for {sum(map(len, parts))} inputs")
    except Exception as error:  # a user's own network may raise anything, also for one request's inputs only
        if len(parts) > 1:
            return [result for part in parts for result in _compute(model, [part])]
        message = f"the model cannot take these inputs: {type(error).__name__}: {error}"
        return [Refusal(422, message, "inputs", "these numbers", "numbers like those it was trained on")]
    ends = np.cumsum([len(part) for part in parts])
    return [_finite(part) for part in np.split(scores, ends[:-1])]


def _finite(scores: np.ndarray) -> np.ndarray | Refusal:
    if np.isfinite(scores).all():
        return scores
    place = f"inputs[{int(np.argwhere(~np.isfinite(scores).all(axis=1))[0][0])}]"
    message = f"{place}: the model's scores for it are not finite; send numbers like those that it was trained on"
    return Refusal(422, message, place, "these numbers", "numbers that give finite scores")
