"""The state machine with a clock of our own: seconds are just numbers here."""

import pytest

from fl_service.errors import ConfigError
from fl_service.transport.liveness import Liveness, Timings


def told(transitions):
    return [(t.member, t.standing) for t in transitions]


@pytest.fixture
def liveness():
    machine = Liveness(Timings())
    assert told(machine.joined("n5", 0.0)) == [("n5", "here")]
    return machine


def test_silence_makes_late_and_a_heartbeat_brings_back(liveness):
    assert liveness.tick(3.9) == []
    assert told(liveness.tick(4.0)) == [("n5", "late")]
    assert liveness.tick(20.0) == []
    assert told(liveness.heard("n5", 20.5)) == [("n5", "here")]
    assert liveness.tick(24.0) == []


def test_an_old_heartbeat_brings_nobody_back(liveness):
    liveness.heard("n5", 1.0)
    assert told(liveness.tick(5.0)) == [("n5", "late")]
    assert liveness.heard("n5", 1.0) == []
    assert liveness.standings() == {"n5": "late"}


def test_long_silence_is_lost_and_told_once(liveness):
    liveness.tick(4.0)
    assert liveness.tick(29.9) == []
    assert told(liveness.tick(30.0)) == [("n5", "lost")]
    assert liveness.tick(100.0) == []


def test_a_starved_member_with_rare_heartbeats_is_never_lost(liveness):
    now, seen = 0.0, []
    for _ in range(100):
        now += 12.0
        seen += told(liveness.tick(now)) + told(liveness.heard("n5", now))
    assert {standing for _, standing in seen} == {"late", "here"}


def test_a_broken_connection_is_seen_at_once_late_soon_and_lost_after_ten_seconds(liveness):
    assert told(liveness.broke("n5", 1.0)) == [("n5", "away")]
    assert liveness.broke("n5", 1.1) == []
    assert liveness.tick(4.9) == []
    assert told(liveness.tick(5.0)) == [("n5", "late")]
    assert liveness.tick(10.9) == []
    assert told(liveness.tick(11.0)) == [("n5", "lost")]


def test_back_in_time_is_not_lost(liveness):
    liveness.broke("n5", 1.0)
    assert told(liveness.joined("n5", 9.0)) == [("n5", "here")]
    assert liveness.tick(12.0) == []


def test_late_and_then_broken_is_lost_ten_seconds_after_it_broke(liveness):
    liveness.tick(4.0)
    assert liveness.broke("n5", 6.0) == []
    assert liveness.heard("n5", 7.0) == []
    assert liveness.tick(15.9) == []
    assert told(liveness.tick(16.0)) == [("n5", "lost")]


def test_our_own_sleep_is_held_against_nobody(liveness):
    liveness.joined("n6", 0.0)
    liveness.broke("n6", 0.5)
    liveness.excuse(25.0)  # frozen from 1 to 26
    assert liveness.tick(26.0) == []
    assert told(liveness.tick(29.5)) == [("n5", "late"), ("n6", "late")]
    assert told(liveness.tick(35.5)) == [("n6", "lost")]


def test_who_knows_may_say_lost_and_lost_may_join_again(liveness):
    assert told(liveness.told_lost("n5", "its pod is gone")) == [("n5", "lost")]
    assert liveness.told_lost("n5", "again") == []
    assert liveness.heard("n5", 2.0) == []
    assert told(liveness.joined("n5", 50.0)) == [("n5", "here")]


def test_a_forgotten_member_is_nobody(liveness):
    liveness.forget("n5")
    assert liveness.tick(100.0) == []
    assert liveness.broke("n5", 1.0) == []
    assert liveness.standings() == {}


@pytest.mark.parametrize(("values", "words"), [({"laet": 1}, "Did you mean 'late'"), ({"late": 0}, "timings.late: 0")])
def test_bad_timings_are_named(values, words):
    with pytest.raises(ConfigError, match=words):
        Timings.of(values)
