from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotwin_nb.planning.balanced import balanced_assignment


def cost_of(homes, costs, opening):
    """Total cost of an assignment, or None when it is unbalanced or forbidden."""
    sizes = [homes.count(group) for group in range(len(opening))]
    parts = [costs[m][g] for m, g in enumerate(homes)] + [opening[g] for g in set(homes)]
    return None if max(sizes) - min(sizes) > 1 or None in parts else sum(parts)


def brute_force(costs, opening):
    """The first of the cheapest, by trying everything in lexicographic order."""
    best = None
    for homes in itertools.product(range(len(opening)), repeat=len(costs)):
        total = cost_of(homes, costs, opening)
        if total is not None and (best is None or total < best[0]):
            best = total, list(homes)
    return best and best[1]


@st.composite
def problems(draw, values):
    groups, members = draw(st.integers(2, 4)), draw(st.integers(1, 6))
    row = st.lists(values, min_size=groups, max_size=groups)
    return draw(st.lists(row, min_size=members, max_size=members)), draw(row)


many_ties = problems(st.integers(0, 2))
with_gaps = problems(st.sampled_from([None, 0, 1, 1, 2, 5]))
signed_and_wide = problems(st.integers(-40, 40))


@settings(max_examples=150, deadline=None)
@given(st.one_of(many_ties, with_gaps, signed_and_wide))
def test_equals_brute_force(problem):
    costs, opening = problem
    if len(costs) >= len(opening):
        opening = [value or 0 for value in opening]  # every group is open then, so a forbidden one has no meaning
    assert balanced_assignment(costs, opening) == brute_force(costs, opening)


@settings(max_examples=30, deadline=None)
@given(many_ties, st.integers(2**60, 2**90))
def test_numbers_beyond_64_bits_are_exact(problem, factor):
    costs, opening = ([[c * factor for c in row] for row in problem[0]], [c * factor for c in problem[1]])
    assert balanced_assignment(costs, opening) == brute_force(costs, opening)


@pytest.mark.parametrize("values", [range(1, 1000), (10, 20, 30)])
@pytest.mark.parametrize(("members", "groups"), [(60, 7), (120, 12), (63, 7)])
def test_total_equals_scipys_assignment_at_size(members, groups, values):
    linear_sum_assignment = pytest.importorskip("scipy.optimize").linear_sum_assignment
    draw = random.Random(members)
    costs = np.array([[draw.choice(values) for _ in range(groups)] for _ in range(members)])
    homes = balanced_assignment(costs.tolist(), [0] * groups)

    floor, larger = divmod(members, groups)
    slots = np.repeat(costs, floor, axis=1)
    if larger:  # one optional slot a group; the optional slots that stay empty are taken by dummy rows
        dummies = np.full((groups - larger, slots.shape[1] + groups), 10**6)
        dummies[:, slots.shape[1] :] = 0
        slots = np.vstack([np.hstack([slots, costs]), dummies])
    rows, columns = linear_sum_assignment(slots)

    assert cost_of(homes, costs, [0] * groups) == slots[rows, columns].sum()


def test_no_assignment_along_the_allowed_pairs():
    assert balanced_assignment([[1, None], [1, None]], [0, 0]) is None
    assert balanced_assignment([[1, None], [None, None]], [0, 0]) is None


def test_nobody_to_assign():
    assert balanced_assignment([], [1, 2]) == []
