"""What the live plots show, as data: the charts, their series, and the story of a run around them; pure."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from aiotwin_nb.continuum import natural_sorted
from aiotwin_nb.decision.validation import rounds_left
from aiotwin_nb.orchestration.summary import optional, reconfiguration
from aiotwin_nb.widgets.follow import Row, Snapshot
from aiotwin_nb.widgets.futures import Future, Mark, chosen, futures_of, marks_of

EVERY_CLIENT = "client/*/"


@dataclass(frozen=True)
class Chart:
    """One plot: a metric over rounds or over spent cost. `y`: key of the rows, `client/*/…` for a line per client."""

    title: str
    y: str
    unit: str = ""
    x: str = "round"
    steps: bool = False

    @property
    def by_cost(self) -> bool:
        """Whether it goes over spent cost."""
        return self.x != "round"

    @property
    def of_accuracy(self) -> bool:
        """Whether it shows the accuracy, for which futures are predicted."""
        return self.y == "global/accuracy"

    @property
    def of_clients(self) -> bool:
        """Whether it has a line per client."""
        return self.y.startswith(EVERY_CLIENT)


CHARTS: dict[str, Chart] = {
    "accuracy": Chart("Accuracy over rounds", "global/accuracy", "%"),
    "accuracy_by_cost": Chart("Accuracy over spent cost", "global/accuracy", "%", x="cost/total"),
    "loss": Chart("Loss over rounds", "global/loss"),
    "budget_left": Chart("Budget left", "cost/budget_left"),
    "round_cost": Chart("Cost of a round", "cost/round", steps=True),
    "train_loss": Chart("Clients: training loss", "client/*/train_loss"),
    "update_norm": Chart("Clients: norm of the update", "client/*/update_norm"),
    "seconds": Chart("Clients: seconds a round", "client/*/seconds", "s"),
}
DEFAULT = ("accuracy", "accuracy_by_cost", "loss", "budget_left")


@dataclass(frozen=True)
class Series:
    """One line of a chart; `name` is the client's, else empty. A value that is missing is NaN."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Story:
    """What the plots of a run need to know.

    `expected`: rounds that the run may come to, as far as one knows. `origin`: where the rows were read. `problem`:
    what is wrong with that, empty when all is well.
    """

    name: str
    rows: tuple[Row, ...]
    budget: float | None = None
    expected: int = 0
    marks: tuple[Mark, ...] = ()
    futures: tuple[Future, ...] = ()
    status: str = "running"
    origin: str = "W&B"
    problem: str = ""

    @classmethod
    def of_run(cls, snapshot: Snapshot) -> Story:
        """The story of a followed run. What rests on rows that have not come yet is left out until they have."""
        state = snapshot.state
        records = [reconfiguration(record) for record in state.reconfigurations]
        return cls._told(
            records,
            name=snapshot.path.name,
            rows=snapshot.rows,
            budget=optional(state.rules.budget),
            expected=_expected(snapshot),
            status=snapshot.status,
            origin=snapshot.origin,
            problem=snapshot.problem,
        )

    @classmethod
    def of_rows(cls, name: str, rows: Sequence[Row], *, status: str = "running", problem: str = "") -> Story:
        """The story that a run's rows tell by themselves, for runs of which there is nothing else (a W&B server's)."""
        budget, expected = None, 0
        if rows and "cost/budget_left" in (last := rows[-1]):
            budget = last["cost/total"] + last["cost/budget_left"]
            expected = last["round"] + int(last["cost/budget_left"] / (last["cost/round"] or math.inf))
        return cls._told(
            records_of(rows),
            name=name,
            rows=tuple(rows),
            budget=budget,
            expected=expected,
            status=status,
            origin="the W&B server",
            problem=problem,
        )

    @classmethod
    def _told(
        cls, records: Sequence[Mapping[str, Any]], *, rows: tuple[Row, ...], expected: int, **fields: Any
    ) -> Story:
        last = rows[-1]["round"] if rows else -1
        summary = {"rounds": max(expected, last), "reconfigurations": records}
        known = [record for record in records if (record["evaluation_round"] or 0) <= last]
        record = chosen({"reconfigurations": known})
        whole = len(rows) == last + 1
        return cls(
            rows=rows,
            expected=expected,
            marks=tuple(mark for mark in marks_of(summary) if mark.round <= last) if whole else (),
            futures=tuple(futures_of(summary, record)) if whole and record is not None else (),
            **fields,
        )

    @property
    def live(self) -> bool:
        """Whether more is to come."""
        return self.status == "running"

    def series(self, chart: Chart) -> list[Series]:
        """The lines of a chart."""
        x = [_value(row, chart.x) for row in self.rows]
        if not chart.of_clients:
            y = [_value(row, chart.y) for row in self.rows]
            if chart.y == "cost/round" and y:
                y[0] = math.nan if self.rows[0]["round"] == 0 else y[0]  # the untrained model is no round
            return [Series("", x, y)]
        metric = chart.y.removeprefix(EVERY_CLIENT)
        return [Series(i, x, [_value(row, f"client/{i}/{metric}") for row in self.rows]) for i in self.clients(metric)]

    def clients(self, metric: str) -> list[str]:
        """The clients that ever had a metric."""
        keys = {key for row in self.rows for key in row if key.startswith("client/")}
        names = {key.split("/", 1)[1].rpartition("/") for key in keys}
        return natural_sorted(name for name, _, of in names if of == metric)

    def words(self) -> str:
        """The newest values in one line."""
        if not self.rows:
            return "No round has finished yet." if self.live else "No round has finished."
        row, parts = self.rows[-1], []
        for key, text in (("global/accuracy", "accuracy {:.1f} %"), ("global/loss", "loss {:.3f}")):
            if math.isfinite(value := _value(row, key)):
                parts.append(text.format(value))
        if math.isfinite(spent := _value(row, "cost/total")):
            parts.append(f"{spent:,.0f} spent" + ("" if self.budget is None else f" of {self.budget:,.0f}"))
        about = f" of about {self.expected}" if self.live and self.expected > row["round"] else ""
        return f"Round {row['round']}{about}: {', '.join(parts)}. {_sentence(self.status)}; read from {self.origin}."

    def tell(self, charts: Sequence[str]) -> str:
        """What plots of the story show, for those who do not see them."""
        titles = ", ".join(CHARTS[key].title for key in charts)
        events = [f"after round {mark.round} {mark.text}" for mark in self.marks]
        events += [future.words() for future in self.futures]
        return f"Plots of the run {self.name} ({titles}). {self.words()}" + (f" {'; '.join(events)}." if events else "")

    def csv(self) -> str:
        """All rows as CSV, a column per metric."""
        names = list(dict.fromkeys(key for row in self.rows for key in row))
        names.sort(key=lambda key: (key != "round", key))
        text = StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in self.rows)
        return text.getvalue()


