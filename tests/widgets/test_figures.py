"""Figures show what they claim: marks at the right rounds, futures at the right places, words for every case."""

from __future__ import annotations

import math
import re
from io import BytesIO
from itertools import combinations

import numpy as np
import pytest
from matplotlib.image import imread

import aiotwin_nb as at
from aiotwin_nb.widgets.figures import (
    GREEN,
    INK,
    ORANGE,
    VERMILION,
    Picture,
    alt_text,
    draw_data,
    draw_run,
    draw_topology,
    explain,
    png,
)

CLUSTERS = {"n2": ["n4", "n5"], "n3": ["n7"]}


def row(number, cost):
    return {
        "round": number,
        "accuracy": 10 + 25 * math.log(number + 1),
        "loss": 2.0,
        "cost": 0 if number == 0 else 1000,
        "total_cost": cost,
        "seconds": 0.1,
        "clusters": CLUSTERS,
    }


def record(**fields):
    """A change after round 4 at cost 500, decided after round 7."""
    trigger = {"added": ["n9"], "removed": [], "links": {}, "data": {}, "proactive": False}
    return {
        "after_round": 4,
        "trigger": trigger,
        "clusters": CLUSTERS,
        "aggregation_cost": 600,
        "change_cost": 500,
        "round_cost_before": 1000,
        "round_cost_after": 2000,
        "post_cost": 1000,
        "moved": [],
        "decision": "kept",
        "evaluation_round": 7,
        "budget_left_at_evaluation": 9500,
        "predicted_old": 70.0,
        "predicted_new": 80.0,
        "interval_old": [60.0, 85.0],
        "interval_new": [75.0, 90.0],
        "rounds_left_old": 9,
        "rounds_left_new": 4,
        "accuracy_at_evaluation": 61.0,
        "revert_cost": 300,
        "fit_old": {"a": 10.0, "b": 20.0, "first": 1, "last": 4, "horizon": 16},
        "fit_new": {"a": 10.0, "b": 25.0, "first": 5, "last": 7, "horizon": 11},
        "reason": "the new configuration is predicted to end higher",
        **fields,
    }


PAIRED = ("predicted_", "interval_", "rounds_left_", "fit_")
SINGLE = ("evaluation_round", "budget_left_at_evaluation", "accuracy_at_evaluation", "revert_cost")
UNDECIDED = dict.fromkeys([*SINGLE, *(name + which for name in PAIRED for which in ("old", "new"))])


def summary(*records, budget=20000, rounds=8):
    costs = [1000 * r + (0 if r <= 4 else 500 + 1000 * (r - 4)) for r in range(rounds + 1)]
    history = [row(r, cost) for r, cost in enumerate(costs)]
    return {
        "scenario": "toy",
        "seed": 3,
        "status": "finished",
        "rounds": rounds,
        "final_accuracy": history[-1]["accuracy"] if history else None,
        "total_cost": history[-1]["total_cost"] if history else 0,
        "budget": budget,
        "reconfigurations": list(records),
        "history": history,
    }


def verticals(axes, colour):
    """Where the vertical lines of a colour stand."""
    lines = (line for line in axes.get_lines() if line.get_color() == colour)
    return [line.get_xdata()[0] for line in lines if len(line.get_xdata()) == 2 and len(set(line.get_xdata())) == 1]


def trend(axes, colour):
    """The drawn trend of a colour: the one long line."""
    (line,) = (line for line in axes.get_lines() if line.get_color() == colour and len(line.get_xdata()) > 2)
    return np.array(line.get_xdata()), np.array(line.get_ydata())


