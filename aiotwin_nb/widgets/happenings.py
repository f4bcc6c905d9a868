"""What happens to a run's nodes, in words: scripted events, people's commands, and what is foretold of a change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from aiotwin_nb.orchestration.foretell import Foretold
from aiotwin_nb.orchestration.state import RunState
from aiotwin_nb.planning.configuration import diff
from aiotwin_nb.scenario import Scenario, number
from aiotwin_nb.widgets.follow import SentCommand

Status = Literal["scripted", "received", "applied", "rejected", "missed"]


@dataclass(frozen=True)
class Happening:
    """One event or command. `after_round`: when it acts; None: at the next boundary. `reason`: why it did not act."""

    after_round: int | None
    what: str
    source: Literal["scripted", "injected"]
    status: Status
    reason: str = ""


def of_draft(scenario: Scenario) -> list[Happening]:
    """The events of a draft, in the order in which they act."""
    return [
        Happening(
            event.after_round, words(event.model_dump(mode="json", exclude_defaults=True)), "scripted", "scripted"
        )
        for event in sorted(scenario.events, key=lambda event: event.after_round)
    ]


def of_run(state: RunState, commands: Iterable[SentCommand]) -> list[Happening]:
    """Everything scripted for a run and sent to it, in the order in which it acts."""
    ended = state.status in ("finished", "failed")
    found = [_scripted(happening, state, ended) for happening in of_draft(state.rules.scenario)]
    found += [_injected(sent, ended) for sent in commands]
    return sorted(found, key=lambda happening: 10**9 if happening.after_round is None else happening.after_round)


def _scripted(happening: Happening, state: RunState, ended: bool) -> Happening:
    acted = happening.after_round is not None and happening.after_round <= state.boundary
    status: Status = "applied" if acted else "missed" if ended else "scripted"
    reason = "the run ended before" if status == "missed" else ""
    return Happening(happening.after_round, happening.what, "scripted", status, reason)


def _injected(sent: SentCommand, ended: bool) -> Happening:
    moment = sent.after_round if sent.after_round is not None else sent.command.get("after_round")
    what = "the run stops" if sent.command.get("command") == "stop" else words(sent.command)
    if sent.status == "received" and ended:
        return Happening(moment, what, "injected", "missed", "the run ended before")
    return Happening(moment, what, "injected", sent.status, sent.reason)


def words(raw: Mapping[str, Any]) -> str:
    """A change in its scenario form, in words."""
    return "; ".join(_parts(raw)) or "nothing that can be read"


def _parts(raw: Mapping[str, Any]) -> Iterator[str]:
    for node in raw.get("add", ()):
        yield f"{node.get('id')} joins" + (" as a local aggregator" if node.get("role") == "local_aggregator" else "")
    for node_id in raw.get("remove", ()):
        yield f"{node_id} leaves"
    for node_id, links in raw.get("link", {}).items():
        yield from (f"the link {node_id}–{peer} costs {cost:,}" for peer, cost in links.items())
    for node_id, data in raw.get("data", {}).items():
        yield f"{node_id} has " + ", ".join(f"{count:,} samples of label {label}" for label, count in data.items())
    if drop := raw.get("drop"):
        yield f"the {drop.get('clients', 1)} least useful of the clients are left out"


# What is foretold.


def verdict(told: Foretold) -> str:
    """What the orchestrator would do about a change, in a sentence."""
    record = told.record
    if told.ended and record is None:
        return f"{_capital(told.ended)}."
    if record is None and told.skipped:
        return f"Nothing happens: {told.skipped[0]}"
    if record is None:
        return "Members and places stay as they are."
    sentences = {
        "pending": f"The change is made, {record.reason}.",
        "not_validated": f"The change is made and stays: {record.reason}.",
        "forced": f"The change must be made: {record.reason}.",
        "refused": f"The change is refused ({record.reason}).",
    }
    sentence = sentences.get(record.decision, f"{record.decision}: {record.reason}.")
    return f"{sentence} {_capital(told.ended)}." if told.ended else sentence


def moves(told: Foretold) -> list[str]:
    """ΔR: who joins, leaves and moves, and which aggregators open and close."""
    delta = diff(told.before.configuration, told.after.configuration)
    parents, was = told.after.configuration.parents, told.before.configuration.parents
    found = [f"{client} joins {parents[client]}" for client in delta.joined]
    found += [f"{client} leaves {was[client]}" for client in delta.left]
    found += [f"{client} moves from {old} to {new}" for client, old, new in delta.moved]
    ga = told.after.configuration.global_aggregator
    found += [f"{aggregator} is opened" for aggregator in delta.opened if aggregator != ga]
    return found + [f"{aggregator} is closed" for aggregator in delta.closed if aggregator != ga]


def foretold_text(told: Foretold) -> str:
    """What is foretold, as plain text."""
    before, after = told.before, told.after
    lines = [
        f"After round {told.after_round}: {verdict(told)}",
        f"change cost {number(told.change_cost):,}",
        f"cost per round {number(before.round_cost):,} → {number(after.round_cost):,}",
        f"rounds left {before.rounds_left:,} → {after.rounds_left:,}",
    ]
    if changes := moves(told):
        lines.append("; ".join(changes))
    return "\n".join([*lines, *(f"assuming that {text}" for text in told.assuming)])


_SHOWN = 8


def foretold_html(told: Foretold) -> str:
    """What is foretold, as HTML: before → after, who moves, and what the orchestrator would do."""
    before, after = told.before, told.after
    difference = number(after.round_cost - before.round_cost)
    rows = [
        ("Ψ_rc: paid once for the change", "change cost Ψ_rc", "", f"{number(told.change_cost):,}", ""),
        (
            "Ψ_gr: what one global round costs",
            "cost per round Ψ_gr",
            f"{number(before.round_cost):,} →",
            f"{number(after.round_cost):,}",
            f"{difference:+,}" if difference else "",
        ),
        (
            "rounds that budget and max_rounds allow",
            "rounds left",
            f"{before.rounds_left:,} →",
            f"{after.rounds_left:,}",
            "",
        ),
    ]
    changes = moves(told)
    more = f"; and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    listed = escape("; ".join(changes[:_SHOWN]) + more) or "nobody moves"
    assuming = "".join(f'<p class="aiotwin-quiet">Assuming that {escape(text)}.</p>' for text in told.assuming)
    return (
        f'<div class="aiotwin-card"><b>After round {told.after_round}</b>'
        f'<table class="aiotwin-figures">{"".join(map(_row, rows))}</table>'
        f"<p>{listed}</p><p>{escape(verdict(told))}</p>{assuming}</div>"
    )


def _row(row: tuple[str, str, str, str, str]) -> str:
    title, name, before, after, note = map(escape, row)
    return (
        f'<tr><th scope="row" title="{title}">{name}</th><td>{before}</td><td><b>{after}</b></td><td>{note}</td></tr>'
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# The list.

_MARKS = {
    "scripted": "○ to come",
    "received": "○ received",
    "applied": "● applied",
    "rejected": "✕ rejected",
    "missed": "✕ missed",
}


def as_text(happenings: Iterable[Happening]) -> str:
    """The list in words, one line each."""
    return "\n".join(
        f"{_when(h)}: {h.what} ({h.source}, {_MARKS[h.status][2:]}{f': {h.reason}' if h.reason else ''})"
        for h in happenings
    )


def as_html(happenings: Iterable[Happening]) -> str:
    """The list as an HTML table."""
    rows = "".join(map(_listed, happenings))
    if not rows:
        return '<p class="aiotwin-quiet">Nothing has happened and nothing is scripted.</p>'
    head = "".join(f'<th scope="col">{name}</th>' for name in ("when", "what", "from", "state"))
    return f'<table class="aiotwin-list"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _listed(happening: Happening) -> str:
    reason = f'<br><span class="aiotwin-wrong">{escape(happening.reason)}</span>' if happening.reason else ""
    cells = (_when(happening), escape(happening.what), happening.source, _MARKS[happening.status] + reason)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _when(happening: Happening) -> str:
    if happening.after_round is None:
        return "at once" if happening.status == "rejected" else "next boundary"
    return f"after round {happening.after_round}"
