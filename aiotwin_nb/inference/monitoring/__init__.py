"""What becomes of requests and predictions: quality in windows, accuracy from late labels, drift, and the way back."""

from aiotwin_nb.inference.monitoring.accuracy import AccuracyWindow, Labels, wilson
from aiotwin_nb.inference.monitoring.drift import ErrorCusum, ScoreDrift
from aiotwin_nb.inference.monitoring.retraining import RetrainRule, RetrainState, RetrainWanted, retrain_step
from aiotwin_nb.inference.monitoring.windows import Answer, Latencies, Quality, Window, Windows

__all__ = [
    "AccuracyWindow",
    "Answer",
    "ErrorCusum",
    "Labels",
    "Latencies",
    "Quality",
    "RetrainRule",
    "RetrainState",
    "RetrainWanted",
    "ScoreDrift",
    "Window",
    "Windows",
    "retrain_step",
    "wilson",
]
