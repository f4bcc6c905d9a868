"""Accuracy of predictions whose labels come late, and not for all: joined by the prediction's id."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from statistics import NormalDist, median

from aiotwin_nb.errors import InvalidInput


@dataclass(frozen=True)
class AccuracyWindow:
    """Some predictions in the order in which their labels came.

    Attributes:
        number: of the window, from 0
        labelled: predictions with a label in it
        correct: those that were right
        coverage: share of the predictions made meanwhile that these are; above 1 when labels of old ones came
        delay_s: median time from a prediction to its label
        models: {model: (labelled, correct)}
    """

    number: int
    labelled: int
    correct: int
    coverage: float
    delay_s: float
    models: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """In percent."""
        return 100 * self.correct / self.labelled

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy, in percent."""
        low, high = wilson(self.correct, self.labelled)
        return 100 * low, 100 * high


def wilson(hits: int, count: int, error: float = 0.05) -> tuple[float, float]:
    """Wilson's score interval of a share, confidence 1 − error (JASA 22, 1927); 0 to 1 without cases."""
    if not count:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(1 - error / 2)
    share, spread = hits / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / count + spread / count / 4) / (1 + spread)
    return max(centre - half, 0.0), min(centre + half, 1.0)


@dataclass(frozen=True, slots=True)
class _Prediction:
    label: int
    time: float
    model: str


class Labels:
    """Predictions that wait for their labels; every `size` labels are one window."""

    def __init__(self, size: int = 100, *, keep_s: float = 3600.0, most: int = 100_000) -> None:
        """Begin with nothing.

        Args:
            size: labels of a window
            keep_s: seconds after which a prediction without label is forgotten
            most: predictions that wait at most; then the oldest are forgotten
        """
        if size < 1 or most < 1 or keep_s <= 0:
            raise InvalidInput(f"size {size}, most {most}, keep_s {keep_s:g}: all must be above 0")
        self.size, self.keep_s, self.most = size, keep_s, most
        self.forgotten = 0
        self.unknown = 0  # labels for no prediction: unheard of, forgotten or labelled already
        self._waiting: OrderedDict[str, _Prediction] = OrderedDict()
        self._number = 0
        self._made = 0
        self._begin()

    @property
    def waiting(self) -> int:
        """Predictions that wait for their labels."""
        return len(self._waiting)

    def predicted(self, prediction_id: str, label: int, now: float, model: str = "") -> None:
        """A prediction was made."""
        self._made += 1
        self._waiting[prediction_id] = _Prediction(label, now, model)
        while len(self._waiting) > self.most or self._oldest_age(now) > self.keep_s:
            self._waiting.popitem(last=False)
            self.forgotten += 1

    def labelled(self, prediction_id: str, label: int, now: float) -> bool | None:
        """The label of a prediction is there: whether it was right; None when nothing is known of the prediction."""
        prediction = self._waiting.pop(prediction_id, None)
        if prediction is None:
            self.unknown += 1
            return None
        right = prediction.label == label
        self._right[prediction.model] += right
        self._labelled[prediction.model] += 1
        self._delays.append(now - prediction.time)
        return right

    def window(self) -> AccuracyWindow | None:
        """The window that is full now, once; None before."""
        count = len(self._delays)
        if count < self.size:
            return None
        window = AccuracyWindow(
            number=self._number,
            labelled=count,
            correct=self._right.total(),
            coverage=count / max(1, self._made),
            delay_s=median(self._delays),
            models={m: (n, self._right[m]) for m, n in self._labelled.items()},
        )
        self._number += 1
        self._made = 0
        self._begin()
        return window

    def restart(self) -> None:
        """Begin the window again: what was labelled so far is of a model that is gone."""
        self._made = 0
        self._waiting.clear()
        self._begin()

    def _begin(self) -> None:
        self._right: Counter[str] = Counter()
        self._labelled: Counter[str] = Counter()
        self._delays: list[float] = []

    def _oldest_age(self, now: float) -> float:
        oldest = next(iter(self._waiting.values()), None)
        return now - oldest.time if oldest else 0.0
