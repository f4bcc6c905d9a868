"""Random numbers that need no generator: a function of a seed and a counter, so that choosing changes nothing."""

from __future__ import annotations

_MASK = (1 << 64) - 1


def draw(seed: int, number: int) -> float:
    """Return a number in [0, 1), uniform over `number`: SplitMix64 (Steele, Lea and Flood, 2014) of both."""
    x = (seed * 0xD1342543DE82EF95 + (number + 1) * 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((x ^ (x >> 31)) >> 11) * 2.0**-53
