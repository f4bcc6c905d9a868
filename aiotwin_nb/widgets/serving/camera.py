"""Synthetic cameras: a stream of frames of people for a site's clients, and single frames for a room."""

from __future__ import annotations

import random

import numpy as np
from matplotlib.figure import Figure

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.site import Sample
from aiotwin_nb.widgets.figures import SMALL, blank_figure
from fl_service.tasks import people

LIGHTS = {"day": people.DAY, "evening": people.EVENING}


class Cameras:
    """A stream of samples for `Site`: frames with 0 to 4 people, as likely each, in the light that `light` names."""

    def __init__(self, light: str = "day") -> None:
        """Start with a light, day or evening; raises InvalidInput."""
        self.light = light

    @property
    def light(self) -> str:
        """The light of the frames to come."""
        return self._light

    @light.setter
    def light(self, name: str) -> None:
        if name not in LIGHTS:
            raise InvalidInput(f"light: {name!r} must be one of {', '.join(LIGHTS)}")
        self._light = name

    def __call__(self, draw: random.Random) -> Sample:
        """Draw one frame; its label is how many people are in it."""
        count = draw.randrange(people.MOST + 1)
        return Sample(self.frame(count, draw.randrange(2**32)).tolist(), count)

    def frame(self, count: int, seed: int) -> np.ndarray:
        """Return a frame (1, 16, 16) of grey levels from 0 to 255 with so many people."""
        if not 0 <= count <= people.MOST:
            raise InvalidInput(f"count: {count} must be from 0 to {people.MOST}")
        return people.frame(count, np.random.default_rng(seed), LIGHTS[self.light])[None]


def draw_frames(seed: int = 1) -> Figure:
    """Draw a frame for every number of people, by day and in the evening."""
    counts = range(people.MOST + 1)
    figure = blank_figure(9, 3.9, "Frames of 0 to 4 people by day (dark on light) and in the evening (light on dark).")
    plots = figure.subplots(len(LIGHTS), len(counts))
    for row, name in zip(plots, LIGHTS, strict=True):
        for axes, count in zip(row, counts, strict=True):
            axes.imshow(Cameras(name).frame(count, seed + count)[0], cmap="gray", vmin=0, vmax=255)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(f"{name}, {count}", fontsize=SMALL)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.92, bottom=0.02, hspace=0.2, wspace=0.05)
    return figure
