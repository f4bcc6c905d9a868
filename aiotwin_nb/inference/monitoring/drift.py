"""Whether the world has changed: from errors, once labels are there, and from scores, before they are.

Both alarms say how often they may be wrong: a run length for the errors, a share of windows for the scores.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import log

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.monitoring.accuracy import wilson


class ErrorCusum:
    """Page's cumulative sum of log-likelihood ratios of errors (CUSUM; Biometrika 41, 1954): error rate p0 against p1.

    p0 is the upper end of the 95 % interval of the first labels' error rate, p1 is `worse` above it. With threshold
    ln(γ) the mean number of labels between false alarms is at least γ (Lorden, Ann. Math. Stat. 42, 1971).
    """

    def __init__(self, reference: int = 100, *, worse: float = 0.15, false_alarm_every: float = 10_000) -> None:
        """Begin to learn the usual error rate.

        Args:
            reference: labels that it is learned from
            worse: by how much the error rate must rise to matter, 0 to 1
            false_alarm_every: labels between false alarms, on average at least
        """
        if reference < 1 or not 0 < worse < 1 or false_alarm_every <= 1:
            raise InvalidInput(
                f"reference {reference}, worse {worse:g}, false_alarm_every {false_alarm_every:g}: must be at least 1, "
                "above 0 and below 1, above 1"
            )
        self.reference, self.worse = reference, worse
        self.threshold = log(false_alarm_every)
        self.restart()

    def restart(self) -> None:
        """Forget the usual error rate: another model answers."""
        self.seen = self.errors = 0
        self.sum = 0.0
        self.usual: float | None = None

    def add(self, wrong: bool) -> bool:
        """Take in whether a prediction was wrong; True when the error rate has risen (and the sum starts anew)."""
        if self.usual is None:
            self.seen += 1
            self.errors += wrong
            if self.seen == self.reference:
                self.usual = min(0.98, max(0.001, wilson(self.errors, self.seen)[1]))
            return False
        raised = min(0.99, self.usual + self.worse)
        ratio = raised / self.usual if wrong else (1 - raised) / (1 - self.usual)
        self.sum = max(0.0, self.sum + log(ratio))
        if self.sum < self.threshold:
            return False
        self.sum = 0.0
        return True


class ScoreDrift:
    """Two-sample Kolmogorov-Smirnov test of the scores of predictions (their confidence) against the first ones.

    It needs no labels. Of windows without drift, a share of at most `false_alarms` gives an alarm.
    """

    def __init__(self, reference: int = 200, window: int = 100, *, false_alarms: float = 0.001) -> None:
        """Begin to collect the reference.

        Args:
            reference: scores of the reference
            window: scores of a window
            false_alarms: significance level of a window's test
        """
        if reference < 2 or window < 2 or not 0 < false_alarms < 1:
            raise InvalidInput(
                f"reference {reference}, window {window}, false_alarms {false_alarms:g}: must be at least 2, at least "
                "2, above 0 and below 1"
            )
        self.size, self.window, self.false_alarms = reference, window, false_alarms
        self.restart()

    def restart(self) -> None:
        """Forget the reference: another model answers."""
        self._reference: list[float] = []
        self._scores: list[float] = []
        self.p_value: float | None = None

    def add(self, scores: Iterable[float]) -> bool:
        """Take in scores; True when a window that they filled does not come from the reference's distribution."""
        alarm = False
        for score in scores:
            if len(self._reference) < self.size:
                self._reference.append(score)
                continue
            self._scores.append(score)
            if len(self._scores) == self.window:
                alarm |= self._test()
        return alarm

    def _test(self) -> bool:
        from scipy.stats import ks_2samp

        self.p_value = float(ks_2samp(self._reference, self._scores).pvalue)
        self._scores = []
        return self.p_value < self.false_alarms
