import numpy as np
import pytest
from flwr.app import RecordDict
from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import FedAvg

from fl_service import aggregation
from fl_service.errors import StrategyError


@pytest.mark.parametrize("name", aggregation.SUPPORTED)
def test_every_supported_strategy_is_built(name):
    strategy = aggregation.build(name, {}, learning_rate=0.1)
    assert type(strategy) is getattr(flower, name)
    assert (strategy.min_train_nodes, strategy.min_available_nodes, strategy.fraction_evaluate) == (1, 1, 0.0)


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("FedAvgg", {}, ["aggregation.name", "'FedAvgg'", "FedYogi", "Did you mean 'FedAvg'?"]),
        ("FedXgbBagging", {}, ["'FedXgbBagging'", "cannot be driven", "FedAvg"]),
        ("FedAdam", {"etta": 1}, ["aggregation.args (FedAdam)", "'etta'", "beta_1", "Did you mean 'eta'?"]),
        ("FedAdam", {"eta": "x"}, ["aggregation.args.eta", "'x'", "number"]),
        ("FedAdam", {"eta": float("nan")}, ["aggregation.args.eta"]),
        ("FedAvg", {"fraction_train": 0.5}, ["'fraction_train'", "allowed: none"]),
        ("Krum", {"num_malicious_nodes": 0.5}, ["whole number"]),
        ("FedTrimmedAvg", {"beta": 0.7}, ["FedTrimmedAvg", "0.7", "[0, 0.5)"]),
        ("QFedAvg", {}, ["client_learning_rate must be given"]),
        ("QFedAvg", {"client_learning_rate": 0}, ["client_learning_rate"]),
    ],
)
def test_wrong_names_and_arguments_are_refused_by_name(name, arguments, told):
    with pytest.raises(StrategyError) as refused:
        aggregation.build(name, arguments)
    for words in told:
        assert words in str(refused.value)


def test_memory_comes_back_bit_equal():
    strategy = aggregation.build("FedAdam", {"eta": 0.2})
    rng = np.random.default_rng(1)
    strategy.m_t = {"0.weight": rng.random((3, 4), np.float32), "0.bias": rng.random(4)}
    state = RecordDict()
    aggregation.capture(strategy, state)
    other = aggregation.build("FedAdam", {"eta": 0.3})
    aggregation.restore(other, state)
    assert other.eta == 0.3
    assert other.v_t is None
    for key, array in strategy.m_t.items():
        assert other.m_t[key].dtype == array.dtype
        assert (other.m_t[key] == array).all()


def test_lists_of_arrays_keep_their_order():
    strategy = aggregation.build("FedAvgM", {"server_momentum": 0.5})
    strategy.momentum_vector = [np.full(2, i) for i in range(12)]
    state = RecordDict()
    aggregation.capture(strategy, state)
    strategy.momentum_vector = None
    aggregation.restore(strategy, state)
    assert [int(v[0]) for v in strategy.momentum_vector] == list(range(12))


def test_a_strategy_whose_memory_is_no_data_is_refused_by_name():
    class Odd(FedAvg):
        def __init__(self):
            super().__init__()
            self.seen = {object()}

    with pytest.raises(StrategyError, match=r"'Odd'.*seen is a set"):
        aggregation.capture(Odd(), RecordDict())
