"""One reconfiguration as a card: what changes, what it costs, how its validation stands, what was decided and why.

Pure: from records to HTML and words. The HTML follows the theme of JupyterLab by its CSS variables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from html import escape

from aiotwin_nb.continuum import Change
from aiotwin_nb.orchestration.events import DecisionName, Reconfiguration, Window
from aiotwin_nb.orchestration.summary import reconfiguration
from aiotwin_nb.planning.configuration import diff
from aiotwin_nb.scenario import number
from aiotwin_nb.widgets.figures import caveats
from aiotwin_nb.widgets.futures import decision_words
from aiotwin_nb.widgets.truth import Branch, verdict

SYMBOLS: dict[DecisionName, str] = {
    "kept": "✔",
    "reverted": "↩",
    "undecided": "?",
    "not_validated": "○",
    "forced": "!",
    "refused": "✘",
    "pending": "…",
}
TERMS = {
    "ΔR": "ΔR: the reconfiguration changes: who joins, leaves or moves",
    "Ψ_rc": "Ψ_rc: what the change itself costs, once (reconfiguration change cost)",
    "Ψ_gr": "Ψ_gr: what one global round costs",
    "Ψ_pr": "Ψ_pr: what every later round costs more than before (post-reconfiguration cost)",
    "W": "W: the validation window, in global rounds: so long the new configuration is tried before the decision",
}


@dataclass(frozen=True)
class Card:
    """What a card shows.

    `record`: with the evidence so far while it is pending. `window`: while it is open. `round`: the last finished one.
    `revealed`: whether the evidence of a pending record may be shown. `branch`: what both roads gave, once known.
    """

    record: Reconfiguration
    round: int
    window: Window | None = None
    revealed: bool = True
    branch: Branch | None = None

    @property
    def pending(self) -> bool:
        """Whether its decision has still to fall."""
        return self.record.decision == "pending"

    @property
    def has_futures(self) -> bool:
        """Whether there is a prediction, and it may be shown."""
        known = self.record.predicted_old is not None or self.record.predicted_new is not None
        return known and (self.revealed or not self.pending)


# Words.


def title(record: Reconfiguration) -> str:
    """`After round 10: n9 joins`."""
    return f"After round {record.after_round}: {trigger_words(record.trigger)}"


def trigger_words(change: Change) -> str:
    """What set a reconfiguration off."""
    words = [f"{node.id} joins" for node in change.added] + [f"{i} leaves" for i in change.removed]
    words += [f"{i} is avoided" for i in change.avoided] + [f"{i} comes back" for i in change.readmitted]
    words += [f"links of {i} change" for i in change.links] + [f"data of {i} change" for i in change.data]
    return ", ".join(words) or "a change"


def delta_words(record: Reconfiguration) -> list[str]:
    """ΔR, an entry for every node: who joins whom, who leaves, who moves from where to where."""
    delta = diff(record.previous, record.configuration)
    before, after = record.previous.parents, record.configuration.parents
    return [
        *(f"{i} joins {after[i]}" for i in delta.joined),
        *(f"{i} leaves {before[i]}" for i in delta.left),
        *(f"{i} moves from {old} to {new}" for i, old, new in delta.moved),
        *(f"aggregator {i} opens" for i in delta.opened),
        *(f"aggregator {i} closes" for i in delta.closed),
    ] or ["nobody moves"]


def why(record: Reconfiguration) -> str:
    """The decision and its reason, in a sentence or two."""
    name = decision_words(record.decision)
    if record.decision in ("kept", "reverted") and None not in (record.predicted_old, record.predicted_new):
        return f"{name.capitalize()}: {record.reason}. {caveats(reconfiguration(record))}".strip()
    if record.decision == "pending":
        return "The decision falls when the window is full."
    return f"{name.capitalize()}: {record.reason}."


def progress(card: Card) -> tuple[int, int] | None:
    """Rounds done and rounds of the window W; None when there is or was no window."""
    if card.window is not None:
        start, end = card.window.start_round, card.window.evaluation_round
        return min(card.round, end) - start, end - start
    if card.record.accuracy_at_evaluation is None or card.record.evaluation_round is None:
        return None
    rounds = card.record.evaluation_round - card.record.after_round
    return rounds, rounds


def truth_words(card: Card) -> str:
    """Whether the decision was right, once both roads are known; empty before."""
    branch, record = card.branch, card.record
    if branch is None or card.pending:
        return ""
    taken = "reverted" if record.decision in ("reverted", "refused") else "kept"
    match verdict(taken, branch):
        case "none" if record.decision == "refused":
            return "There is no other road: the change was never made."
        case "none":
            return "There is no other road: this change could not be undone."
        case "either":
            return f"= Either would have done: {_ends(branch)}, less than half a point apart."
        case "right":
            return f"✔ Right: {_ends(branch)}. {_better(branch)}"
        case _:
            return f"✘ Wrong: {_ends(branch)}. {_better(branch)}"


def _ends(branch: Branch) -> str:
    kept, reverted = branch["kept"]["final_accuracy"], branch["reverted"]["final_accuracy"]
    return f"kept, the run ends at {kept:.1f} %; reverted, at {reverted:.1f} %"


def _better(branch: Branch) -> str:
    gap = abs(branch["kept"]["final_accuracy"] - branch["reverted"]["final_accuracy"])
    return f"{'Keeping' if branch['best'] == 'kept' else 'Reverting'} was better by {gap:.1f} points."


def words(card: Card) -> str:
    """The whole card as a paragraph."""
    record = card.record
    parts = [
        f"{title(record)}: {SYMBOLS[record.decision]} {decision_words(record.decision)}.",
        f"ΔR: {', '.join(delta_words(record))}.",
        f"Ψ_rc {amount(record.change_cost)}; Ψ_gr {amount(record.round_cost_before)} → "
        f"{amount(record.round_cost_after)} (Ψ_pr {signed(record.post_cost)}).",
    ]
    if card.pending and (done := progress(card)) is not None:
        parts.append(f"Round {done[0]} of {done[1]} of the window.")
    parts += [why(record), truth_words(card)]
    return " ".join(part for part in parts if part)


def amount(cost: Decimal) -> str:
    """A cost, with thousands set off."""
    return f"{number(cost):,}"


def signed(cost: Decimal) -> str:
    """A cost with its sign."""
    return f"{number(cost):+,}"


# HTML.


def header(card: Card) -> str:
    """Title, decision, ΔR and costs."""
    record = card.record
    badge = f"{SYMBOLS[record.decision]} {decision_words(record.decision)}"
    moves = "".join(f"<li>{escape(move)}</li>" for move in delta_words(record))
    round_cost = f"{amount(record.round_cost_before)} → {amount(record.round_cost_after)}"
    facts = (
        _fact("ΔR", "proposed" if record.decision == "refused" else "who", f"<ul>{moves}</ul>"),
        _fact("Ψ_rc", "the change", amount(record.change_cost)),
        _fact("Ψ_gr", "a round", round_cost),
        _fact("Ψ_pr", "more a round", signed(record.post_cost)),
    )
    return (
        f'<div class="head"><h4>{escape(title(record))}</h4>'
        f'<span class="badge {record.decision}">{badge}</span></div>'
        f'<div class="facts">{"".join(facts)}</div>'
    )


def window_bar(card: Card) -> str:
    """How far the validation is; empty when there is none."""
    if (done := progress(card)) is None:
        return ""
    rounds, of = done
    name = f"<span class='quiet'>{_term('W')} window</span>"
    if not card.pending:
        return f'<div class="window">{name} {of} rounds, full after round {card.record.evaluation_round}</div>'
    return (
        f'<div class="window">{name}<div class="bar" role="progressbar" aria-label="validation window" '
        f'aria-valuemin="0" aria-valuemax="{of}" aria-valuenow="{rounds}">'
        f'<i style="width:{100 * rounds / of if of else 100:.0f}%"></i></div>round {rounds} of {of}</div>'
    )


def futures(card: Card) -> str:
    """Both predicted futures in numbers; empty where there is none to show."""
    record = card.record
    if card.pending and not card.revealed:
        return '<p class="veil">The prediction is hidden until you have sealed yours, under <b>Predict first</b>.</p>'
    if not card.has_futures:
        return ""
    when = f"as it stands after round {record.evaluation_round}" if card.pending else "as predicted"
    back = "–" if record.revert_cost is None else amount(record.revert_cost)
    rows = (
        ("◻", "old", "revert", record.predicted_old, record.interval_old, record.rounds_left_old, back),
        ("●", "new", "keep", record.predicted_new, record.interval_new, record.rounds_left_new, "0"),
    )
    body = "".join(
        f'<tr><th scope="row"><span class="{which}">{mark}</span> {name} ({which} configuration)</th>'
        f"<td>{_percent(end)}</td><td>{_interval(interval)}</td><td>{'–' if left is None else f'{left:,}'}</td>"
        f"<td>{cost}</td></tr>"
        for mark, which, name, end, interval, left, cost in rows
    )
    heads = ("final accuracy", "80 % interval", "rounds left", "to get there")
    return (
        f'<table><caption>Both futures, {when}</caption><thead><tr><th scope="col">if we …</th>'
        + "".join(f'<th scope="col">{head}</th>' for head in heads)
        + f"</tr></thead><tbody>{body}</tbody></table>"
    )


def verdict_html(card: Card) -> str:
    """Why it was decided so, and whether that was right."""
    truth = truth_words(card)
    shown = "" if not truth else f'<div class="truth"><p>{escape(truth)}</p>{_bars(card)}</div>'
    return f'<p class="why">{escape(why(card.record))}</p>{shown}'


def _bars(card: Card) -> str:
    branch = card.branch
    if branch is None or branch["kept"] is None or branch["reverted"] is None:
        return ""
    rows = (("kept", "new", branch["kept"]), ("reverted", "old", branch["reverted"]))
    return '<div class="ends">' + "".join(
        f"<span>{name}</span><div class='bar'><i class='{which}' style='width:{end['final_accuracy']:.1f}%'></i></div>"
        f"<span>{end['final_accuracy']:.1f} % after {end['rounds']} rounds</span>"
        for name, which, end in rows
    ) + "</div>"  # fmt: skip


def _fact(symbol: str, meaning: str, value: str) -> str:
    return f'<div><span class="quiet">{_term(symbol)} {meaning}</span><b>{value}</b></div>'


def _term(symbol: str) -> str:
    """A symbol that explains itself when pointed at or focused."""
    base, _, index = symbol.partition("_")
    shown = f"{base}<sub>{index}</sub>" if index else base
    return f'<abbr title="{escape(TERMS[symbol])}" tabindex="0">{shown}</abbr>'


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} %"


def _interval(interval: Iterable[float] | None) -> str:
    return "–" if interval is None else " to ".join(f"{end:.1f}" for end in interval)


STYLE = """<style>
.aiotwin-decisions { --keep: #009E73; --revert: #D55E00; --wait: #E69F00; --line: var(--jp-border-color2, #ccc);
  --soft: var(--jp-layout-color2, #eee); color: var(--jp-ui-font-color1, #1a1a1a); max-width: 1000px }
.aiotwin-card { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px 12px; margin: 4px 2px 10px;
  background: var(--jp-layout-color1, #fff) }
.aiotwin-card .widget-html-content { line-height: 1.45; font-size: var(--jp-ui-font-size1, 13px) }
.aiotwin-card .widget-html, .aiotwin-card .jupyter-widget-html { margin: 0; height: auto }
.aiotwin-card .head { display: flex; align-items: center; gap: 12px; flex-wrap: wrap }
.aiotwin-card h4 { margin: 0; font-size: 1.15em; font-weight: 600; flex: 1 }
.aiotwin-card .badge { border: 1.5px solid var(--jp-ui-font-color2, #666); border-radius: 12px; padding: 1px 11px;
  font-weight: 600 }
.aiotwin-card .badge.kept { border-color: var(--keep); background: rgb(0 158 115 / 16%) }
.aiotwin-card .badge.reverted { border-color: var(--revert); background: rgb(213 94 0 / 16%) }
.aiotwin-card .badge.pending { border-color: var(--wait); background: rgb(230 159 0 / 18%) }
.aiotwin-card .facts { display: flex; flex-wrap: wrap; gap: 4px 32px; margin: 8px 0 2px }
.aiotwin-card .facts b { display: block; font-weight: 600; font-variant-numeric: tabular-nums }
.aiotwin-card ul { margin: 0; padding: 0; list-style: none }
.aiotwin-card abbr { text-decoration: underline dotted; text-underline-offset: 3px; cursor: help }
.aiotwin-card .window { display: flex; align-items: center; gap: 10px; margin: 8px 0 2px }
.aiotwin-card .bar { flex: 1; height: 8px; max-width: 340px; border-radius: 4px; background: var(--soft);
  border: 1px solid var(--line); overflow: hidden }
.aiotwin-card .bar i { display: block; height: 100%; background: var(--wait) }
.aiotwin-card .bar i.new { background: var(--keep) } .aiotwin-card .bar i.old { background: var(--revert) }
.aiotwin-card img { display: block; width: 100%; max-width: 860px; margin: 8px 0; border-radius: 6px }
.aiotwin-card table { border-collapse: collapse; margin: 8px 0; font-variant-numeric: tabular-nums; width: auto }
.aiotwin-card caption { text-align: left; color: var(--jp-ui-font-color2, #555); padding: 0 0 3px; font-size: .92em }
.aiotwin-card th, .aiotwin-card td { border: 0; border-bottom: 1px solid var(--line); padding: 3px 22px 3px 0;
  text-align: right; background: none }
.aiotwin-card tr > :first-child { text-align: left } .aiotwin-card thead th { font-weight: 400 }
.aiotwin-card tbody th { font-weight: 400 }
.aiotwin-card .new { color: var(--keep) } .aiotwin-card .old { color: var(--revert) }
.aiotwin-card .why { margin: 6px 0 0; max-width: 80ch }
.aiotwin-card .veil { margin: 8px 0; padding: 8px 12px; border-left: 3px solid var(--wait); background: var(--soft) }
.aiotwin-card .truth { margin: 10px 0 0; padding: 8px 12px; border-left: 3px solid #0072B2; background: var(--soft) }
.aiotwin-card .truth p { margin: 0 } .aiotwin-card .truth p:first-child { font-weight: 600 }
.aiotwin-card .ends { display: grid; grid-template-columns: max-content minmax(60px, 340px) max-content; gap: 3px 10px;
  align-items: center; margin-top: 6px }
.aiotwin-card .right .widget-html-content { text-align: right }
.aiotwin-decisions .quiet { color: var(--jp-ui-font-color2, #555) }
</style>"""
