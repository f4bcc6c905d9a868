"""Every lab shows what it is for: both branches over ten seeds, decided by the orchestrator, judged by the oracle."""

import pytest

from aiotwin_nb import compare, plan

SEEDS = range(1, 11)


@pytest.fixture(scope="module")
def branches():
    """Branches of a lab over the seeds, computed once."""
    found = {}

    def of(lab):
        if lab not in found:
            found[lab] = compare(lab, seeds=SEEDS)["branches"]
        return found[lab]

    return of


def count(branches, **wanted):
    return sum(all(branch[key] == value for key, value in wanted.items()) for branch in branches)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("lab", "decision", "best", "at_least"),
    [
        ("improvement", "kept", "kept", 9),
        ("degradation", "reverted", "reverted", 9),
        ("degradation-mislabelled", "reverted", "reverted", 9),
        ("wrong-revert", "reverted", "kept", 9),
        ("wrong-keep", "kept", "reverted", 7),
        ("removal", "kept", "kept", 9),
    ],
)
def test_decision_and_oracle(branches, lab, decision, best, at_least):
    of_lab = branches(lab)
    assert len(of_lab) == len(SEEDS)
    assert count(of_lab, decision=decision, best=best) >= at_least, of_lab


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_reverted_branch_pays_for_change_window_and_revert(branches):
    """Reverting buys more rounds than keeping, but fewer than never having changed."""
    never = (100000 - 10 * 1320) // 1320 + 10
    for branch in branches("improvement"):
        assert branch["kept"]["rounds"] < branch["reverted"]["rounds"] < never
        assert branch["kept"]["total_cost"] <= 100000
        assert branch["reverted"]["total_cost"] <= 100000


def test_hands_on_says_that_its_accuracies_are_not_the_slides():
    from aiotwin_nb.scenario import lab_path

    text = lab_path("hands-on").read_text()
    assert "accuracies are therefore not the slides'" in text


@pytest.mark.parametrize("lab", ["hands-on", "improvement", "degradation", "wrong-revert", "wrong-keep", "removal"])
def test_labs_use_the_link_table_of_the_hands_on(lab):
    from aiotwin_nb.scenario import load_scenario

    nodes = load_scenario(lab).infrastructure.nodes
    for client, links in {
        "n4": {"n1": 120, "n2": 20, "n3": 60},
        "n6": {"n1": 120, "n2": 20, "n3": 60},
        "n8": {"n1": 120, "n2": 60, "n3": 20},
    }.items():
        assert nodes[client].links == links
    assert plan(lab)["initial"]["clusters"]["n2"] == ["n4", "n5", "n6"]
