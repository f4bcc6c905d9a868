"""What the topology shows: every node with its place, its link, its data and how it is doing; pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from aiotwin_nb.continuum import Infrastructure, Node, Role
from aiotwin_nb.orchestration.state import RunState
from aiotwin_nb.scenario import Scenario, number

ROLES = {Role.GLOBAL_AGGREGATOR: "ga", Role.LOCAL_AGGREGATOR: "la", Role.CLIENT: "client"}
ROLE_WORDS = {"ga": "global aggregator", "la": "local aggregator", "client": "client"}
Standing = Literal["member", "trial", "failed", "idle", "left", "later"]


@dataclass(frozen=True)
class NodeView:
    """A node as it is drawn.

    `parent`: the aggregator it hangs on, empty for the GA and for nodes outside the pipeline. `cost`: of that link, per
    MB. `standing`: member, trial (joined by a change that is being validated), failed (its update was missing in the
    last round), idle (exists, but stays outside), left, or later (is still to join). `note`: the same in a word or two;
    `why`: in a sentence. `data`: samples per label, in the order of the labels shown. `noise`: share of wrong labels.
    """

    id: str
    role: str
    parent: str = ""
    cost: float | None = None
    standing: Standing = "member"
    note: str = ""
    why: str = ""
    data: tuple[int, ...] = ()
    noise: float = 0.0
    part: str = ""


@dataclass(frozen=True)
class Shown:
    """A whole topology. `title`: what it is of; `problem`: why there is no plan."""

    title: str
    labels: tuple[int, ...] = ()
    nodes: Mapping[str, NodeView] = field(default_factory=dict)
    infrastructure: Infrastructure = field(default_factory=lambda: Infrastructure({}))
    problem: str = ""

    def clusters(self) -> dict[str, list[NodeView]]:
        """{aggregator: the nodes that hang on it}, natural order; "" is the outside."""
        found: dict[str, list[NodeView]] = {}
        for view in self.nodes.values():
            if view.role != "ga":
                found.setdefault(view.parent, []).append(view)
        return found

    def as_message(self) -> dict[str, Any]:
        """Everything, for the browser."""
        return {"labels": list(self.labels), "nodes": [_plain(view) for view in self.nodes.values()]}


def message(old: Shown, new: Shown) -> dict[str, Any] | None:
    """What the browser has to be told to show `new` instead of `old`; None when nothing is different."""
    if old.labels != new.labels:
        return {"kind": "graph", **new.as_message()}
    changed = [
        _plain(view) for i, view in new.nodes.items() if view is not old.nodes.get(i) and view != old.nodes.get(i)
    ]
    gone = [i for i in old.nodes if i not in new.nodes]
    return {"kind": "patch", "nodes": changed, "gone": gone} if changed or gone else None


def of_draft(scenario: Scenario, plan: Mapping[str, Any] | None, problem: str = "") -> Shown:
    """A scenario as planned (`api.plan`), with the nodes that join later in the places they will get."""
    parents = _parents(plan["initial"]["clusters"]) if plan else {}
    coming = {node.id: (r, node) for r, change in reversed(scenario.changes().items()) for node in change.added}
    later = {i: pair for i, pair in coming.items() if i not in scenario.infrastructure.nodes}
    for record in reversed(plan["reconfigurations"] if plan else ()):
        own = _parents(record["clusters"])
        parents |= {i: own[i] for i in record["trigger"]["added"] if i in later and i in own}
    everyone = Infrastructure.of([*scenario.infrastructure.nodes.values(), *(node for _, node in later.values())])
    notes: dict[str, tuple[Standing, str, str]] = {
        i: ("later", f"after {r}", f"joins after round {r}") for i, (r, _) in later.items()
    }
    return _shown(f"Draft: {scenario.name}", everyone, parents, notes, problem=problem)


def of_run(state: RunState, name: str, coming: Mapping[str, tuple[int | None, Node]] | None = None) -> Shown:
    """A run as it stands. `coming`: nodes that are to join, with the round after which."""
    parents = state.configuration.parents if state.configuration else {}
    later = dict(_later(state)) | dict(coming or {})
    later = {i: pair for i, pair in later.items() if i not in state.infrastructure.nodes}
    left = {i: node for i, node in state.departed.items() if i not in later}
    nodes = [*state.infrastructure.nodes.values(), *left.values(), *(node for _, node in later.values())]
    notes = dict(_standings(state, parents))
    notes |= dict.fromkeys(left, ("left", "left", "has left"))
    for i, (r, _) in later.items():
        when = "at the next round boundary" if r is None else f"after round {r}"
        notes[i] = ("later", "next" if r is None else f"after {r}", f"joins {when}")
    return _shown(f"{name}, after round {max(state.round, 0)}", Infrastructure.of(nodes), parents, notes)


def _later(state: RunState) -> Iterator[tuple[str, tuple[int | None, Node]]]:
    for r, change in reversed(tuple(state.rules.changes.items())):
        if r > state.boundary and state.status == "running":
            yield from ((node.id, (r, node)) for node in change.added)


def _standings(state: RunState, parents: Mapping[str, str]) -> Iterator[tuple[str, tuple[Standing, str, str]]]:
    """The nodes about which there is something to say."""
    for i in state.idle:
        yield i, ("idle", "idle", _why_idle(state, i))
    if state.window is not None:
        record = state.reconfigurations[state.window.index]
        for i in record.joined:
            yield i, ("trial", "on trial", f"joined after round {record.after_round}; on trial until the decision")
    problems = state.checkpoint.result.problems if state.checkpoint else {}
    for i, text in problems.items():
        if i in parents:
            yield i, ("failed", "failed", f"no update in round {state.round}: {text}")


def _why_idle(state: RunState, node_id: str) -> str:
    if node_id in state.overloaded:
        return "stays outside: it is avoided"
    verdicts = [r.decision for r in state.reconfigurations if node_id in r.joined]
    words = {"refused": "its joining was refused", "reverted": "its joining was taken back"}
    return f"stays outside: {words.get(verdicts[-1] if verdicts else '', 'it is not part of the configuration')}"


def _shown(
    title: str,
    everyone: Infrastructure,
    parents: Mapping[str, str],
    notes: Mapping[str, tuple[Standing, str, str]],
    problem: str = "",
) -> Shown:
    labels = tuple(sorted({label for node in everyone.nodes.values() for label in node.data}))
    ga = everyone.global_aggregator
    used = {parent for parent in parents.values() if parent != ga}
    nodes = {}
    for i, node in everyone.nodes.items():
        parent = ga if i in used else parents.get(i, "")
        standing, note, why = notes.get(i) or (_unplaced(node) if not parent and i != ga else ("member", "", ""))
        view = NodeView(i, ROLES[node.role], parent, standing=standing, note=note, why=why, **_data(node, labels))
        cost = everyone.link(i, parent) if parent else None
        nodes[i] = view if cost is None else replace(view, cost=number(cost))
    return Shown(title, labels, nodes, everyone, problem)


def _unplaced(node: Node) -> tuple[Standing, str, str]:
    if node.role is Role.LOCAL_AGGREGATOR:
        return "idle", "unused", "serves no clients in this configuration"
    return "idle", "no place", "has no place in this configuration"


def _data(node: Node, labels: Sequence[int]) -> dict[str, Any]:
    data = tuple(node.data.get(label, 0) for label in labels) if node.data else ()
    noise = node.label_noise.share if node.label_noise.kind != "none" else 0.0
    return {
        "data": data,
        "noise": noise,
        "part": "" if node.partition is None else f"{node.partition[0]}/{node.partition[1]}",
    }


def _parents(clusters: Mapping[str, Iterable[str]]) -> dict[str, str]:
    return {client: aggregator for aggregator, clients in clusters.items() for client in clients}


def _plain(view: NodeView) -> dict[str, Any]:
    """A view without what is empty, to keep messages small."""
    return {key: value for key, value in asdict(view).items() if value not in ("", None, (), 0.0) or key == "cost"}


# In words.


def describe(shown: Shown) -> str:
    """The tree in words: roles, links, data, and who stays outside."""
    lines = [f"Topology. {shown.title}" + (f" ({shown.problem})" if shown.problem else "")]
    clusters = shown.clusters()
    for root in (view for view in shown.nodes.values() if view.role == "ga"):
        lines.append(f"{root.id}: global aggregator")
        for view in clusters.get(root.id, ()):
            lines.append(f"  {line(view, shown.labels)}")
            lines += [f"    {line(client, shown.labels)}" for client in clusters.get(view.id, ())]
    if outside := clusters.get("", ()):
        lines.append("outside the pipeline:")
        lines += [f"  {line(view, shown.labels)}" for view in outside]
    return "\n".join(lines)


def line(view: NodeView, labels: Sequence[int]) -> str:
    """A node in a line of words."""
    parts = [f"{view.id}: {ROLE_WORDS[view.role]}"]
    if view.cost is not None:
        parts.append(f"link to {view.parent} costs {view.cost:,} per MB")
    if view.role == "client":
        parts.append(data_words(view, labels))
    if view.why:
        parts.append(view.why)
    return ", ".join(part for part in parts if part)


def data_words(view: NodeView, labels: Sequence[int]) -> str:
    """A client's data in words: samples of which labels, how many of them wrong."""
    held = {label: count for label, count in zip(labels, view.data, strict=False) if count}
    if not held:
        return f"part {view.part} of the data" if view.part else "no samples declared"
    counts = set(held.values())
    each = f"{counts.pop():,} each" if len(counts) == 1 else "unevenly"
    text = f"{sum(held.values()):,} samples of labels {', '.join(map(str, held))} ({each})"
    return text + (f", {view.noise:.0%} of the labels wrong" if view.noise else "")
