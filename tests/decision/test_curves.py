import math
import random

import pytest

from aiotwin_nb.decision import Row, trends

NEW = ("power", "inverse_exponential", "logit_log", "average", "loss")
KNOWN = {
    "power": lambda x: 90 - 80 * (x + 1) ** -0.75,
    "inverse_exponential": lambda x: 85 - 70 * math.exp(-x / 10),
    "logit_log": lambda x: 100 / (1 + math.exp(-(-2 + 1.1 * math.log(x + 1)))),
}


def rows(curve, rounds, noise=0.0, seed=0):
    rng = random.Random(seed)
    return [Row(r, curve(r) + rng.gauss(0, noise), 2.3 * (r + 1) ** -0.4) for r in rounds]


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_curve_is_found_again(name):
    fit = trends.get(name).before(rows(KNOWN[name], range(13)))
    assert fit.at(50) == pytest.approx(KNOWN[name](50), abs=1.0)
    assert fit.points[0] == 1, "the untrained round is left out"


@pytest.mark.parametrize("name", NEW)
def test_predictions_and_intervals_stay_within_0_and_100(name):
    for curve in (lambda x: 20 + 8 * x, lambda x: 90 - 9 * x):
        fit = trends.get(name).window(rows(curve, range(1, 9)))
        low, high = fit.interval(200)
        assert 0 <= low <= fit.at(200) <= high <= 100


@pytest.mark.parametrize(("name", "least"), [("power", 3), ("inverse_exponential", 3), ("logit_log", 2), ("loss", 3)])
def test_too_few_rounds_are_no_fit_and_few_give_no_interval(name, least):
    trend = trends.get(name)
    assert trend.before([]) is None
    assert trend.before(rows(KNOWN["power"], range(least))) is None, "round 0 does not count"
    assert trend.window(rows(KNOWN["power"], range(5, 4 + least))) is None
    if name != "loss":
        assert trend.window(rows(KNOWN["power"], range(5, 5 + least))).interval(30) is None


@pytest.mark.parametrize("name", ["power", "inverse_exponential", "logit_log"])
def test_80_percent_intervals_cover_about_that_share(name):
    """The noise is normal on the scale that is fitted: the logit for logit_log, else the accuracy itself."""
    scale = 0.05 if name == "logit_log" else 0.7

    def noisy(x, rng):
        if name != "logit_log":
            return KNOWN[name](x) + rng.gauss(0, scale)
        share = KNOWN[name](x) / 100
        return 100 / (1 + math.exp(-math.log(share / (1 - share)) - rng.gauss(0, scale)))

    inside = 0
    for seed in range(150):
        rng = random.Random(seed)
        fit = trends.get(name).before([Row(r, noisy(r, rng), 1.0) for r in range(1, 16)])
        low, high = fit.interval(30)
        inside += low <= noisy(30, rng) <= high
    assert 0.68 <= inside / 150 <= 0.97


def test_the_interval_widens_with_distance():
    fit = trends.get("average").before(rows(KNOWN["power"], range(1, 12), noise=0.5))
    near, far = fit.interval(13), fit.interval(60)
    assert far[1] - far[0] > near[1] - near[0]


@pytest.mark.parametrize("name", NEW)
def test_first_x_reaching_a_target(name):
    fit = trends.get(name).before(rows(KNOWN["power"], range(13)))
    x = fit.first_x_reaching(75)
    assert fit.at(x) >= 75 > fit.at(x - 1)
    assert fit.first_x_reaching(0) == 0
    assert trends.get(name).before(rows(lambda x: 30.0 - x, range(13))).first_x_reaching(90) is None


def test_the_loss_trend_reads_accuracy_off_the_loss():
    """Accuracy stands still for a while; the loss already says that it will rise."""
    curve = [Row(r, 95 + 12 * math.log(2.3 * (r + 1) ** -0.6), 2.3 * (r + 1) ** -0.6) for r in range(1, 10)]
    fit = trends.get("loss").before(curve)
    assert fit.at(20) == pytest.approx(95 + 12 * math.log(2.3 * 21**-0.6), abs=0.01)


def test_a_loss_that_is_no_number_is_left_out():
    good = rows(KNOWN["power"], range(1, 8))
    assert trends.get("loss").before([*good, Row(8, 80.0, math.nan), Row(9, 80.0, math.inf)]).points == tuple(
        range(1, 8)
    )