_FIT = ("a", "b", "first", "last", "horizon")


def records_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Reconfigurations as far as a run's rows tell them, with the fields of summary.json that are drawn."""
    records: list[dict[str, Any]] = []
    for row in rows:
        if "reconfiguration/decision" in row:
            records.append(_begun(row))
        if "decision/verdict" in row and records:
            records[-1] |= _decided(row)
    return records


def _begun(row: Row) -> dict[str, Any]:
    cost = row.get("cost/round") or 0
    return {
        "after_round": row["round"],
        "trigger": {
            "added": row.get("reconfiguration/joined", []),
            "removed": row.get("reconfiguration/left", []),
            "links": {},
            "data": {},
        },
        "round_cost_before": cost,
        "round_cost_after": cost + row.get("reconfiguration/post_cost", 0),
        "decision": row["reconfiguration/decision"],
        "evaluation_round": None,
        "accuracy_at_evaluation": None,
    }


def _decided(row: Row) -> dict[str, Any]:
    found = {"decision": row["decision/verdict"], "evaluation_round": row["round"]}
    found |= {"accuracy_at_evaluation": row.get("global/accuracy"), "revert_cost": row.get("decision/revert_cost")}
    for which in ("old", "new"):
        fit = row.get(f"decision/fit_{which}")
        found[f"fit_{which}"] = None if fit is None else dict(zip(_FIT, fit, strict=True))
        for name in ("predicted", "interval", "rounds_left"):
            found[f"{name}_{which}"] = row.get(f"decision/{name}_{which}")
    return found


def _expected(snapshot: Snapshot) -> int:
    """Rounds that the run comes to if nothing changes any more."""
    state = snapshot.state
    if not snapshot.live:
        return max(state.round, 0)
    most = state.rules.scenario.training.max_rounds
    if state.rules.budget is None or state.round_cost <= 0:
        return most
    return min(most, max(state.round, 0) + rounds_left(state.rules.budget - state.spent, state.round_cost))


_STATUS = {"running": "The run goes on", "interrupted": "Its process died", "crashed": "It crashed"}


def _sentence(status: str) -> str:
    return _STATUS.get(status, f"The run is {status}")


def _value(row: Row, key: str) -> float:
    value = row.get(key)
    return value if isinstance(value, int | float) else math.nan


def _cell(value: Any) -> Any:
    return value if isinstance(value, str | int | float) or value is None else json.dumps(value)
