"""Live plots show what the rows say, keep up, stand still when told to, and leave files and no threads behind."""

from __future__ import annotations

import csv
import math
import threading
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.tracking import WandbApiSource
from aiotwin_nb.tracking.pace import Pace
from aiotwin_nb.widgets.curves import CHARTS, DEFAULT, Story
from aiotwin_nb.widgets.live_figure import DARK, LiveFigure, encode_png
from aiotwin_nb.widgets.metrics import MetricsPanel
from aiotwin_nb.widgets.painter import Painter
from aiotwin_nb.widgets.session import Session


def wait_until(true, seconds=10.0):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def pixels(png: bytes) -> np.ndarray:
    return imread(BytesIO(png), format="png")


@pytest.fixture
def session(tracked_run: Path):
    session = Session("improvement")
    session.attach(tracked_run)
    yield session
    session.close()


@pytest.fixture
def panel(session: Session):
    panel = MetricsPanel(session)
    yield panel
    panel.close()


@pytest.fixture
def story(session: Session) -> Story:
    return Story.of_run(session.snapshot)


def part(story: Story, rounds: int) -> Story:
    """The story as it was some rounds after the start."""
    return replace(story, rows=story.rows[: rounds + 1], status="running")


def steady(story: Story) -> Story:
    """The story on a machine that never has anything else to do."""
    rows = ({key: 0.1 if "seconds" in key else value for key, value in row.items()} for row in story.rows)
    return replace(story, rows=tuple(rows))


# The story.


def test_the_story_has_the_change_the_decision_and_both_futures(story: Story):
    assert [(mark.round, mark.decided) for mark in story.marks] == [(4, False), (7, True)]
    assert story.marks[0].text == "n9 joins"
    assert [future.which for future in story.futures] == ["old", "new"]
    assert all(future.interval is not None for future in story.futures)


def test_rows_alone_tell_the_same_story(story: Story):
    told = Story.of_rows("remote", story.rows)
    assert (told.marks, told.budget, told.expected >= 11) == (story.marks, story.budget, True)
    for mine, theirs in zip(told.futures, story.futures, strict=True):
        known = ("which", "predicted", "interval", "end", "now", "paid", "round_cost")
        assert [getattr(mine, name) for name in known] == [getattr(theirs, name) for name in known]
        assert mine.trend[: len(theirs.trend)] == theirs.trend[: len(mine.trend)]


def test_what_rests_on_rows_that_are_not_here_yet_is_left_out(session: Session):
    early = Story.of_run(replace(session.snapshot, rows=session.snapshot.rows[:6]))
    assert [mark.round for mark in early.marks] == [4]
    assert early.futures == ()
    gap = Story.of_run(replace(session.snapshot, rows=(*session.snapshot.rows[:3], *session.snapshot.rows[4:])))
    assert (gap.marks, gap.futures) == ((), ())


@pytest.mark.parametrize("key", CHARTS)
def test_every_chart_has_the_values_of_its_rows(story: Story, key: str):
    chart = CHARTS[key]
    for series in story.series(chart):
        metric = chart.y.replace("*", series.name)
        expected = [row.get(metric, math.nan) for row in story.rows]
        if key == "round_cost":
            expected[0] = math.nan
        np.testing.assert_array_equal(series.y, expected)
        assert list(series.x) == [row[chart.x] for row in story.rows]
    assert len(story.series(chart)) == (6 if chart.of_clients else 1)


# The figure.


@pytest.mark.parametrize("charts", [DEFAULT, tuple(CHARTS), ("loss",)])
def test_what_is_drawn_over_a_kept_background_is_what_a_new_figure_shows(story: Story, charts):
    live, story = LiveFigure(charts), steady(story)
    live.paint(part(story, 9))
    assert not live.show(part(story, 10)), "the background was not kept"
    fresh = LiveFigure(charts)
    fresh.show(part(story, 9))  # the same room on the axes
    assert live.paint(part(story, 10)) == fresh.paint(part(story, 10))
    assert live.paint(part(story, 10)) != live.paint(part(story, 9))


def test_points_outside_the_axes_make_new_ones(story: Story):
    live = LiveFigure(("loss",))
    live.paint(story)
    peak = {**story.rows[-1], "round": 12, "global/loss": 50.0}
    assert live.show(replace(story, rows=(*story.rows, peak)))


