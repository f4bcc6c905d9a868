"""How often a server is asked: alone, by a room that shares a key, and when the server wants to be left alone."""

import random
from collections import Counter

import pytest

from aiotwin_nb.errors import AIoTwinError, InvalidInput
from aiotwin_nb.tracking import Pace, WandbApiSource
from aiotwin_nb.tracking.pace import LONGEST_S


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def exact(low, high):
    return 1.0


@pytest.fixture
def clock():
    return Clock()


def pause_after(pace, clock):
    begin = clock.now
    while not pace.is_due():
        clock.now += 0.25
    return clock.now - begin


def test_the_first_question_is_due_at_once_and_the_next_after_the_interval(clock):
    pace = Pace(clock=clock, vary=exact)
    assert pace.is_due()
    pace.answered(0.1, news=True)
    assert pause_after(pace, clock) == 10


def test_without_news_pauses_grow_and_news_shorten_them_again(clock):
    pace, pauses = Pace(clock=clock, vary=exact), []
    for _ in range(8):
        pace.answered(0.1, news=False)
        pauses.append(pause_after(pace, clock))
    assert pauses == sorted(pauses)
    assert pauses[0] == 15
    assert pauses[-1] == 60
    pace.answered(0.1, news=True)
    assert pause_after(pace, clock) == 10


def test_a_run_that_is_over_is_hardly_asked_for(clock):
    pace = Pace(clock=clock, vary=exact)
    pace.answered(0.1, news=True, ended=True)  # its last rows: there may be more
    assert pause_after(pace, clock) == 10
    pace.answered(0.1, news=False, ended=True)
    assert pause_after(pace, clock) == LONGEST_S


def test_a_server_that_answers_slowly_is_asked_less(clock):
    pace = Pace(clock=clock, vary=exact)
    pace.answered(6.0, news=True)
    assert pause_after(pace, clock) == 30


def test_several_runs_in_one_notebook_are_asked_for_as_often_as_one(clock):
    pace = Pace(clock=clock, vary=exact)
    pace.answered(0.1, news=True, askers=4)
    assert pause_after(pace, clock) == 40


def test_failures_double_the_pause_up_to_a_limit(clock):
    pace, pauses = Pace(clock=clock, vary=exact), []
    for _ in range(6):
        pace.failed()
        pauses.append(pause_after(pace, clock))
    assert pauses == [30, 60, 120, 240, 300, 300]
    pace.answered(0.1, news=True)
    assert pause_after(pace, clock) == 10


def room(clock, seconds, answer):
    """When 30 notebooks asked, that were opened together; `answer(pace)` notes what the server says."""
    draws = random.Random(1)
    paces, asked = [Pace(clock=clock, vary=draws.uniform) for _ in range(30)], []
    while clock.now < seconds:
        for pace in paces:
            if pace.is_due():
                asked.append(clock.now)
                answer(pace)
        clock.now += 0.1
    return asked


def test_a_room_of_thirty_with_one_key_asks_evenly(clock):
    asked = room(clock, 900, lambda pace: pace.answered(0.2, news=True))
    assert len(asked) <= 900 / 10 * 30 * 1.05
    by_second = Counter(int(moment) for moment in asked if moment > 300)
    assert max(by_second.values()) <= 12  # of 30, three a second on average


def test_a_room_that_is_over_the_limit_leaves_the_server_alone(clock):
    asked = room(clock, 900, lambda pace: pace.failed())
    assert len(asked) <= 30 * 7
    assert len({round(moment) for moment in asked}) > 60  # not all at once again and again


@pytest.mark.parametrize("text", ["soon", "0.2", "nan", "1000"])
def test_a_setting_that_is_no_interval_is_told(text, monkeypatch):
    monkeypatch.setenv("AIOTWIN_WANDB_INTERVAL", text)
    with pytest.raises(InvalidInput, match=f"AIOTWIN_WANDB_INTERVAL={text}: must be a number of seconds from 1 to 300"):
        Pace()


def test_the_interval_can_be_set(clock, monkeypatch):
    monkeypatch.setenv("AIOTWIN_WANDB_INTERVAL", "150")
    pace = Pace(clock=clock, vary=exact)
    pace.answered(0.1, news=True)
    assert pause_after(pace, clock) == 150


def test_after_a_failure_the_reader_gives_what_it_has_and_asks_later(clock):
    class Refusing:
        asked = 0

        def flush(self):
            self.asked += 1
            raise ConnectionError("429 Too Many Requests")

    api = Refusing()
    source = WandbApiSource("team/aiotwin/run-1", pace=Pace(clock=clock, vary=exact), api=api)
    with pytest.raises(AIoTwinError, match=r"429.*asked again in 30 s"):
        source.rows()
    assert source.rows() == []
    assert source.poll() == []
    assert api.asked == 1
    clock.now += 31
    with pytest.raises(AIoTwinError, match="asked again in 60 s"):
        source.rows()
    assert api.asked == 2
