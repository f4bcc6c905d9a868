"""The tidy table of a sweep, and its short form for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiotwin_nb.sweep.cells import Outcome, shown
from aiotwin_nb.sweep.grid import SEED

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
RUN = ("rounds", "final_accuracy", "best_accuracy", "final_loss", "total_cost", "budget", "stop_reason")
DECISION = (
    "after_round", "decision", "evaluation_round", "accuracy_at_evaluation", "predicted_old", "predicted_new",
    "rounds_left_old", "rounds_left_new", "change_cost", "round_cost_before", "round_cost_after",
)  # fmt: skip

_MOST_MEASURES = 6


@dataclass(frozen=True)
class Sweep:
    """A finished sweep. `keys`: the grid's, without the seed; `runtime`: None for notebooks."""

    source: str
    keys: tuple[str, ...]
    runtime: str | None
    folder: Path
    outcomes: Sequence[Outcome]

    @property
    def failed(self) -> list[Outcome]:
        """The cells that have no result."""
        return [outcome for outcome in self.outcomes if outcome.result is None]

    @property
    def reused(self) -> list[Outcome]:
        """The cells whose results were there already."""
        return [outcome for outcome in self.outcomes if outcome.reused]

    def as_dict(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {
            "source": self.source,
            "runtime": self.runtime,
            "folder": str(self.folder),
            "cells": len(self.outcomes),
            "reused": len(self.reused),
            "failed": [{**_cells(o.cell.values), "error": o.error} for o in self.failed],
            "summary": self.summary(),
            "rows": self.rows(),
        }

    def rows(self) -> list[Row]:
        """The table's rows in the order of the grid.

        Of a scenario: a row for each run and reconfiguration (one for a run without any). Accuracies in percent, costs
        in the scenario's unit; what is said of the run is repeated in all its rows. Of a notebook: a row for each
        execution, with what it recorded; lists are JSON. `status` is finished, or failed with an `error`.
        """
        one = _run_rows if self.runtime else _notebook_rows
        return [
            {**_cells(outcome.cell.values), **row}
            for outcome in self.outcomes
            for row in ([{"status": "failed", "error": outcome.error}] if outcome.result is None else one(outcome))
        ]

    def table(self) -> pd.DataFrame:
        """The rows as a DataFrame; its columns are there in any case, `error` last."""
        import pandas as pd

        rows = self.rows()
        keys = list(self.outcomes[0].cell.values) if self.outcomes else []
        fixed = [*keys, "status", *((*RUN, "reconfiguration", *DECISION) if self.runtime else ())]
        more = dict.fromkeys(name for row in rows for name in row if name not in fixed and name != "error")
        return pd.DataFrame(rows, columns=[*fixed, *more, "error"])

    def runs(self) -> pd.DataFrame:
        """The table with one row for each cell."""
        keys = list(self.outcomes[0].cell.values)
        return self.table().drop_duplicates(keys, ignore_index=True)

    def measures(self) -> list[str]:
        """Columns of numbers that tell how runs went."""
        if self.runtime:
            return ["final_accuracy", "rounds", "total_cost"]
        table = self.runs().drop(columns=[*self.outcomes[0].cell.values, "status", "error"])
        return [str(name) for name in table.select_dtypes("number").columns]

    def summary(self) -> list[Row]:
        """For each combination of the grid: seeds, mean and range of every measure, decisions."""
        table, measures = self.table(), self.measures()
        found: list[Row] = []
        for words, values in {_words_of(o, self.keys): _cells(o.cell.values) for o in self.outcomes}.items():
            chosen = table
            for key, word in zip(self.keys, words, strict=True):
                chosen = chosen[chosen[key].map(shown) == word]
            finished = chosen[chosen["status"] != "failed"]
            runs = finished.drop_duplicates([SEED]) if SEED in finished else finished
            row: Row = {key: values[key] for key in self.keys} | {"runs": len(runs)}
            row |= {name: _spread(runs[name].dropna()) for name in measures}
            if self.runtime:
                row["decisions"] = dict(Counter(finished["decision"].dropna()))
            found.append(row)
        return found

    def text(self) -> str:
        """The summary as a table of text; of many measures the first ones."""
        left_out = self.measures()[_MOST_MEASURES:]
        rows = [
            {name: _words(value, name) for name, value in row.items() if name not in left_out} for row in self.summary()
        ]
        names = list(rows[0]) if rows else []
        wide = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
        lines = [dict(zip(names, names, strict=True)), *rows]
        table = "\n".join("  ".join(f"{line[name]:{wide[name]}}" for name in names).rstrip() for line in lines)
        return table + (f"\n(and {len(left_out)} more columns of numbers in results.csv)" if left_out else "")


def _run_rows(outcome: Outcome) -> list[Row]:
    summary = outcome.result or {}
    run = {"status": summary["status"], **{name: summary[name] for name in RUN}}
    records = summary["reconfigurations"] or [{}]
    return [
        {**run, "reconfiguration": i if record else None, **{name: record.get(name) for name in DECISION}}
        for i, record in enumerate(records, start=1)
    ]


def _notebook_rows(outcome: Outcome) -> list[Row]:
    found = _flat((outcome.result or {})["results"])
    values = outcome.cell.values
    return [{"status": "finished", **{f"result.{n}" if n in values else n: v for n, v in found.items()}}]


def _flat(values: Mapping[str, Any], before: str = "") -> Row:
    row: Row = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            row |= _flat(value, f"{before}{name}.")
        else:
            row[before + name] = json.dumps(value) if isinstance(value, list) else value
    return row


def _cells(values: Mapping[str, Any]) -> Row:
    """Grid values as a table holds them: numbers and text as they are, lists and mappings as JSON."""
    return {key: shown(value) if isinstance(value, list | dict) else value for key, value in values.items()}


def _words_of(outcome: Outcome, keys: Sequence[str]) -> tuple[str, ...]:
    values = _cells(outcome.cell.values)
    return tuple(shown(values[key]) for key in keys)


def _spread(column: Any) -> dict[str, float] | None:
    if column.empty:
        return None
    return {"mean": float(column.mean()), "least": float(column.min()), "most": float(column.max())}


def _words(value: Any, name: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict) and "mean" in value:
        whole = all(float(v).is_integer() for v in (value["least"], value["most"]))
        form = ",.0f" if whole and (value["least"] == value["most"] or name in ("rounds", "total_cost")) else ",.2f"
        mean = format(value["mean"], form)
        if value["least"] == value["most"]:
            return mean
        return f"{mean} ({value['least']:{form}} to {value['most']:{form}})"
    if isinstance(value, dict):
        return ", ".join(f"{n} {word}" for word, n in sorted(value.items())) or "-"
    return str(value)
