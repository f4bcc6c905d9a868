"""What a decision is made of, as numbers: what the curves say, and what the orchestrator knows besides.

Every feature is a plain float; nan stands for "not known" (no context, no client of that kind), and the trees of the
learned policy send it their own way. Accuracies and differences are in points, everything else is a share, a ratio or a
logarithm, so that they mean the same for any data set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from aiotwin_nb.decision import curves
from aiotwin_nb.decision.trends import Row

if TYPE_CHECKING:
    from aiotwin_nb.decision.validation import Evidence

UNKNOWN = math.nan
_FAMILIES = (curves.LOG, curves.POWER, curves.EXPONENTIAL, curves.LOGIT_LOG)
FUTURES = (
    "trend_old", "trend_new", "trend_all", "trend_gap", "horizon_gap", "worth_of_rounds", "slope_gap", "late_gain",
)  # fmt: skip
CEILINGS = (
    "room_old", "room_new", "capped_old", "capped_new", "capped_gap", "capped_all_old", "capped_all_new",
    "capped_all_gap", "coverage_gain", "evenness_gain", "stake_gain", "untaught",
)  # fmt: skip
CURVE_FEATURES = (
    "level", "gain", "surprise", "first_step", "slope_before", "slope_window", "slope_late", "slope_all", "noise",
    "loss", "loss_gain", "loss_first_step", "loss_slope", "loss_slope_before", "rounds_before", "rounds_window",
    "horizon_old", "horizon_new", "price", *(f"{f.name}_{side}" for f in _FAMILIES for side in ("old", "new", "all")),
    "trends",
    *FUTURES,
)  # fmt: skip
_TAIL = 5  # rows that make up "lately"
Labels = Mapping[str, Mapping[int, int]]


def features(evidence: Evidence) -> dict[str, float]:
    """Return the features of a decision, by name; always the same names in the same order."""
    fitted = _of_curves(evidence)
    seen, context = {**fitted, **_futures(fitted)}, _of_context(evidence)
    return {**seen, **context, **_ceilings(seen, context)}


# --- what the curves say ----------------------------------------------------------------------------------------------


def _of_curves(evidence: Evidence) -> dict[str, float]:
    before = [row for row in evidence.before if row.round > 0] or list(evidence.before)
    window, now = evidence.window, evidence.evaluation_round
    left_old, left_new = evidence.old.rounds_left or 0, evidence.new.rounds_left or 0
    level_old, level_new = _level(before), _level(window)
    slope_old, slope_new = _slope(before[-_TAIL:]), _slope(window)
    everything = [*before, *window]
    expected = level_old + slope_old * math.log((now + 1) / (before[-1].round + 1)) if before else UNKNOWN
    found = {
        "level": level_new,
        "gain": level_new - level_old,
        "surprise": level_new - expected,
        "first_step": window[0].accuracy - level_old,
        "slope_before": slope_old,
        "slope_window": slope_new,
        "slope_late": _slope(window[-3:]),
        "slope_all": _slope(everything[-2 * _TAIL :]),
        "noise": _noise(everything),
        "loss": _log_loss(window[-1:]),
        "loss_gain": _log_loss(window[-2:]) - _log_loss(before[-2:]),
        "loss_first_step": _log_loss(window[:1]) - _log_loss(before[-1:]),
        "loss_slope": _slope(window, _row_log_loss),
        "loss_slope_before": _slope(before[-_TAIL:], _row_log_loss),
        "rounds_before": float(before[-1].round) if before else 0.0,
        "rounds_window": float(len(window)),
        "horizon_old": math.log((now + left_old + 1) / (now + 1)),
        "horizon_new": math.log((now + left_new + 1) / (now + 1)),
        "price": math.log(float(evidence.new.round_cost / evidence.old.round_cost)),
    }
    for family in _FAMILIES:
        found[f"{family.name}_old"] = _forecast(family, before, now + left_old) - level_new
        found[f"{family.name}_new"] = _forecast(family, window, now + left_new) - level_new
        found[f"{family.name}_all"] = _forecast(family, everything, now + left_new) - level_new
    gains = [found[f"{family.name}_{side}"] for family in _FAMILIES for side in ("old", "new", "all")]
    known = [gain for gain in gains if gain == gain]
    found["trends"] = fmean(known) if known else 0.0
    return found


def _level(rows: Sequence[Row]) -> float:
    return fmean(row.accuracy for row in rows[-2:]) if rows else UNKNOWN


def _row_log_loss(row: Row) -> float:
    return math.log(min(max(row.loss, 1e-3), 1e3)) if row.loss == row.loss else UNKNOWN


def _log_loss(rows: Sequence[Row]) -> float:
    return fmean(_row_log_loss(row) for row in rows) if rows else UNKNOWN


def _slope(rows: Sequence[Row], value: Any = None) -> float:
    """Least-squares slope of the accuracy (or another value of a row) over ln(round + 1)."""
    line = curves.Line.of([(math.log(row.round + 1), value(row) if value else row.accuracy) for row in rows])
    return UNKNOWN if line is None else line.b


def _noise(rows: Sequence[Row]) -> float:
    """Standard deviation of an evaluation, from second differences: sqrt(mean(Δ²²)/6), free of any smooth trend."""
    tail = [row.accuracy for row in rows[-3 * _TAIL :]]
    second = [a - 2 * b + c for a, b, c in zip(tail, tail[1:], tail[2:], strict=False)]
    return math.sqrt(fmean(d * d for d in second) / 6) if second else UNKNOWN


def _forecast(family: curves.Family, rows: Sequence[Row], x: float) -> float:
    fit = curves.fit_curve(family, [(row.round, row.accuracy) for row in rows])
    return UNKNOWN if fit is None else fit.at(x)


# --- what the orchestrator knows besides ------------------------------------------------------------------------------


def _of_context(evidence: Evidence) -> dict[str, float]:
    context = evidence.context or {}
    new, old = _labels(context.get("labels")), _labels(context.get("labels_before"))
    per_class = {int(r): _numbers(classes) for r, classes in context.get("per_class") or ()}
    start = evidence.before[-1].round if evidence.before else 0
    return {
        **_of_labels(new, old, len(next(iter(per_class.values()), {})) or None),
        **_of_classes(new, old, per_class, start),
        **_of_clients(new, old, context.get("clients") or {}, start),
        **_of_training(context.get("training") or {}, new, old),
    }


def _labels(raw: Any) -> dict[str, dict[int, float]]:
    return {client: {k: v for k, v in _numbers(counts).items() if v > 0} for client, counts in (raw or {}).items()}


def _numbers(raw: Mapping[Any, Any]) -> dict[int, float]:
    """Labels as whole numbers again: JSON has made text of them."""
    return {int(label): float(value) for label, value in raw.items()}


def _totals(labels: Labels) -> dict[int, float]:
    totals: dict[int, float] = {}
    for counts in labels.values():
        for label, samples in counts.items():
            totals[label] = totals.get(label, 0.0) + samples
    return totals


def _of_labels(new: Any, old: Any, classes: int | None) -> dict[str, float]:
    names = (
        "coverage_new",
        "coverage_old",
        "evenness_new",
        "evenness_old",
        "share_joined",
        "share_left",
        "more",
        "thin_new",
    )
    if not new or not old:
        return dict.fromkeys(names, UNKNOWN)
    total_new, total_old = _totals(new), _totals(old)
    count = classes or len(total_new.keys() | total_old.keys())
    samples_new, samples_old = sum(total_new.values()), sum(total_old.values())
    gained = [share for label in total_new if label not in total_old and (share := total_new[label] / samples_new)]
    return {
        "coverage_new": len(total_new) / count,
        "coverage_old": len(total_old) / count,
        "evenness_new": _evenness(total_new, count),
        "evenness_old": _evenness(total_old, count),
        "share_joined": sum(sum(new[c].values()) for c in new.keys() - old.keys()) / samples_new,
        "share_left": sum(sum(old[c].values()) for c in old.keys() - new.keys()) / samples_old,
        "more": math.log(samples_new / samples_old),
        "thin_new": min(gained, default=1.0),  # a class with few samples is hardly learnt
    }


def _evenness(totals: Mapping[int, float], count: int) -> float:
    """Entropy of the label distribution / ln(classes): 1 when all classes are equally frequent."""
    total = sum(totals.values())
    entropy = -math.fsum(n / total * math.log(n / total) for n in totals.values() if n)
    return entropy / math.log(count) if count > 1 else 1.0


def _of_classes(new: Any, old: Any, per_class: Mapping[int, Mapping[int, float]], start: int) -> dict[str, float]:
    """Accuracy by class: what a revert or a keep would forget, and what has become of the classes the node declares."""
    names = ("at_stake", "forgotten", "change_joined", "change_left", "change_others", "spread_classes", "wave")
    rounds = sorted(per_class)
    past = [r for r in rounds if r <= start][-2:]
    recent = [r for r in rounds if r > start][-2:]
    if not new or not old or not past or not recent:
        return dict.fromkeys(names, UNKNOWN)
    classes = per_class[recent[-1]]
    was = {label: fmean(per_class[r].get(label, 0.0) for r in past) for label in classes}
    is_ = {label: fmean(per_class[r].get(label, 0.0) for r in recent) for label in classes}
    total_new, total_old = _totals(new), _totals(old)
    joined = {label for client in new.keys() - old.keys() for label in new[client]}
    left = {label for client in old.keys() - new.keys() for label in old[client]}

    def change(labels: set[int]) -> float:
        chosen = [is_[label] - was[label] for label in labels if label in is_]
        return fmean(chosen) if chosen else UNKNOWN

    return {
        "at_stake": sum(is_[label] for label in classes if label not in total_old) / len(classes),
        "forgotten": sum(was[label] for label in classes if label not in total_new) / len(classes),
        "change_joined": change(joined & set(total_old)),
        "change_left": change(left),
        "change_others": change(set(classes) - joined - left),
        "spread_classes": math.sqrt(fmean((is_[k] - fmean(is_.values())) ** 2 for k in is_ if k in total_new) or 0.0),
        "wave": sum(abs(is_[label] - was[label]) for label in classes) / len(classes),
    }


def _of_clients(new: Any, old: Any, clients: Mapping[str, Any], start: int) -> dict[str, float]:
    """Training loss and update norm of the node that joined or left, against the others in the same rounds (ln ratio).

    A node with wrong labels keeps a higher loss: what it fits contradicts the model that it is given. `sign`: 1 when it
    joined, −1 when it left.
    """
    names = ("sign", "loss_ratio", "loss_ratio_late", "norm_ratio", "norm_ratio_late", "loss_fall")
    joined, left = new.keys() - old.keys(), old.keys() - new.keys()
    subject = joined or left
    sign = float(bool(joined)) - float(bool(left))
    if not new or not old or not subject or not clients:
        return {**dict.fromkeys(names, UNKNOWN), "sign": sign}
    rows = {
        client: {int(r): (loss, norm) for r, _, loss, norm in seen if (r > start) == bool(joined)}
        for client, seen in clients.items()
    }
    rounds = sorted({r for client in subject for r in rows.get(client, {})})
    others = [client for client in new.keys() & old.keys() if client in rows]

    def ratio(which: Sequence[int], index: int) -> float:
        ratios = []
        for r in which:
            mine = [rows[c][r][index] for c in subject if r in rows.get(c, {})]
            theirs = [rows[c][r][index] for c in others if r in rows[c]]
            if mine and theirs:
                ratios.append(math.log(max(fmean(mine), 1e-4) / max(fmean(theirs), 1e-4)))
        return fmean(ratios) if ratios else UNKNOWN

    return {
        "sign": sign,
        "loss_ratio": ratio(rounds, 0),
        "loss_ratio_late": ratio(rounds[-2:], 0),
        "norm_ratio": ratio(rounds, 1),
        "norm_ratio_late": ratio(rounds[-2:], 1),
        "loss_fall": ratio(rounds[-2:], 0) - ratio(rounds[:2], 0),
    }


def _of_training(training: Mapping[str, Any], new: Any, old: Any) -> dict[str, float]:
    """How far a client goes in a round: ln(learning rate · steps)."""
    try:
        samples = fmean(sum(counts.values()) for counts in {**old, **new}.values())
        steps = training["epochs"] * training["local_rounds"] * samples / training["batch_size"]
        return {"stride": math.log(training["learning_rate"] * steps)}
    except (KeyError, ValueError, TypeError):
        return {"stride": UNKNOWN}


# --- both futures set against each other: a tree asks for one number at a time and would have to guess differences ----


def _futures(f: Mapping[str, float]) -> dict[str, float]:
    """Both futures by the mean of their trends, each trend within 0–100 %, and what a difference in rounds is worth."""
    old, new, everything = (_mean_trend(f, side) for side in ("old", "new", "all"))
    gap = f["horizon_new"] - f["horizon_old"]
    values = (
        old, new, everything, new - old, gap, f["slope_all"] * gap,
        f["slope_window"] * f["horizon_new"] - f["slope_before"] * f["horizon_old"], f["slope_late"] * f["horizon_new"],
    )  # fmt: skip
    return dict(zip(FUTURES, values, strict=True))


def _mean_trend(f: Mapping[str, float], side: str) -> float:
    gains = [f[f"{family.name}_{side}"] for family in _FAMILIES]
    known = [min(max(gain, -f["level"]), 100 - f["level"]) for gain in gains if gain == gain]
    return fmean(known) if known else UNKNOWN


def _ceilings(f: Mapping[str, float], c: Mapping[str, float]) -> dict[str, float]:
    """The same under the ceiling that labels set (a class that nobody has is not recognised), and what is at stake."""
    room_old, room_new = (100 * c[f"coverage_{side}"] - f["level"] for side in ("old", "new"))
    old, new = _capped(f["trend_old"], room_old), _capped(f["trend_new"], room_new)
    all_old, all_new = _capped(f["trend_all"], room_old), _capped(f["trend_all"], room_new)
    gain = c["coverage_new"] - c["coverage_old"]
    untaught = max(100 * gain, 0.0) - c["at_stake"] if gain == gain else UNKNOWN  # points of new labels not learnt yet
    values = (
        room_old, room_new, old, new, new - old, all_old, all_new, all_new - all_old,
        gain, c["evenness_new"] - c["evenness_old"], c["at_stake"] - c["forgotten"], untaught,
    )  # fmt: skip
    return dict(zip(CEILINGS, values, strict=True))


def _capped(gain: float, room: float) -> float:
    """The smaller of two gains in points; either may be unknown."""
    return min((x for x in (gain, room) if x == x), default=UNKNOWN)
