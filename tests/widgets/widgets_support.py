"""What the tests of the panels share."""

from __future__ import annotations

import time

import pytest


def until(condition, seconds=10.0):
    """Wait until a condition holds; fails when it does not in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    pytest.fail(f"did not happen within {seconds:g} s")
    return None
