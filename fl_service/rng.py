"""Randomness by name: every draw has a key made of words, so that nobody's draws depend on who else is there."""

from __future__ import annotations

import hashlib
import json
import random
import sys
from typing import Any

import numpy as np


def _digest(run_seed: int, names: tuple[str | int, ...]) -> bytes:
    return hashlib.sha256(json.dumps([run_seed, *names]).encode()).digest()


def derive_seed(run_seed: int, *names: str | int) -> int:
    """Return the seed (0 ≤ seed < 2⁶³) that belongs to these names in the run with this seed."""
    return int.from_bytes(_digest(run_seed, names)[:8], "big") >> 1


def generator(run_seed: int, *names: str | int) -> np.random.Generator:
    """Return a counter-based generator (Philox) whose key derives from the names."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(_digest(run_seed, names)[:16], "big")))


class Shuffler:
    """Draws `generator(run_seed, *names).permutation(count)` in half the time; for one thread.

    A new Philox generator gathers entropy from the system that its key then makes useless. Here one generator is kept
    and put into the state that a new one has.
    """

    def __init__(self, run_seed: int) -> None:
        self._seed = run_seed
        self._philox = np.random.Philox(key=0)
        self._generator = np.random.Generator(self._philox)
        self._fresh: Any = self._philox.state

    def permutation(self, count: int, *names: str | int) -> np.ndarray:
        """Return the permutation of 0 … count − 1 that belongs to the names."""
        self._fresh["state"]["key"] = np.frombuffer(_digest(self._seed, names)[15::-1], "<u8")
        self._philox.state = self._fresh
        return self._generator.permutation(count)


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and (where it is loaded) torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "default_generator"):
        return
    # torch.manual_seed would also queue a seed, with a stack trace, for a CUDA that was never used: 0.4 ms a call.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
