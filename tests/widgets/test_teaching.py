"""Figures that teach are not blank, and their words say the numbers."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from test_figures import record, summary
from test_sweeps import outcome

import aiotwin_nb as at
from aiotwin_nb import api
from aiotwin_nb.sweep import Sweep
from aiotwin_nb.widgets.figures import png
from aiotwin_nb.widgets.teaching import (
    draw_clusters,
    draw_cost_tiers,
    draw_futures,
    draw_pareto,
    draw_seeds,
    draw_spending,
)

CLUSTERS = {"n2": ["n4", "n5", "n6"], "n3": ["n7", "n8"]}


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts] + [text.get_text() for text in figure.texts]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def seeds_sweep(seeds=(1, 2, 3)):
    outcomes = [
        outcome({"validation.policy": policy, "seed": seed}, accuracy + seed)
        for policy, accuracy in (("always_keep", 80), ("always_revert", 70))
        for seed in seeds
    ]
    return Sweep("improvement", ("validation.policy",), "stacked", Path("out"), outcomes)


def all_figures():
    scenario = at.load_scenario("improvement")
    yield draw_futures(summary(record()), summary(record(decision="reverted")))
    yield draw_clusters(scenario, CLUSTERS)
    yield draw_cost_tiers(scenario)
    yield draw_pareto(api.compare_plans(scenario))
    yield draw_seeds(seeds_sweep())


def test_every_picture_shows_something_on_white_and_stays_readable_in_grey():
    for figure in all_figures():
        image = imread(BytesIO(png(figure, dpi=60)))[..., :3]
        grey = image @ np.array([0.299, 0.587, 0.114])
        assert 0.002 < (grey < 0.5).mean() < 0.4, figure.get_label()  # dark ink that does not cover the page
        assert (image[0, 0] == 1).all()
        assert len(figure.get_label()) > 60


def test_both_futures_and_the_road_not_taken_start_where_the_change_was_made():
    other = summary(record(decision="reverted"))
    figure = draw_futures(summary(record()), other)
    (line,) = (line for line in figure.axes[0].lines if "road not taken" in str(line.get_label()))
    rows = {row["round"]: row for row in other["history"]}
    assert line.get_xdata()[0] == rows[4]["total_cost"]
    assert list(line.get_ydata()) == [row["accuracy"] for number, row in rows.items() if number >= 4]
    assert f"{other['final_accuracy']:.1f} %" in figure.get_label()
    words = " ".join(legend(figure))
    assert "old configuration: 70.0 % predicted" in words
    assert "new configuration: 80.0 % predicted" in words
    assert "predicted 80.0 % with the change, 70.0 % without" in figure.get_label()
    assert "road" not in draw_futures(summary(record())).get_label()


def test_the_clusters_heat_map_says_counts_and_the_strategies_imbalance():
    scenario = at.load_scenario("improvement")
    figure = draw_clusters(scenario, CLUSTERS)
    compared = api.compare_plans(scenario, ["min_comm_cost"])["strategies"][0]
    assert compared["clusters"] == CLUSTERS
    assert f"Mean KL (imbalance): {compared['imbalance']:.3f} nats" in figure.get_label()
    assert "40 of label 8" in figure.get_label()
    assert texts(figure).count("40") == 9 + 6
    grown = draw_clusters(scenario, {"n2": CLUSTERS["n2"], "n3": ["n7", "n8", "n9"]})  # who joins is known
    assert "40 of label 9" in grown.get_label()


def test_where_the_task_divides_the_data_the_heat_map_says_so():
    scenario = at.load_scenario("improvement")
    nodes = [node.model_copy(update={"data": {}}) for node in scenario.nodes]
    figure = draw_clusters(scenario.model_copy(update={"nodes": nodes}), CLUSTERS)
    assert "nothing is known" in figure.get_label()


def test_cost_by_tier_is_that_of_the_plan():
    figure = draw_cost_tiers(at.load_scenario("improvement"))
    assert "a round at the start: 660 for clients" in figure.get_label()
    assert "the change after round 10: 165" in figure.get_label()
    assert "a round after round 10: 1,320 for clients ↔ aggregators, L times a round and 660" in figure.get_label()
    assert {"1,320", "165", "1,980"} <= set(texts(figure))
    assert len({patch.get_hatch() for patch in figure.axes[0].patches}) == 3  # told apart without colour


def test_cost_by_tier_of_flat_learning_counts_a_round_once():
    scenario = at.load_scenario("cluster-24")
    flat = at.plan(scenario, strategy__name="flat")["initial"]
    label = draw_cost_tiers(scenario, {"flat": flat["clusters"]}).get_label()
    assert f"flat: {flat['round_cost']:,} for clients" in label


def test_a_cost_that_is_no_sum_stays_undivided():
    fast = [
        {**node.model_dump(mode="json", exclude_none=True), "rates": dict.fromkeys(node.links, 10), "speed": 400}
        for node in at.load_scenario("improvement").nodes
    ]
    values = {"cost__model": "wall_time", "strategy__name": "random", "nodes": fast, "events": []}
    scenario = api.resolve("improvement", values)
    cost = at.plan(scenario)["initial"]["round_cost"]
    assert f"a round at the start: {cost:,} for rounds" in draw_cost_tiers(scenario).get_label()


def test_spending_adds_up_to_the_ledger():
    scenario = at.load_scenario("improvement")
    ledger = [{"round": r, "kind": "round", "cost": 1320 if r <= 10 else 1980} for r in range(1, 13)]
    ledger += [{"round": 10, "kind": "change", "cost": 165}, {"round": 12, "kind": "revert", "cost": 5}]
    history = [
        {"round": r, "clusters": CLUSTERS if r <= 10 else {**CLUSTERS, "n3": ["n7", "n8", "n9"]}} for r in range(1, 13)
    ]
    told = {"scenario": "improvement", "seed": 1, "budget": 20000, "history": history, "ledger": ledger}
    figure = draw_spending(told, scenario)
    total = sum(entry["cost"] for entry in ledger)
    clients = 10 * 660 + 2 * 1320
    assert f"What {total:,} cost units were spent on: {clients:,} for clients" in figure.get_label()
    assert f"{12 * 660:,} for local aggregators" in figure.get_label()
    assert "165 for the change itself" in figure.get_label()
    assert "5 for going back" in figure.get_label()
    assert f"{20000 - total:,} of 20,000 were left" in figure.get_label()


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3), tuple(range(1, 24))])
def test_small_multiples_have_a_panel_a_seed_and_tell_all_ends(seeds):
    figure = draw_seeds(seeds_sweep(seeds))
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == min(len(seeds), 20)
    assert [line.get_ydata()[-1] for line in panels[0].lines] == [81, 71]
    assert len({str(line.get_linestyle()) + line.get_color() for line in panels[0].lines}) == 2
    assert f"seed {seeds[-1]}: {80 + seeds[-1]:.1f} / {70 + seeds[-1]:.1f}" in figure.get_label()
    assert legend(figure) == ["validation.policy always_keep", "validation.policy always_revert"]


def test_a_seed_that_failed_is_told():
    sweep = seeds_sweep((1,))
    broken = Sweep(sweep.source, sweep.keys, sweep.runtime, sweep.folder, [
        sweep.outcomes[0], type(sweep.outcomes[1])(sweep.outcomes[1].cell, None, "boom"),
    ])  # fmt: skip
    assert "seed 1: 81.0 / failed" in draw_seeds(broken).get_label()
