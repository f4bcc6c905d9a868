import math

import pytest

from aiotwin_nb.decision import Row, fit_log, trends


def rows(*accuracies, first=0):
    return [Row(first + i, a, 1.0) for i, a in enumerate(accuracies)]


def test_fit_finds_the_curve_it_was_given():
    fit = fit_log([(x, 10 + 7 * math.log(x + 1)) for x in range(1, 9)])
    assert fit.a == pytest.approx(10)
    assert fit.b == pytest.approx(7)
    assert fit.at(20) == pytest.approx(10 + 7 * math.log(21))


def test_too_few_points_give_no_fit():
    assert fit_log([]) is None
    assert fit_log([(3, 50.0)]) is None
    assert fit_log([(3, 50.0), (3, 60.0)]) is None


def test_two_points_have_a_line_but_no_interval():
    fit = fit_log([(1, 20.0), (2, 30.0)])
    assert fit.at(1) == pytest.approx(20)
    assert fit.interval(5) is None


def test_interval_widens_with_noise_and_with_distance():
    calm = fit_log([(x, 5 * math.log(x + 1) + (-1) ** x * 0.1) for x in range(1, 8)])
    noisy = fit_log([(x, 5 * math.log(x + 1) + (-1) ** x * 1.0) for x in range(1, 8)])

    def width(fit, x):
        low, high = fit.interval(x)
        assert low < fit.at(x) < high
        return high - low

    assert width(noisy, 30) > 5 * width(calm, 30)
    assert width(noisy, 60) > width(noisy, 10)


def test_interval_agrees_with_scipy():
    """80 % prediction interval of ordinary least squares, against an independent computation."""
    import numpy as np
    from scipy import stats

    x = np.arange(3, 11)
    y = 20 + 9 * np.log(x + 1) + np.array([0.3, -0.5, 0.2, 0.4, -0.6, 0.1, 0.0, -0.2])
    fit = fit_log(list(zip(x.tolist(), y.tolist(), strict=True)))
    z, z0 = np.log(x + 1), np.log(41)
    line = stats.linregress(z, y)
    s = math.sqrt(np.sum((y - line.intercept - line.slope * z) ** 2) / (len(x) - 2))
    half = (
        stats.t.ppf(0.9, len(x) - 2)
        * s
        * math.sqrt(1 + 1 / len(x) + (z0 - z.mean()) ** 2 / np.sum((z - z.mean()) ** 2))
    )
    centre = line.intercept + line.slope * z0
    assert fit.interval(40) == pytest.approx((centre - half, centre + half))


def test_original_trend_keeps_its_quirks():
    """Round 0 counts, the old side is shifted by one, the new side is not, nothing is clipped."""
    original = trends.get("log_original")
    assert original.before(rows(9, 20, 30)).points == (1, 2, 3)
    assert original.window(rows(50, 60, 70, first=11)).points == (11, 12, 13)
    assert original.window(rows(50, 70, 90, first=11)).at(60) > 100


def test_clean_trend_leaves_the_untrained_round_out_and_clips():
    clean = trends.get("log")
    assert clean.before(rows(9, 20, 30)).points == (1, 2)
    assert clean.window(rows(50, 60, 70, first=11)).points == (11, 12, 13)
    assert clean.window(rows(50, 70, 90, first=11)).at(60) == 100
    assert clean.window(rows(60, 30, 10, first=11)).at(60) == 0


def test_first_x_reaching_a_target():
    fit = fit_log([(x, 10 * math.log(x + 1)) for x in range(1, 6)])
    x = fit.first_x_reaching(50)
    assert fit.at(x) >= 50 > fit.at(x - 1)
    assert fit.first_x_reaching(-1) == 0
    assert fit.first_x_reaching(1000) is None
    falling = fit_log([(1, 50.0), (2, 40.0), (3, 30.0)])
    assert falling.first_x_reaching(90) is None
