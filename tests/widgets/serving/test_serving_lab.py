"""The panel of a site that runs: what it shows, what it lets one do, and that it ends what it started."""

from __future__ import annotations

import pytest
from widgets_support import until

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.site import Site, load_site
from aiotwin_nb.widgets.serving import ServingLab

pytestmark = pytest.mark.slow
PATIENCE = 60.0  # seconds that a busy machine may need for a window


def shown(lab, condition):
    """Wait until the panel shows a snapshot of which something holds, and return it."""
    return until(lambda: lab._last is not None and condition(lab._last) and lab._last, PATIENCE)


def refused(lab):
    return lab._refused.value


def do(lab, what, whom, amount=None):
    """Do something with the controls, as a person does."""
    controls = lab.controls
    controls.what.value = what
    until(lambda: whom in controls.whom.options, PATIENCE)
    controls.whom.value = whom
    if amount is not None:
        controls.amount.value = amount
    controls.button.click()


def node(snapshot, name):
    return next(each for each in snapshot["nodes"] if each["id"] == name)


def test_pictures_and_words_follow_the_site(lab):
    shown(lab, lambda now: now["qos"] is not None)
    until(lambda: lab.quality.png and "in time in the last window" in lab.quality.alt, PATIENCE)
    assert lab.map.png.startswith(b"\x89PNG")
    assert lab.map.alt.startswith("counting under qos_bandit: ")
    title, map_words, quality = lab.describe().split("\n\n")
    assert title == lab.title
    assert "west-cameras at west" in map_words
    assert "in time in the last window" in quality
    assert repr(lab) == lab.describe()
    assert lab.picture().alt == quality
    assert 0 <= lab.results()["qos_bandit"] <= 100


def test_controls_name_what_there_is_and_what_an_amount_is(lab):
    controls = lab.controls
    shown(lab, lambda now: now["instances"])
    named = {}
    for what in controls.what.options:
        controls.what.value = what
        named[what] = (controls.amount.description, controls.amount.disabled)
        assert controls.whom.options
        assert controls.whom.value in controls.whom.options
    assert named["overload"] == ("times slower", False)
    assert named["slow link"] == ("ms there and back", False)
    assert named["new node"] == ("ms away", False)
    assert named["traffic burst"] == ("times as many", False)
    assert named["kill"][1]
    assert named["restore"][1]
    assert all(each.description for each in (*controls.children, lab.policy))


def test_an_overload_is_done_shown_noted_and_ended(lab):
    do(lab, "overload", "west", 6.0)
    assert refused(lab) == ""
    assert lab.events[-1][1] == "west 6× slower"
    do(lab, "restore", "west")
    assert lab.events[-1][1] == "west restored"
    shown(lab, lambda now: all(each["factor"] == 1 for each in now["instances"]))


@pytest.mark.parametrize(
    ("what", "whom", "amount", "words"),
    [
        ("overload", "west", 0.5, "from 1 (no overload) to 1000"),
        ("overload", "west", float("nan"), "factor: is nan"),
        ("slow link", "west–cloud", -1.0, "0 to 60 000 ms"),
        ("new node", "near cloud", -3.0, "rtt_ms"),
        ("traffic burst", "west-cameras", 1e6, "from 0 to 100"),
    ],
)
def test_what_cannot_be_done_is_said_beside_the_controls_and_stays(lab, what, whom, amount, words):
    events = list(lab.events)
    do(lab, what, whom, amount)
    assert words in refused(lab)
    assert "role='alert'" in refused(lab)
    drawn = lab._drawn
    until(lambda: lab._drawn > drawn, PATIENCE)
    assert words in refused(lab)  # a new window does not wipe it away
    assert lab.events == events


def test_a_node_is_killed_and_comes_back(lab):
    do(lab, "kill", "east")
    down = shown(lab, lambda now: not node(now, "east")["up"])
    assert "down: east" in until(lambda: lab.map.alt if "down: east" in lab.map.alt else "", PATIENCE)
    assert down["clients"]
    until(lambda: "east" not in lab.controls.whom.options, PATIENCE)  # who is down cannot be killed again
    do(lab, "restore", "east")
    shown(lab, lambda now: node(now, "east")["up"])


def test_a_link_a_newcomer_and_a_burst(lab):
    do(lab, "slow link", "west–cloud", 90.0)
    shown(lab, lambda now: {"a": "west", "b": "cloud", "rtt_ms": 90.0} in now["links"])
    do(lab, "new node", "near cloud", 7.0)
    do(lab, "new node", "near cloud", 8.0)  # at once: the next free name is taken
    assert refused(lab) == ""
    names = {each["id"] for each in shown(lab, lambda now: len(now["nodes"]) == 5)["nodes"]}
    assert {"edge1", "edge2"} <= names
    do(lab, "traffic burst", "west-cameras", 2.0)
    assert lab.events[-1][1] == "west-cameras × 2"


def test_policies_are_changed_by_the_control_and_by_the_method(lab):
    lab.policy.value = "round_robin"
    assert shown(lab, lambda now: now["policy"] == "round_robin")
    lab.use_policy("qos_bandit")
    assert lab.policy.value == "qos_bandit"
    with pytest.raises(InvalidInput, match="qos_bandit"):
        lab.use_policy("qos_bandi")
    assert lab.policy.value == "qos_bandit"
    assert lab.site.snapshot()["policy"] == "qos_bandit"


def test_a_site_that_runs_is_taken_over_as_it_is_and_may_be_closed_by_others():
    spec = load_site("two-sides")
    with Site(spec.model_copy(update={"name": "other", "window_s": 0.3})) as site:
        site.use_policy("round_robin")
        lab = ServingLab(site)
        assert lab.policy.value == "round_robin"
        shown(lab, lambda now: now["qos"] is not None)
        words = lab.describe()
    lab.policy.value = "qos_bandit"
    assert "does not run" in refused(lab)
    assert lab.policy.value == "round_robin"
    assert words.splitlines()[0] in lab.describe()
    assert lab.results().keys() == {"round_robin"}
    lab.close()


def test_a_site_that_is_not_there():
    with pytest.raises(InvalidInput, match="two-sides"):
        ServingLab("two-side")
