"""Answers measured on their way count for instances and nodes only."""

from aiotwin_nb.inference.monitoring import Answer, Windows


def test_answers_measured_on_the_way_are_not_counted_twice():
    windows = Windows()
    windows.add(Answer("west", "", "", 30, bound_ms=100))
    windows.add(Answer("", "a", "n1", 10, bound_ms=100))
    window = windows.close(1.0)
    assert window.total.requests == 1
    assert list(window.clients) == ["west"]
    assert window.instances["a"].mean_ms == window.nodes["n1"].mean_ms == 10
