"""The way back to learning: labels, drift, a learning run when accuracy stays low, and its model as a canary."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from aiotwin_nb import api
from aiotwin_nb.errors import AIoTwinError, InvalidInput, RunFailed
from aiotwin_nb.inference.monitoring import (
    AccuracyWindow,
    ErrorCusum,
    Labels,
    RetrainRule,
    RetrainState,
    RetrainWanted,
    ScoreDrift,
    retrain_step,
)
from aiotwin_nb.inference.monitoring.events import DriftFound, RetrainingFailed, RetrainingStarted, RolledOut
from aiotwin_nb.inference.rollout import Counts, RolloutEnded, Rules, Target, Window, roll_out

if TYPE_CHECKING:
    from aiotwin_nb.inference.site.embedded import Continuum
    from aiotwin_nb.inference.site.processes import InstanceProcess

POLL_S = 0.2
EVEN = "round_robin"  # the policy for the time of a trial if the site's own asks one instance only
CANARY_SHARE = 0.1  # of all requests, at least, for an instance that tries a model
END_S = 60.0  # for a learning run to stop at the end of its round


class Learner:
    """Measures a continuum's accuracy and keeps its model up to date."""

    def __init__(self, site: Continuum) -> None:
        self._site = site
        spec = site.spec
        self._spec = spec.labels
        self._rule = (
            RetrainRule(spec.retrain.below, spec.retrain.windows, rest=spec.retrain.rest) if spec.retrain else None
        )
        self._draw = random.Random(f"{spec.seed} labels")
        self._labels = Labels(spec.labels.size)
        self._errors, self._scores = ErrorCusum(spec.labels.size), ScoreDrift()
        self._state = RetrainState()
        self._right: defaultdict[str, Counter[str]] = defaultdict(Counter)  # {model: {labelled, right}}
        self._starting: asyncio.Future[api.Run] | None = None
        self._alarmed: set[str] = set()
        self.rules = Rules()
        self._tried = ""  # the model that is a canary now, or was last
        self.status = ""
        self.busy = False

    def predicted(self, answer: dict[str, Any], label: int) -> None:
        """A client has predictions for one sample; its label comes later, if at all."""
        try:
            prediction, model = answer["predictions"][0], str(answer["model"]["id"])
            identity, guess = str(prediction["id"]), int(prediction["label"])
            confidence = max(map(float, prediction["scores"]))
        except (KeyError, IndexError, TypeError, ValueError):
            self._site.problem("an answer has not the form of a prediction")
            return
        self._labels.predicted(identity, guess, time.monotonic(), model)
        if not self.busy and self._scores.add([confidence]):
            self._alarm("kolmogorov_smirnov", f"the scores are others than at first (p = {self._scores.p_value:.2g})")
        if self._draw.random() < self._spec.share:
            later = partial(self._labelled, identity, label, model)
            asyncio.get_running_loop().call_later(self._spec.delay_s, later)

    def window(self) -> AccuracyWindow | None:
        """The accuracy window that is full now, if one is; what follows from it begins."""
        window = self._labels.window()
        if window is not None and self._rule is not None and not self.busy:  # else two models answer
            self._state, wanted = retrain_step(self._rule, self._state, window)
            if wanted is not None:
                self._site.in_background(self._learn(wanted))
        return window

    async def close(self) -> None:
        """Stop a learning run that is under way, and wait for its end."""
        if self._starting is None:
            return
        (run,) = await asyncio.gather(self._starting, return_exceptions=True)
        if isinstance(run, api.Run) and run.status == "running":
            with suppress(AIoTwinError, TimeoutError):
                await asyncio.to_thread(run.stop)
                await asyncio.to_thread(run.wait, END_S)

    async def roll_out(self, checkpoint: str) -> RolloutEnded:
        """Try a model as a canary; all instances have it afterwards, or none. `checkpoint`: a file or a run.

        A single instance gets company for that time. Raises InvalidInput for what is no model, or the one that answers.
        """
        site = self._site
        if site.service.run is None:
            raise InvalidInput("the synthetic service has no model; give the site's service a run")
        if self.busy:
            raise InvalidInput("another model is being tried; wait for its end")
        self.busy, replicas, policy = True, dict[str, int](), site.policy
        try:
            self._tried = await asyncio.to_thread(_model_id, checkpoint)
            await site.settled()
            replicas = site.replicas()
            if sum(replicas.values()) == 1:
                await site.place(dict.fromkeys(replicas, 2))
            alive = [each for each in site.instances.values() if each.alive and each.wanted]
            targets = [Target(each.id, each.admin) for each in sorted(alive, key=self._as_canary)]
            if self._tried in [await _model_of(target.admin) for target in targets]:
                raise InvalidInput(f"{checkpoint}: its model, {self._tried}, is the one that answers; give another")
            if sum(not self._as_canary(each)[0] for each in alive) < 2:
                await site.use_policy(EVEN)  # who asks one instance only cannot compare two models
            ended = await roll_out(targets, checkpoint, self._observe, site.record, rules=self.rules)
            site.record(RolledOut(checkpoint, ended.verdict == "kept", ended.reason))
            if ended.verdict == "kept":
                site.service = site.service.model_copy(update={"run": checkpoint})  # instances that come have it too
                self._begin_again()
            return ended
        finally:
            if site.policy != policy:
                await site.use_policy(policy)
            if sum(replicas.values()) == 1:
                await site.place(replicas)
            self._labels.restart()
            self.busy = False

    def _as_canary(self, instance: InstanceProcess) -> tuple[bool, int]:
        """Who tries first: the least busy one of those that are asked at all, or nothing would be learned."""
        asked = Counter[str]()
        for (_, i), counter in self._site.last_edges.items():
            asked[i] += counter["requests"]
        return asked[instance.id] < CANARY_SHARE * asked.total(), asked[instance.id]

    def _labelled(self, identity: str, label: int, model: str) -> None:
        right = self._labels.labelled(identity, label, time.monotonic())
        if right is None:
            return
        self._right[model]["labelled"] += 1
        self._right[model]["right"] += right
        if not self.busy and self._errors.add(not right):
            usual = self._errors.usual or 0.0
            self._alarm("cusum", f"the share of errors rose above {100 * usual:.0f} %, as it was at first at most")

    def _alarm(self, test: Any, detail: str) -> None:
        """Tell once for each model."""
        if test not in self._alarmed:
            self._alarmed.add(test)
            self._site.record(DriftFound(test, detail))

    def _begin_again(self) -> None:
        """Another model answers: what is usual is not known."""
        self._errors.restart()
        self._scores.restart()
        self._alarmed.clear()

    async def _learn(self, wanted: RetrainWanted) -> None:
        """Run the scenario, and try what it learned."""
        retrain = self._site.spec.retrain
        assert retrain is not None
        assert self._rule is not None
        recorder = self._site.recorder
        name = ""
        try:
            out = recorder.folder / "learning" / f"{wanted.window}" if recorder else None
            self.status = "learning"
            started = asyncio.to_thread(api.run, retrain.scenario, out=out, tracking="off")
            self._starting = asyncio.ensure_future(started)
            run = await asyncio.shield(self._starting)  # whoever closes waits for it
            name = str(run.path)
            self._site.record(RetrainingStarted(wanted.reason, retrain.scenario, name))
            while (status := await asyncio.to_thread(_status, run)) == "running":
                await asyncio.sleep(POLL_S)
            if status != "finished":
                raise RunFailed(f"the learning run ended {status}; see {name}")
            self.status = "trying the new model"
            await self.roll_out(str(Path(name).resolve()))
        except AIoTwinError as error:
            self._site.record(RetrainingFailed(name, str(error)))
            self._site.problem(str(error))
        finally:
            self.status = ""
            self._state = RetrainState(resting=self._rule.rest)

    async def _observe(self, canaries: Collection[str]) -> Window:
        """What one window of time shows of the canaries and of the others."""
        site = self._site
        before = self._counts(canaries)
        await asyncio.sleep(site.spec.window_s)
        after = self._counts(canaries)
        return Window(*(_minus(a, b) for a, b in zip(after, before, strict=True)))

    def _counts(self, canaries: Collection[str]) -> tuple[Counts, Counts]:
        """Everything seen so far, of the old model and of the new one."""
        found = []
        for new in (False, True):
            served = [n for i, n in self._site.served.items() if (i in canaries) is new]
            right = [n for model, n in self._right.items() if (model == self._tried) is new]
            found.append(
                Counts(
                    sum(n["requests"] for n in served),
                    sum(n["within"] for n in served),
                    sum(n["labelled"] for n in right),
                    sum(n["right"] for n in right),
                )
            )
        return found[0], found[1]


def _model_id(checkpoint: str) -> str:
    from aiotwin_nb.inference.service.checkpoints import resolve  # imports Flower

    return resolve(checkpoint).id


def _status(run: api.Run) -> str:
    return run.status


def _minus(after: Counts, before: Counts) -> Counts:
    return Counts(
        after.requests - before.requests,
        after.within - before.within,
        after.labelled - before.labelled,
        after.right - before.right,
    )


async def _model_of(admin: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"{admin}/model") as answer:
        return str((await answer.json())["model"]["id"])
