"""What a notebook keeps of a panel is up to date, and no more is sent than has changed."""

import threading

import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.figure import Figure
from moments import ROUNDS, moment

from aiotwin_nb import Lab
from aiotwin_nb.widgets import still
from aiotwin_nb.widgets.decisions import DecisionsPanel
from aiotwin_nb.widgets.figures import Picture
from aiotwin_nb.widgets.painter import Painter
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.still import Still


@pytest.fixture
def published(monkeypatch):
    """What goes to the front end: (display id, whether it replaces, data)."""
    sent = []

    def publish(data, *, display_id, update=False):
        sent.append((display_id, update, data))

    monkeypatch.setattr(still, "publish", publish)
    monkeypatch.setattr("aiotwin_nb.widgets.panel.publish", publish)
    monkeypatch.setattr("aiotwin_nb.widgets.panel.has_widgets", lambda: True)
    return sent


def picture(text):
    figure = Figure(figsize=(1, 1))
    figure.text(0, 0, text)
    return Picture(figure, alt=text)


# Painter.


def test_the_last_change_is_always_worked_in():
    seen, done, value = [], threading.Event(), 0
    busy = threading.Event()

    def work():
        seen.append(value)
        busy.wait(0.05)
        if value == 50:
            done.set()

    painter = Painter(work, pause=0.01, name="test")
    for value in range(1, 51):  # noqa: B007
        painter.touch()
    assert done.wait(5)
    assert len(seen) < 20
    painter.close()


def test_hurry_does_not_wait_for_the_rest():
    worked = threading.Semaphore(0)
    painter = Painter(worked.release, pause=60, name="test")
    painter.touch()
    assert worked.acquire(timeout=5)
    painter.touch()
    assert not worked.acquire(timeout=0.1)
    painter.touch(hurry=True)
    assert worked.acquire(timeout=5)
    painter.close()
    painter.close()
    painter.touch(hurry=True)
    assert not worked.acquire(timeout=0.1)


def test_work_that_fails_once_goes_on():
    worked, failures = threading.Semaphore(0), iter([ValueError("once")])

    def work():
        worked.release()
        for failure in failures:
            raise failure

    painter = Painter(work, pause=0, name="test")
    for _ in range(2):
        painter.touch()
        assert worked.acquire(timeout=5)
    painter.close()


# Still.


def test_words_are_escaped_and_the_style_sheet_names_the_panel(published):
    Still("KEY7", lambda: "a <b>\n\nsecond", lambda: None).show()
    (_, _, words), (_, _, empty) = published
    assert "<p>a &lt;b&gt;</p><p>second</p>" in words["text/html"]
    assert ".KEY7:not(.jupyter-widgets-disconnected)" in words["text/html"]
    assert words["text/plain"] == "a <b>\n\nsecond"
    assert empty == {"text/plain": ""}


def test_only_what_has_changed_is_sent_again(published):
    shown = {"words": "one", "picture": picture("one")}
    kept = Still("key", lambda: shown["words"], lambda: shown["picture"])
    kept.renew()
    assert published == []  # nobody shows it
    kept.show()
    kept.renew()
    assert len(published) == 2
    shown["words"] = "two"
    kept.renew()
    assert [(display_id == published[0][0], update) for display_id, update, _ in published[2:]] == [(True, True)]
    shown["picture"] = picture("two")
    kept.renew()
    assert published[3][0] == published[1][0]
    assert published[3][2]["text/plain"] == "two"


def test_every_cell_that_shows_it_is_renewed(published):
    words = iter("abc")
    kept = Still("key", lambda: next(words), lambda: None)
    kept.show()
    kept.show()
    kept.renew()
    renewed = [(display_id, data["text/plain"]) for display_id, update, data in published if update]
    assert [text for _, text in renewed] == ["b", "c", "c"]
    assert len({display_id for display_id, _ in renewed}) == 2


# Panels.


def test_a_panel_is_three_outputs_and_the_end_is_kept_at_once(published, tmp_path):
    session = Session("improvement")
    panel = DecisionsPanel(session)
    panel._ipython_display_()
    words, image, widget = (data for _, _, data in published)
    assert sorted(words) == ["text/html", "text/plain"]
    assert image == {"text/plain": ""}
    assert widget["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.model_id
    assert widget["text/plain"] == ""
    session.snapshot = moment(tmp_path, -1, **ROUNDS)
    panel._still.renew()  # as `wait` does, whether the painter has been there or not
    assert "✔ kept" in next(data["text/plain"] for _, update, data in published if update)
    assert any("image/png" in data for _, update, data in published if update)
    panel.close()
    session.close()


def test_in_a_terminal_there_are_words_only(tmp_path):
    shell = InteractiveShell.instance()
    try:
        lab = Lab("improvement", runs=tmp_path)
        data, _ = shell.display_formatter.format(lab)
        assert data["text/plain"].startswith("AIoTwin Lab")
        with pytest.raises(NotImplementedError):
            lab._ipython_display_()
        lab.close()
    finally:
        InteractiveShell.clear_instance()