def test_values_that_are_no_numbers_leave_gaps(story: Story):
    odd = {**story.rows[-1], "round": 12, "global/loss": math.nan, "global/accuracy": None}
    LiveFigure(tuple(CHARTS)).paint(replace(story, rows=(*story.rows, odd)))
    assert "accuracy" not in replace(story, rows=(odd,)).words()


def test_many_clients_become_a_median(story: Story):
    rows = [
        {"round": r, "cost/total": r, **{f"client/c{i}/seconds": i + r for i in range(20)}} for r in range(5)
    ]  # fmt: skip
    live = LiveFigure(("seconds",), selected="c3")
    live.paint(Story("many", tuple(rows)))
    (axes,) = live.figure.axes
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["median of 20 clients", "c3"]
    median = next(line for line in axes.lines if line.get_label() not in {f"c{i}" for i in range(20)})
    np.testing.assert_array_equal(median.get_ydata(), [9.5 + r for r in range(5)])


def test_the_png_has_the_pixels():
    chance = np.random.default_rng(1).integers(0, 256, (7, 5, 4), dtype=np.uint8)
    np.testing.assert_array_equal(np.round(255 * pixels(encode_png(chance))), chance[:, :, :3])


# The painter.


def test_a_burst_is_painted_twice_and_ends_with_the_last_state():
    state, painted = [0], []

    def paint() -> bool:
        painted.append((time.monotonic(), state[0]))
        return True

    painter = Painter(paint, pause=0.3, name="aiotwin-test")
    for number in range(1, 51):
        state[0] = number
        painter.touch()
        time.sleep(0.002)
    wait_until(lambda: painted[-1][1] == 50)
    painter.close()
    assert len(painted) == 2
    assert painted[1][0] - painted[0][0] >= 0.29


def test_a_picture_that_fails_does_not_end_the_painter(caplog):
    calls = []

    def paint() -> bool:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("no")
        return False

    painter = Painter(paint, pause=0.01, name="aiotwin-test")
    painter.touch()
    wait_until(lambda: calls)
    painter.touch()
    wait_until(lambda: len(calls) == 2)
    painter.close()
    painter.touch()
    assert "aiotwin-test" in caplog.text
    assert not [thread for thread in threading.enumerate() if thread.name == "aiotwin-paint"]


# The panel.


def test_without_a_run_words_say_so():
    session = Session("improvement")
    panel = MetricsPanel(session)
    assert panel.picture() is None
    assert "no run yet" in panel.describe()
    assert "image/png" not in panel._repr_mimebundle_()
    with pytest.raises(InvalidInput, match="no round has finished"):
        panel.export("csv")
    panel.close()
    session.close()


def test_a_run_is_painted_with_words_for_those_who_do_not_see_it(panel: MetricsPanel):
    wait_until(lambda: panel.image.png)
    wait_until(lambda: pixels(panel.image.png).shape[1] == 2 * panel.image.width)  # at rest it is sharp
    assert "after round 4 n9 joins" in panel.image.alt
    assert "predicted at round" in panel.image.alt
    assert panel.image.words.startswith("Round 11: accuracy")
    assert panel.image.warning == ""
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == panel.describe()
    assert panel.picture().png


def test_what_is_wrong_with_the_log_is_shown(panel: MetricsPanel, session: Session):
    wait_until(lambda: panel.image.png)
    session.snapshot = replace(session.snapshot, problem="The W&B log lacks round 4", origin="W&B and the journal")
    wait_until(lambda: panel.image.warning == "The W&B log lacks round 4")
    assert "lacks round 4" in panel.describe()
    wait_until(lambda: "W&B and the journal" in panel.image.words)


def test_metrics_are_chosen(panel: MetricsPanel):
    def shape():
        return pixels(panel.image.png).shape[:2] if panel.image.png else None

    wait_until(lambda: shape() == (1020, 1800))
    panel.charts = ("loss", "seconds")
    wait_until(lambda: shape() == (510, 1800))
    assert "(Loss over rounds, Clients: seconds a round)" in panel.image.alt
    with pytest.raises(InvalidInput, match=r"'los' is not known.*Did you mean 'loss'"):
        panel.charts = ("los",)
    assert panel.charts == ("loss", "seconds")
    panel.charts = ()
    assert panel.picture() is None


