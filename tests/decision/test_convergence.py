from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiotwin_nb.decision import converged


def test_five_small_changes_in_a_row():
    assert converged([50.0] * 8)
    assert not converged([50.0] * 7)
    assert converged([10, 20, 30, *[50.0] * 8])
    assert not converged([*[50.0] * 8, 51])
    # the average of three moves by 0.1 when the accuracy rises by 0.1 a round: that still counts as none
    assert converged([40 + i / 10 for i in range(8)])
    assert not converged([40 + i / 9 for i in range(8)])


@given(st.lists(st.floats(0, 100), max_size=20), st.lists(st.floats(0, 100), min_size=8, max_size=8))
def test_only_the_last_eight_rounds_count(earlier, last):
    assert converged([*earlier, *last]) == converged(last)
