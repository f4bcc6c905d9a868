"""Metric rows of the inference side: flat, one a window, names like `inference/qos_share`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from aiotwin_nb.inference.monitoring.accuracy import AccuracyWindow
from aiotwin_nb.inference.monitoring.windows import Quality, Window


def window_row(window: Window, accuracy: AccuracyWindow | None = None) -> dict[str, Any]:
    """The row of a window of time, with the accuracy window that ended in it, if any.

    `round` is the window's number, as W&B rows of the project are counted by it. Shares 0 to 1, latencies in ms,
    accuracies in percent; what is not known is left out.
    """
    row: dict[str, Any] = {"round": window.number, "inference/seconds": window.seconds}
    row |= {f"inference/{name}": value for name, value in _quality(window.total)}
    for kind, parts in (("client", window.clients), ("instance", window.instances), ("node", window.nodes)):
        row |= {f"inference/{kind}/{i}/{name}": value for i, q in parts.items() for name, value in _quality(q)}
    row |= {f"inference/node/{i}/load": share for i, share in window.load.items()}
    if accuracy is not None:
        low, high = accuracy.interval
        row |= {
            "inference/accuracy": accuracy.accuracy,
            "inference/accuracy_low": low,
            "inference/accuracy_high": high,
            "inference/labelled": accuracy.labelled,
            "inference/label_coverage": accuracy.coverage,
            "inference/label_delay_s": accuracy.delay_s,
        }
    return row


def _quality(quality: Quality) -> Iterator[tuple[str, float]]:
    if quality.qos_share is not None:
        yield "qos_share", quality.qos_share
    yield from ((name, value) for name, value in asdict(quality).items() if value is not None and name != "within")
