"""A lab on another data set is the same lab with other amounts."""

import pytest

import aiotwin_nb as at
from aiotwin_nb.cli import main
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.scenario import lab_names, load_scenario


def test_nodes_links_and_costs_stay_amounts_follow_the_rule():
    digits, fashion = load_scenario("improvement"), load_scenario("improvement@fashion_mnist")
    assert fashion.task.name == "fashion_mnist"
    assert fashion.name == "improvement-on-fashion-mnist"
    assert float(fashion.task.learning_rate) == 0.002
    assert fashion.objective.budget == 60000
    assert fashion.infrastructure.nodes["n4"].data == {0: 100, 1: 100, 2: 100}
    assert fashion.events[0].add[0].data == {7: 100, 8: 100, 9: 100}
    assert fashion.infrastructure.nodes["n4"].links == digits.infrastructure.nodes["n4"].links
    assert at.plan(fashion)["initial"] == at.plan(digits)["initial"]


@pytest.mark.parametrize("lab", [name for name in lab_names() if load_scenario(name).task.name == "digits"])
def test_every_lab_on_digits_can_be_recast(lab):
    assert load_scenario(f"{lab}@fashion_mnist").task.test_samples == 2000


def test_overrides_come_after_the_rule():
    assert load_scenario("hands-on@fashion_mnist", overrides={"objective.budget": 5000}).objective.budget == 5000
    assert load_scenario("hands-on@fashion_mnist", seed=7).seed == 7


def test_noise_and_changed_data_are_kept():
    overrides = {"events": [{"after_round": 4, "data": {"n4": {0: 10}}}]}
    scenario = load_scenario("hands-on", overrides=overrides)
    from aiotwin_nb.scenario.recast import recast

    assert recast(scenario, "fashion_mnist")["events"][0]["data"] == {"n4": {"0": 25}}
    noisy = load_scenario("degradation-mislabelled@fashion_mnist").events[0].add[0]
    assert (noisy.label_noise.kind, noisy.label_noise.share) == ("shift", 1.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("improvement@fashion-mnist", "Did you mean 'fashion_mnist'?"),
        ("improvement@", "there may be fashion_mnist"),
        ("improvemnt@fashion_mnist", "Did you mean 'improvement'?"),
        ("improvement-fashion@fashion_mnist", "this one is on fashion_mnist"),
    ],
)
def test_what_cannot_be_is_one_sentence(name, message, capsys):
    with pytest.raises(InvalidInput) as refused:
        load_scenario(name)
    assert message in str(refused.value)
    assert main(["plan", name]) == 2
    assert "Traceback" not in capsys.readouterr().err
