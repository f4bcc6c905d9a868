"""Policies side by side: simulated for real, told in words, a table and a picture."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.balancing import policies
from aiotwin_nb.inference.simulator import ORACLE
from aiotwin_nb.inference.simulator.families import family
from aiotwin_nb.widgets.figures import Picture
from aiotwin_nb.widgets.serving import (
    PolicyComparison,
    compare_policies,
    comparison_table,
    comparison_words,
    draw_comparison,
)

NAMES = ["round_robin", "qos_bandit", "round_robin"]


@pytest.fixture(scope="module")
def results():
    return compare_policies(replace(family("overload", 1), seconds=15.0), NAMES)


@pytest.fixture(scope="module")
def panel():
    """The panel with its first comparison."""
    panel = PolicyComparison("failure", 2)
    panel.wait()
    yield panel
    panel.close()


def test_each_policy_once_best_first_behind_the_oracle(results):
    assert results[0].policy == ORACLE
    assert sorted(result.policy for result in results[1:]) == ["qos_bandit", "round_robin"]
    assert results[1].qos >= results[2].qos
    assert len({len(result.time) for result in results}) == 1  # all had the same requests


def test_without_the_oracle_and_with_unknown_policies():
    short = replace(family("calm", 1), seconds=5.0)
    assert [result.policy for result in compare_policies(short, ["round_robin"], oracle=False)] == ["round_robin"]
    with pytest.raises(InvalidInput, match="Did you mean 'round_robin'"):
        compare_policies(short, ["round_robbin"])


def test_words_table_and_picture_say_the_same(results):
    words, table = comparison_words(results), comparison_table(results)
    for result, line in zip(results, table, strict=True):
        assert f"{line['policy']} {100 * result.qos:.1f} %" in words
        assert line["within_bound_percent"] == pytest.approx(100 * result.qos, abs=0.01)
        assert line["worst_client_percent"] <= line["within_bound_percent"] + 0.01
    figure = draw_comparison(results)
    assert figure.get_label() == words
    over_time, in_all = figure.axes
    assert len(over_time.lines) == len(in_all.patches) == len(results)
    looks = {(line.get_color(), line.get_linestyle()) for line in over_time.lines}
    assert len(looks) == len(results)


def test_the_panel_tells_what_it_compared(panel):
    assert {result.policy for result in panel.results} == {ORACLE, *policies.names()}
    assert panel.describe().startswith("Policies side by side. failure-2: share of")
    assert repr(panel) == panel.describe()
    assert isinstance(panel.picture(), Picture)
    assert panel.picture().html == panel._picture.value
    assert panel.verdict() in panel._told.value
    assert not panel.button.disabled


def test_all_controls_have_a_label(panel):
    assert all(box.description == name for name, box in panel.policies.items())
    assert all(control.description for control in (panel.family, panel.seed, panel.button))


def test_another_choice_is_compared_at_the_button(panel):
    for name, box in panel.policies.items():
        box.value = name in ("round_robin", "qos_bandit")
    panel.family.value, panel.seed.value = "calm", 5
    panel.button.click()
    panel.compare()  # one is under way: nothing is started twice
    results = panel.wait()
    assert results[0].scenario.name == "calm-5"
    assert len(results) == 3
    assert "calm-5" in panel._picture.value


def test_no_policy_chosen_is_said_and_nothing_is_lost(panel):
    before = panel.results
    for box in panel.policies.values():
        box.value = False
    panel.button.click()
    assert "Choose at least one policy" in panel._told.value
    assert "role='alert'" in panel._told.value
    assert panel.wait() is before
    assert not panel.button.disabled


@pytest.mark.parametrize(
    ("chosen", "words"),
    [(("overlod", 1), "Did you mean 'overload'"), (("overload", -1), "from 0"), (("overload", 10**7), "from 0")],
)
def test_wrong_choices_are_refused(chosen, words):
    with pytest.raises(InvalidInput, match=words):
        PolicyComparison(*chosen)
