"""Performs a roll-out: canaries get the new model through their admin addresses, are watched, and then all or none.

start → watch a window → judge → … → keep everywhere or go back; every step is on record before it is taken.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.rollout.events import Before, RolloutEnded, RolloutJudged, RolloutStarted
from aiotwin_nb.inference.rollout.judging import Rules, Window, judge

E = TypeVar("E")
Record = Callable[[Any], None]
Observe = Callable[[Collection[str]], Awaitable[Window]]
_SECONDS = 30.0  # for an instance to load a model


@dataclass(frozen=True)
class Target:
    """An instance and where its model can be exchanged; `token`: where its admin address asks for one."""

    id: str
    admin: str
    token: str | None = None


class _Refused(Exception):
    """An instance is there and does not take the model."""


async def roll_out(
    targets: Sequence[Target],
    checkpoint: str,
    observe: Observe,
    record: Record,
    *,
    share: float = 0.25,
    rules: Rules | None = None,
) -> RolloutEnded:
    """Try a checkpoint on a share of the instances (one at least, never all), then give it to all or to none.

    Args:
        targets: the instances, each with its own id; the first ones are the canaries
        checkpoint: as the instances find it: a checkpoint's path, or a run's
        observe: called with the canaries' ids, returns what the next window of time showed of both sides
        record: keeps an event durably, such as a journal's `append`
        share: of the instances, above 0 and below 1
        rules: how it is judged

    Raises:
        InvalidInput: there are fewer than two instances, or the share is none
    """
    if len({target.id for target in targets}) < max(2, len(targets)):
        raise InvalidInput(
            "a roll-out needs two instances or more, each with its own id; exchange a single one's model"
        )
    if not 0 < share < 1:
        raise InvalidInput(f"share: {share} is not allowed; it must be above 0 and below 1")
    rules = rules or Rules()
    count = min(max(1, math.floor(share * len(targets))), len(targets) - 1)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as http:
        before = {target.id: await _model_of(http, target) for target in targets}
        started = RolloutStarted(checkpoint, tuple(target.id for target in targets[:count]), before)
        record(started)
        judged = await _try(http, started, targets, observe, record, rules)
        return await _perform(http, started, judged, targets, record)


async def finish(events: Iterable[Any], targets: Sequence[Target], record: Record) -> RolloutEnded | None:
    """End a roll-out whose process ended: as was decided, else by going back; None where there is none to end."""
    started: RolloutStarted | None = None
    judged: RolloutJudged | None = None
    for event in events:
        if isinstance(event, RolloutStarted | RolloutEnded):
            started, judged = (event if isinstance(event, RolloutStarted) else None), None
        elif isinstance(event, RolloutJudged):
            judged = event
    if started is None:
        return None
    if judged is None or judged.verdict == "undecided":
        judged = RolloutJudged("reverted", "the roll-out's process ended before it was decided")
        record(judged)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as http:
        return await _perform(http, started, judged, targets, record)


async def _try(
    http: aiohttp.ClientSession,
    started: RolloutStarted,
    targets: Sequence[Target],
    observe: Observe,
    record: Record,
    rules: Rules,
) -> RolloutJudged:
    """Give the canaries the model and watch them until it is decided."""
    try:
        for target in targets:
            if target.id in started.canaries:
                await _exchange(http, target, {"checkpoint": started.checkpoint})
    except (_Refused, aiohttp.ClientError, TimeoutError) as error:
        return _on_record(record, RolloutJudged("reverted", f"{target.id} did not take it: {_told(error)}"))
    windows: list[Window] = []
    while True:
        try:
            windows.append(await observe(started.canaries))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # whoever watches is another's code; the canaries must not stay behind
            return _on_record(record, RolloutJudged("reverted", f"it could not be watched: {_told(error)}"))
        found = judge(windows, rules)
        judged = _on_record(record, RolloutJudged(found.verdict, found.reason, windows[-1], found.accuracy, found.qos))
        if judged.verdict != "undecided":
            return judged


async def _perform(
    http: aiohttp.ClientSession,
    started: RolloutStarted,
    judged: RolloutJudged,
    targets: Sequence[Target],
    record: Record,
) -> RolloutEnded:
    """Do what was decided; where an instance refuses to take what is kept, all go back."""
    unreached: dict[str, str] = {}
    if judged.verdict == "kept":
        try:
            for target in targets:
                await _reach(_exchange(http, target, {"checkpoint": started.checkpoint}), target, unreached)
            return _on_record(record, RolloutEnded("kept", judged.reason, started.checkpoint, unreached))
        except _Refused as error:
            judged = _on_record(record, RolloutJudged("reverted", f"{target.id} did not take it: {error}"))
            unreached = {}
    for target in targets:
        if target.id in started.before:
            await _reach(_go_back(http, target, started.before[target.id]), target, unreached)
    return _on_record(record, RolloutEnded("reverted", judged.reason, started.checkpoint, unreached))


async def _reach(exchange: Awaitable[None], target: Target, unreached: dict[str, str]) -> None:
    try:
        await exchange
    except (aiohttp.ClientError, TimeoutError) as error:
        unreached[target.id] = _told(error)


async def _go_back(http: aiohttp.ClientSession, target: Target, before: Before) -> None:
    """To the model in the instance's memory; after a restart, to its checkpoint."""
    try:
        await _exchange(http, target, {"model": before.model})
    except _Refused:
        try:
            await _exchange(http, target, {"checkpoint": before.checkpoint})
        except _Refused as error:
            raise aiohttp.ClientError(f"it cannot go back: {error}") from error


async def _model_of(http: aiohttp.ClientSession, target: Target) -> Before:
    try:
        async with http.get(f"{target.admin}/model", headers=_headers(target)) as answer:
            body = await answer.json()
            return Before(body["model"]["id"], body["model"]["checkpoint"])
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{target.id}: does not say at {target.admin} which model it has: {_told(error)}") from error


async def _exchange(http: aiohttp.ClientSession, target: Target, body: Mapping[str, str]) -> None:
    async with http.post(f"{target.admin}/model", json=dict(body), headers=_headers(target)) as answer:
        if answer.status != 200:
            raise _Refused(f"{answer.status}: {await _message(answer)}")


async def _message(answer: aiohttp.ClientResponse) -> str:
    try:
        return str((await answer.json())["error"]["message"])
    except (aiohttp.ClientError, ValueError, KeyError, TypeError):
        return str(answer.reason)


def _headers(target: Target) -> dict[str, str]:
    return {"Authorization": f"Bearer {target.token}"} if target.token else {}


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__


def _on_record(record: Record, event: E) -> E:
    record(event)
    return event
