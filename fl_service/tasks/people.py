"""Synthetic camera frames of a room with 0 to 4 people, for counting them. Drawn here: nobody was ever filmed.

A frame is what a cheap camera under the ceiling sees, 16 × 16 grey pixels: a floor that is lit from one side,
people as heads with shoulders, and noise. In the evening the lamp is the only light: frames are darker, the contrast
is lower, and people throw the light back from their other side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDE = 16
MOST = 4
_APART = 4.0  # pixels between two people
_TRIES = 200  # places that are tried before the room is full
_Y, _X = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)


@dataclass(frozen=True)
class Light:
    """How a room is lit: grey levels from 0 to 255, and the noise's standard deviation in them."""

    floor: float
    fall: float
    contrast: float
    noise: float


DAY = Light(floor=150, fall=50, contrast=-90, noise=8)
EVENING = Light(floor=60, fall=-35, contrast=85, noise=8)


def frame(people: int, rng: np.random.Generator, light: Light = DAY) -> np.ndarray:
    """Draw one frame (16, 16) of grey levels, uint8, with this many people (0 to 4) at places drawn from `rng`."""
    picture = light.floor + light.fall * (_X / SIDE - 0.5) + rng.normal(0, light.noise, _X.shape)
    for row, column in _places(people, rng):
        picture += light.contrast * rng.uniform(0.85, 1.15) * _person(_X - column, _Y - row, rng.uniform(0, np.pi))
    grey: np.ndarray = np.clip(picture, 0, 255).astype(np.uint8)
    return grey


def frames(counts: np.ndarray, seed: int, light: Light = DAY) -> np.ndarray:
    """Draw a frame for each count: (n, 1, 16, 16), uint8. The same seed draws the same frames."""
    rng = np.random.default_rng(seed)
    return np.stack([frame(int(count), rng, light) for count in counts])[:, None]


def _person(x: np.ndarray, y: np.ndarray, turn: float) -> np.ndarray:
    """Return how much of a person is on each pixel: shoulders, an ellipse turned by an angle, and a head on them."""
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    shoulders = np.exp(-(((along / 2.2) ** 2 + (across / 1.3) ** 2) ** 2))
    head = np.exp(-((x**2 + y**2) ** 2))
    shape: np.ndarray = 0.7 * shoulders + 0.5 * head
    return shape


def _places(people: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Draw places that are apart from each other, or as far as the tries allow."""
    places: list[tuple[float, float]] = []
    for _ in range(_TRIES):
        if len(places) == people:
            break
        row, column = rng.uniform(2, SIDE - 3, 2)
        if all((row - r) ** 2 + (column - c) ** 2 > _APART**2 for r, c in places):
            places.append((row, column))
    return places
