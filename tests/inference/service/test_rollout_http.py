import asyncio
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from service_support import IMAGES, LABELS, ask, serving, useless

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.rollout import (
    ROLLOUT,
    Counts,
    RolloutEnded,
    RolloutJudged,
    RolloutStarted,
    Rules,
    Target,
    Window,
    finish,
    roll_out,
)
from aiotwin_nb.inference.service import Address, open_source
from aiotwin_nb.orchestration.journal import Journal, read_journal

RULES = Rules(windows=2, extra_windows=3)


class Load:
    """Clients that ask all instances in turn all the time, know the labels, and count what came of it."""

    def __init__(self, services):
        self.services, self.statuses, self.counts = services, [], {}
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._pool = ThreadPoolExecutor(3)
        self._turns = [self._pool.submit(self._ask) for _ in range(3)]

    def _ask(self):
        for number in itertools.count():
            if self._stop.is_set():
                return
            name, service = list(self.services.items())[number % len(self.services)]
            first = 20 * (number % 20)
            status, answer, _ = ask(f"{service.url}/predict", {"inputs": IMAGES[first : first + 20].tolist()})
            labels = [p["label"] for p in answer.get("predictions", [])]
            right = int((LABELS[first : first + 20] == labels).sum())
            with self._lock:
                self.statuses.append(status)
                self.counts[name] = self.counts.get(name, Counts()) + Counts(1, 1, 20, right)

    async def window(self, canaries):
        """What is seen until both sides have had some requests."""
        self.counts = {}
        while True:
            await asyncio.sleep(0.01)
            with self._lock:
                sides = [
                    sum((c for n, c in self.counts.items() if (n in canaries) is new), Counts())
                    for new in (False, True)
                ]
            if min(side.requests for side in sides) >= 5:
                return Window(*sides)

    def stop(self):
        self._stop.set()
        for turn in self._turns:
            turn.result()


@pytest.fixture
def site(trained):
    """Three instances under load, and how they are reached."""
    with ExitStack() as stack:
        services = {
            name: stack.enter_context(serving(open_source(trained), admin=Address(), name=name)) for name in "abc"
        }
        load = Load(services)
        stack.callback(load.stop)
        yield services, [Target(name, service.admin_url) for name, service in services.items()], load


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path / "inference.jsonl", vocabulary=ROLLOUT)
    yield made
    made.close()


def events(journal):
    return [entry.event for entry in read_journal(journal._path, ROLLOUT)]


def models(services):
    return {service.model.id for service in services.values()}


def test_a_worse_model_is_tried_by_one_and_taken_back_without_a_failed_request(site, journal, altered):
    services, targets, load = site
    (before,) = models(services)
    tried = []

    async def observe(canaries):
        tried.append({name: service.model.id for name, service in services.items()})
        return await load.window(canaries)

    ended = asyncio.run(roll_out(targets, str(altered("bad.npz", useless)), observe, journal.append, rules=RULES))
    load.stop()
    assert ended.verdict == "reverted"
    assert "accuracy is worse" in ended.reason
    assert models(services) == {before}
    assert [name for name, model in tried[0].items() if model != before] == ["a"]
    assert set(load.statuses) == {200}
    kinds = [type(event) for event in events(journal)]
    assert kinds == [RolloutStarted, RolloutJudged, RolloutEnded]
    assert events(journal)[-1] == ended


def test_a_better_model_is_kept_everywhere_without_a_failed_request(trained, journal, altered, newest):
    bad = altered("bad.npz", useless)
    with ExitStack() as stack:
        services = {n: stack.enter_context(serving(open_source(bad), admin=Address(), name=n)) for n in "ab"}
        load = Load(services)
        stack.callback(load.stop)
        targets = [Target(name, service.admin_url) for name, service in services.items()]
        ended = asyncio.run(roll_out(targets, str(newest), load.window, journal.append, rules=RULES))
        load.stop()
        assert (ended.verdict, ended.unreached) == ("kept", {})
        assert {service.model.round for service in services.values()} == {6}
        assert models(services).isdisjoint({open_source(bad).learned.id})
    assert set(load.statuses) == {200}
    verdicts = [event.verdict for event in events(journal)[1:]]
    assert (verdicts[0], verdicts[-2:]) == ("undecided", ["kept", "kept"])
    assert len(verdicts) <= RULES.most + 1


def test_a_model_that_a_canary_refuses_is_never_watched(site, journal, altered):
    services, targets, load = site
    before = models(services)
    path = altered("nan.npz", lambda arrays: {k: a * float("nan") for k, a in arrays.items()})
    ended = asyncio.run(roll_out(targets, str(path), load.window, journal.append, rules=RULES))
    assert (ended.verdict, "not finite" in ended.reason) == ("reverted", True)
    assert models(services) == before


def test_a_watcher_that_fails_leaves_no_canary_behind(site, journal, altered):
    services, targets, _ = site
    before = models(services)

    async def observe(canaries):
        raise OSError("no measurements")

    ended = asyncio.run(roll_out(targets, str(altered("bad.npz", useless)), observe, journal.append))
    assert (ended.verdict, "no measurements" in ended.reason) == ("reverted", True)
    assert models(services) == before


def test_an_instance_that_is_gone_is_told_and_the_others_go_back(site, journal, altered):
    services, targets, _ = site
    before = models(services)
    gone = Target("d", "http://127.0.0.1:9")
    with pytest.raises(InvalidInput, match="d: does not say"):
        asyncio.run(roll_out([*targets, gone], str(altered("bad.npz", useless)), None, journal.append))
    assert events(journal) == []
    assert models(services) == before


class Killed(BaseException):
    """The process of a roll-out ends."""


def test_a_rollout_whose_process_ended_is_brought_to_its_end(site, journal, altered):
    services, targets, _ = site
    before = models(services)

    async def observe(canaries):
        raise Killed

    with pytest.raises(Killed):
        asyncio.run(roll_out(targets, str(altered("bad.npz", useless)), observe, journal.append))
    assert models(services) != before
    ended = asyncio.run(finish(events(journal), targets, journal.append))
    assert (ended.verdict, "process ended" in ended.reason) == ("reverted", True)
    assert models(services) == before
    assert asyncio.run(finish(events(journal), targets, journal.append)) is None


def test_what_makes_no_sense_is_refused(journal):
    one = Target("a", "http://127.0.0.1:9")
    for targets, share in (([one], 0.5), ([one, one], 0.5), ([one, Target("b", one.admin)], 1.0)):
        with pytest.raises(InvalidInput):
            asyncio.run(roll_out(targets, "x.npz", None, journal.append, share=share))
    assert events(journal) == []
