"""Background work of which only the newest matters."""

from __future__ import annotations

import threading
import time

from widgets_support import until

from aiotwin_nb.widgets.latest import Latest


def test_questions_that_are_overtaken_are_dropped_and_the_newest_is_answered():
    answered, gate, busy = [], threading.Event(), threading.Event()

    def work(number):
        answered.append(number)
        busy.set()
        gate.wait(5)

    latest = Latest(work)
    latest.ask(0)
    assert busy.wait(5)
    for number in range(1, 50):
        latest.ask(number)
    assert latest.overtaken
    gate.set()
    until(lambda: answered == [0, 49])
    latest.close()


def test_it_waits_until_the_dust_settles():
    answered = []
    latest = Latest(answered.append, settle=0.15)
    for number in range(10):
        latest.ask(number)
        time.sleep(0.02)
    assert answered == []
    until(lambda: answered == [9])
    latest.close()


def test_closing_ends_the_thread_and_takes_no_more_questions():
    answered = []
    latest = Latest(answered.append, name="aiotwin-test-latest")
    latest.ask(1)
    until(lambda: answered)
    latest.close()
    latest.close()
    latest.ask(2)
    assert "aiotwin-test-latest" not in {thread.name for thread in threading.enumerate()}
    assert answered == [1]
