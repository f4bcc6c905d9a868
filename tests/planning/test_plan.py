from __future__ import annotations

import subprocess
import sys

import pytest

from aiotwin_nb.continuum import Change, Infrastructure
from aiotwin_nb.errors import InfeasiblePlan, InvalidInput
from aiotwin_nb.planning import Configuration, make_plan, strategies

from .support import request_for


@pytest.fixture
def returning(monkeypatch):
    """Register a strategy that returns what the test says."""

    def register(configuration, strategy=None):
        monkeypatch.setitem(strategies._items, "mine", strategy or (lambda request: configuration))

    return register


def test_unknown_strategy_and_arguments(hands_on):
    with pytest.raises(InvalidInput, match="Did you mean 'min_comm_cost'"):
        make_plan("min_com_cost", {}, request_for(hands_on))
    with pytest.raises(InvalidInput, match="flat has no argument 'window'; it takes none") as error:
        make_plan("flat", {"window": 3}, request_for(hands_on))
    assert error.value.exit_code == 2
    with pytest.raises(InvalidInput, match=r"allowed are clusters, default\. Did you mean 'clusters'"):
        make_plan("manual", {"cluster": {}}, request_for(hands_on))


def test_arguments_reach_the_strategy(hands_on, returning):
    seen = []
    returning(None, lambda request, size=1, **more: seen.append((size, more)) or request.flat())
    make_plan("mine", {"size": 2, "free": True}, request_for(hands_on))
    assert seen == [(2, {"free": True})]


ALL = ["n4", "n5", "n6", "n7", "n8"]


@pytest.mark.parametrize(
    ("clusters", "words"),
    [
        ({"n2": ALL[:4]}, "client n8 is in 0 clusters"),
        ({"n2": ALL, "n3": ["n8"]}, "client n8 is in 2 clusters"),
        ({"n2": [*ALL, "n77"]}, "n77 is in a cluster, but there is no such client"),
        ({"n9": ALL}, "placed at n9, which is no local aggregator; known are n2, n3"),
        ({"n1": ["n4"], "n2": ALL[1:]}, "use either the one or the others"),
    ],
)
def test_what_a_strategy_returns_is_verified(hands_on, returning, clusters, words):
    returning(Configuration.of("n1", clusters, epochs=1, local_rounds=1))
    with pytest.raises(InfeasiblePlan, match=f"strategy mine: .*{words}"):
        make_plan("mine", {}, request_for(hands_on))


def test_other_global_aggregator_and_no_epochs_are_refused(hands_on, returning):
    for configuration, words in [
        (Configuration.of("n2", {"n2": ALL}, epochs=1, local_rounds=1), "it must be n1"),
        (Configuration.of("n1", {"n2": ALL}, epochs=0, local_rounds=1), "epochs is 0"),
    ]:
        returning(configuration)
        with pytest.raises(InfeasiblePlan, match=words):
            make_plan("mine", {}, request_for(hands_on))


def test_links_are_verified(hands_on, returning):
    returning(Configuration.of("n1", {"n2": ALL}, epochs=1, local_rounds=1))
    no_uplink = [n for n in hands_on.nodes.values() if n.id != "n2"]
    no_uplink.append(type(no_uplink[0])("n2", hands_on.nodes["n2"].role))
    with pytest.raises(InfeasiblePlan, match="no link between n2 and n1"):
        make_plan("mine", {}, request_for(Infrastructure.of(no_uplink)))


def test_nobody_left_to_train(hands_on):
    empty = hands_on.apply(Change(removed=tuple(ALL)))
    with pytest.raises(InfeasiblePlan, match="no client to train"):
        make_plan("min_comm_cost", {}, request_for(empty))


def test_importing_the_package_is_light():
    code = "import sys, aiotwin_nb.planning; print({'numpy', 'scipy', 'pandas', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