def words(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def assert_not_blank(figure):
    pixels = imread(BytesIO(png(figure)))
    assert pixels.std() > 0.02
    assert (pixels[0, :, :3] == 1).all()  # an opaque white ground, also on a dark page
    assert (pixels[..., 3] == 1).all()


def test_axes_say_what_they_show():
    rounds, costs = draw_run(summary(record())).axes
    assert "accuracy" in rounds.get_ylabel()
    assert "%" in rounds.get_ylabel()
    assert rounds.get_xlabel() == "global round"
    assert costs.get_xlabel() == "spent cost (cost units)"


def test_the_change_and_the_decision_stand_at_their_rounds_and_costs():
    rounds, costs = draw_run(summary(record())).axes
    assert verticals(rounds, ORANGE) == [4]
    assert verticals(rounds, INK) == [7]
    assert verticals(costs, ORANGE) == [4000]
    assert verticals(costs, INK) == [20000, 10500]  # the budget and the decision


@pytest.mark.parametrize(("which", "colour", "end", "cost"), [("old", VERMILION, 16, 19800), ("new", GREEN, 11, 18500)])
def test_a_future_ends_where_the_budget_ends(which, colour, end, cost):
    rounds, costs = draw_run(summary(record())).axes
    x, y = trend(rounds, colour)
    assert x[-1] == end
    fit = record()[f"fit_{which}"]
    assert y[-1] == pytest.approx(fit["a"] + fit["b"] * math.log(end + 1))
    assert trend(costs, colour)[0][-1] == cost  # 10500 spent + revert 300 + 9 × 1000, or 10500 + 4 × 2000


def test_intervals_are_in_the_legend_and_in_the_picture():
    figure = draw_run(summary(record()))
    assert any("70.0 %" in text and "60.0 to 85.0" in text for text in legend(figure))
    assert any("80.0 %" in text and "75.0 to 90.0" in text for text in legend(figure))
    bars = [segment for c in figure.axes[0].collections for segment in c.get_segments()]
    assert sorted((s[0][0], s[0][1], s[1][1]) for s in bars) == [(11, 75, 90), (16, 60, 85)]


def test_the_originals_trend_is_drawn_one_round_earlier():
    fit = {"a": 10.0, "b": 20.0, "first": 1, "last": 5, "horizon": 16}
    x, y = trend(draw_run(summary(record(fit_old=fit))).axes[0], VERMILION)
    assert x[0] == 0
    assert y[0] == pytest.approx(10 + 20 * math.log(2))


def test_predictions_beyond_the_scale_are_drawn_at_its_edge_and_told():
    figure = draw_run(summary(record(predicted_new=152.7, fit_new={**record()["fit_new"], "b": 60.0})))
    assert trend(figure.axes[0], GREEN)[1].max() == 100
    assert any("152.7 %" in text for text in legend(figure))
    assert "^" in [line.get_marker() for line in figure.axes[0].get_lines()]


def test_a_target_that_is_never_reached_has_no_end():
    fit = {**record()["fit_old"], "horizon": None}
    changed = record(fit_old=fit, predicted_old=None, interval_old=None, rounds_left_old=None)
    figure = draw_run(summary(changed, budget=None))
    assert any("never reaches" in text for text in legend(figure))
    assert_not_blank(figure)


def test_a_target_far_away_leaves_the_run_readable():
    fit = {**record()["fit_old"], "horizon": 900_000}
    assert draw_run(summary(record(fit_old=fit), budget=None)).axes[0].get_xlim()[1] < 50


CASES = {
    "no reconfiguration": ([], []),
    "refused": ([record(**UNDECIDED | {"decision": "refused"})], ["n9 joins: refused"]),
    "removal": (
        [record(trigger={**record()["trigger"], "added": [], "removed": ["n4"]})],
        ["n4 leaves", "kept"],
    ),
    "forced": ([record(**UNDECIDED | {"decision": "forced"})], ["n9 joins: forced"]),
    "pending": ([record(**UNDECIDED | {"decision": "pending"})], ["n9 joins: pending"]),
    "reverted": ([record(decision="reverted")], ["n9 joins", "reverted"]),
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_run_can_be_drawn(case):
    records, expected = CASES[case]
    figure = draw_run(summary(*records))
    assert [text.get_text() for text in figure.axes[0].texts] == expected
    assert_not_blank(figure)
    for part in expected:
        assert part.partition(":")[0] in alt_text(summary(*records))
    assert explain(summary(*records))


def test_a_run_before_its_first_round_can_be_drawn():
    empty = {**summary(), "history": [], "final_accuracy": None, "rounds": 0, "total_cost": 0}
    assert_not_blank(draw_run(empty))
    assert "no round" in alt_text(empty)
    assert explain(empty) == "No round has finished yet."


def test_the_decision_to_draw_can_be_chosen():
    later = record(after_round=7, evaluation_round=8, predicted_new=33.3)
    assert any("33.3" in text for text in legend(draw_run(summary(record(), later))))
    assert any("80.0" in text for text in legend(draw_run(summary(record(), later), decision=0)))


def test_explanations_are_computed():
    text = explain(summary(record()))
    assert "After round 4: n9 joins" in text
    assert "after round 7" in text
    assert "higher for the new one. Decision: kept." in text
    assert "overlap" in text
    tie = record(predicted_old=100.0, predicted_new=100.0, interval_old=[99, 100], interval_new=[100, 100])
    assert "a tie keeps" in explain(summary(tie))
    against = record(predicted_old=90.0, reason="the policy always keeps")
    assert "because the policy always keeps" in explain(summary(against))


def test_topology_shows_nodes_costs_and_labels():
    lab = at.load_scenario("improvement")
    figure = draw_topology(lab, at.plan(lab)["reconfigurations"][0]["clusters"])
    shown = words(figure)
    for node in ("n1", "n2", "n9"):
        assert node in shown
    assert shown.count("20") == 5
    assert shown.count("100") == 3
    assert shown.count("9") == 1
    assert any("joins" in text for text in shown)
    assert "n9 joins" in figure.get_label()
    assert_not_blank(figure)


def test_flat_topology_leaves_the_local_aggregators_out():
    lab = at.load_scenario("improvement", overrides={"strategy.name": "flat"})
    figure = draw_topology(lab, at.plan(lab)["initial"]["clusters"])
    assert words(figure).count("not used") == 2
    assert words(figure).count("120") == 5


def test_labels_of_a_topology_do_not_collide():
    lab = at.load_scenario("wrong-keep")
    figure = draw_topology(lab, at.plan(lab)["reconfigurations"][0]["clusters"], title="a title")
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_words_of_marks_do_not_collide():
    changes = [record(**UNDECIDED | {"decision": "undecided", "after_round": r}) for r in (1, 2, 3, 7)]
    figure = draw_run(summary(*changes, rounds=8))
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
        assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)


def test_data_shows_counts_and_what_joins():
    figure = draw_data(at.load_scenario("wrong-keep"))
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[:5] == ["n4", "n5", "n6", "n7", "n8"]
    assert re.fullmatch(r"n9, joins after round 10, \d+ % of the labels random", names[5])
    assert words(figure).count("40") == 18
    assert_not_blank(figure)


def test_data_of_a_task_that_divides_it_itself():
    lab = at.load_scenario("improvement", overrides={"task.partition": {"kind": "iid"}})
    assert "divides the data" in draw_data(lab).get_label()


def test_a_client_without_data_is_an_empty_row():
    assert "n4 has none" in draw_data(at.load_scenario("improvement", overrides={"nodes.3.data": {}})).get_label()


def test_a_picture_carries_its_description():
    data, metadata = Picture(draw_run(summary()))._repr_mimebundle_()
    assert data["text/plain"] == alt_text(summary())
    assert metadata["image/png"]["alt"] == alt_text(summary())
    assert 'alt="Accuracy' in data["text/html"]
    assert png(draw_run(summary())) == png(draw_run(summary()))