def test_a_paused_panel_stands_still_and_catches_up(panel: MetricsPanel, session: Session):
    wait_until(lambda: panel.image.png and not panel._blurred)
    panel.pause.value = True
    assert "Paused" in panel.image.words
    before, snapshot = panel.image.png, session.snapshot
    session.snapshot = replace(snapshot, rows=snapshot.rows[:6])
    time.sleep(0.7)
    assert panel.image.png == before
    panel.pause.value = False
    wait_until(lambda: panel.image.words.startswith("Round 5"))
    assert panel.image.png != before


def test_dark_pages_get_a_dark_picture_and_files_stay_white(panel: MetricsPanel):
    panel.image.dark = True
    wait_until(lambda: panel.image.png and pixels(panel.image.png)[0, 0, 0] < 0.2)
    assert pixels(panel.picture().png)[0, 0, 0] == 1
    assert pixels(panel.export("png").read_bytes())[0, 0, 0] == 1
    assert DARK.paper == "#111111", "JupyterLab's own"


def test_plots_and_rows_are_kept_beside_the_run(panel: MetricsPanel, session: Session, tracked_run: Path):
    files = {kind: panel.export(kind) for kind in ("png", "svg", "csv")}
    assert [path.name for path in files.values()] == ["short-plots.png", "short-plots.svg", "short-metrics.csv"]
    assert {path.parent for path in files.values()} == {tracked_run.parent}
    assert files["svg"].read_text().startswith("<?xml")
    with files["csv"].open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["round"]) for row in rows] == list(range(12))
    assert float(rows[-1]["global/accuracy"]) == session.snapshot.rows[-1]["global/accuracy"]
    with pytest.raises(InvalidInput, match="'pdf' is not known; known are png, svg, csv"):
        panel.export("pdf")


def test_a_click_saves_and_says_where(panel: MetricsPanel, tracked_run: Path):
    panel._save("csv")
    wait_until(lambda: panel._saved.value)
    assert "short-metrics.csv" in panel._saved.value
    assert 'download="short-metrics.csv" href="data:text/csv;base64,' in panel._saved.value
    assert (tracked_run.parent / "short-metrics.csv").exists()


def test_two_panels_on_one_run_and_closing_one(session: Session):
    one, other = MetricsPanel(session), MetricsPanel(session, charts=("loss",))
    wait_until(lambda: one.image.png and other.image.png)
    one.close()
    one.close()
    last = one.image.alt
    session.snapshot = replace(session.snapshot, rows=session.snapshot.rows[:4])
    wait_until(lambda: "Round 3" in other.image.alt)
    assert one.image.alt == last
    other.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "aiotwin-paint"]


# A run on a W&B server.


class Server:
    """What `wandb.Api` answers for one run."""

    def __init__(self, rows):
        self.rows, self.asked, self.broken, self.state = rows, 0, False, "running"

    def flush(self):
        pass

    def run(self, path):
        self.asked += 1
        if self.broken:
            raise ConnectionError("no route")
        steps = [{**row, "_step": i} for i, row in enumerate(self.rows)]
        return SimpleNamespace(
            state=self.state,
            lastHistoryStep=len(steps) - 1,
            scan_history=lambda min_step: [r for r in steps if r["_step"] >= min_step],
        )


def test_a_remote_run_is_plotted_and_a_broken_line_keeps_what_was_there(story: Story, tmp_path: Path):
    server = Server(list(story.rows[:5]))
    source = WandbApiSource("me/aiotwin/short", pace=Pace(0.05), api=server)
    plots = MetricsPanel.remote("me/aiotwin/short", source=source, folder=tmp_path)
    wait_until(lambda: plots.image.words.startswith("Round 4"))
    assert "The run goes on" in plots.image.words
    server.rows = list(story.rows)
    wait_until(lambda: plots.image.words.startswith("Round 11"))
    assert "the W&B server" in plots.image.words
    wait_until(lambda: "after round 7 kept" in plots.image.alt or "after round 7 reverted" in plots.image.alt)
    server.broken = True
    wait_until(lambda: "no route" in plots.image.warning)
    assert plots.image.words.startswith("Round 11")
    assert plots.export("csv") == tmp_path / "me-aiotwin-short-metrics.csv"
    plots.close()
    asked = server.asked
    time.sleep(0.2)
    assert server.asked == asked
