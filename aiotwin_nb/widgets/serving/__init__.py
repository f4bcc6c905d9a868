"""The inference side in a notebook: services and their quality live, policies side by side, cameras and a lamp."""

from aiotwin_nb.widgets.serving.bulb import Bulb, light_for
from aiotwin_nb.widgets.serving.camera import Cameras, draw_frames
from aiotwin_nb.widgets.serving.comparison import (
    PolicyComparison,
    compare_policies,
    comparison_table,
    comparison_words,
    draw_comparison,
)
from aiotwin_nb.widgets.serving.lab import ServingLab
from aiotwin_nb.widgets.serving.quality import draw_quality, quality_by_policy
from aiotwin_nb.widgets.serving.service_map import draw_service_map

__all__ = [
    "Bulb",
    "Cameras",
    "PolicyComparison",
    "ServingLab",
    "compare_policies",
    "comparison_table",
    "comparison_words",
    "draw_comparison",
    "draw_frames",
    "draw_quality",
    "draw_service_map",
    "light_for",
    "quality_by_policy",
]
