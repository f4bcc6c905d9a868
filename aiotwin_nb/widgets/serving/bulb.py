"""A smart light bulb: nobody there, no light; the more people, the brighter and warmer (slides, smart lighting)."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import anywidget
import traitlets

from aiotwin_nb.errors import InvalidInput

_HERE = Path(__file__).parent
_LIGHTS = (
    ("off", "#4A4A4A"),
    ("cool white", "#CFE8FF"),
    ("neutral white", "#FFF4D6"),
    ("warm white", "#FFD58A"),
    ("amber", "#FFB347"),
)


@dataclass(frozen=True)
class Light:
    """What a bulb shows: a colour by name and as #RRGGBB, and a brightness from 0 to 1."""

    name: str
    colour: str
    brightness: float


def light_for(people: int) -> Light:
    """Return the light for a number of people, 0 or more; raises InvalidInput."""
    if not isinstance(people, Integral) or isinstance(people, bool) or people < 0:
        raise InvalidInput(f"people: {people!r} must be a whole number, 0 or more")
    name, colour = _LIGHTS[min(people, len(_LIGHTS) - 1)]
    return Light(name, colour, min(1.0, 0.25 + 0.25 * (people - 1)) if people else 0.0)


class Bulb(anywidget.AnyWidget):
    """A bulb for a room. `people`: how many are counted in it; None while nobody has answered."""

    _esm = _HERE / "bulb.js"
    _css = _HERE / "bulb.css"
    colour = traitlets.Unicode(_LIGHTS[0][1]).tag(sync=True)
    brightness = traitlets.Float(0.0).tag(sync=True)
    words = traitlets.Unicode("").tag(sync=True)

    def __init__(self, room: str = "room") -> None:
        """Show a bulb that is off."""
        super().__init__()
        self.room = room
        self.show(None)

    def show(self, people: int | None) -> None:
        """Show the light for a number of people; None: it is not known, the light stays as it is."""
        if people is None:
            self.words = f"{self.room}: no answer"
            return
        light = light_for(people)
        with self.hold_sync():
            self.colour, self.brightness = light.colour, light.brightness
            who = "nobody" if people == 0 else f"{people} {'person' if people == 1 else 'people'}"
            self.words = f"{self.room}: {who}, {light.name}" + (f" at {light.brightness:.0%}" if people else "")

    def __repr__(self) -> str:
        return self.words
