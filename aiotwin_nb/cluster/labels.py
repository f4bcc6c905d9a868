"""What a cluster's nodes say about themselves: the original's labels, and one annotation for what labels cannot hold.

::

    fl/type: client                     comm/n2: "20"            cost per MB to node n2
    data/7: "40"                        40 samples of label 7    fl/partition-id, fl/num-partitions: a slot of the data
    aiotwin.io/node (annotation):       JSON with label_noise, energy, speed, rates, as in a scenario
    aiotwin.io/id (label):              the node's id in scenarios, by default its name
    aiotwin.io/measured (annotation):   when and how links were measured, for people

Labels are what `kubectl label node` writes; a node without fl/type takes no part.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from aiotwin_nb.continuum import Node, Role
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.scenario import NodeSpec, number
from aiotwin_nb.scenario.load import mistakes
from aiotwin_nb.scenario.located import dotted

ROLE, SLOT, SLOTS, ID, MORE = "fl/type", "fl/partition-id", "fl/num-partitions", "aiotwin.io/id", "aiotwin.io/node"
MEASURED = "aiotwin.io/measured"
LINK, DATA = "comm/", "data/"
_IN_ANNOTATION = ("label_noise", "energy", "speed", "rates", "load")


def is_labelled(labels: Mapping[str, str]) -> bool:
    """Whether a cluster node says that it takes part."""
    return ROLE in labels


def node_of(name: str, labels: Mapping[str, str], annotations: Mapping[str, str] | None = None) -> Node:
    """The continuum's node that a cluster node describes; raises InvalidInput naming the label that is wrong."""
    raw: dict[str, Any] = {
        "id": labels.get(ID, name),
        "role": labels.get(ROLE),
        "links": _numbered(labels, LINK),
        "data": _numbered(labels, DATA),
        **_more(name, (annotations or {}).get(MORE, "{}")),
    }
    if SLOT in labels or SLOTS in labels:
        raw["partition"] = [labels.get(SLOT), labels.get(SLOTS)]
    try:
        return NodeSpec.model_validate(raw).to_node()
    except ValidationError as error:
        wrong = [f"{_label(path)}: {text}" for path, text in mistakes(NodeSpec, raw, error)]
        raise InvalidInput(f"cluster node {name}: {'; '.join(dict.fromkeys(wrong))}") from None


def labels_of(node: Node) -> dict[str, str]:
    """The labels that describe a node; the annotation holds the rest (`annotations_of`)."""
    labels = {ROLE: node.role.value}
    labels |= {f"{LINK}{peer}": f"{number(cost)}" for peer, cost in node.links.items()}
    labels |= {f"{DATA}{label}": str(samples) for label, samples in node.data.items()}
    if node.partition is not None:
        labels |= {SLOT: str(node.partition[0]), SLOTS: str(node.partition[1])}
    return labels


def annotations_of(node: Node) -> dict[str, str]:
    """The annotation for what labels cannot hold; none where there is nothing to say."""
    written = NodeSpec.of(node).model_dump(mode="json", exclude_defaults=True, include=set(_IN_ANNOTATION))
    return {MORE: json.dumps(written, sort_keys=True)} if written else {}


def is_ours(label: str) -> bool:
    """Whether a label or annotation key is one of those that describe nodes."""
    return label in (ROLE, SLOT, SLOTS, ID, MORE, MEASURED) or label.startswith((LINK, DATA))


def role_names() -> str:
    """The roles that fl/type may name."""
    return ", ".join(role.value for role in Role)


def _numbered(labels: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in labels.items() if key.startswith(prefix)}


def _more(name: str, text: str) -> dict[str, Any]:
    try:
        more = json.loads(text)
    except ValueError:
        more = None
    if not isinstance(more, dict) or not more.keys() <= set(_IN_ANNOTATION):
        allowed = ", ".join(_IN_ANNOTATION)
        raise InvalidInput(f"cluster node {name}: annotation {MORE} must be a JSON object with keys among {allowed}")
    return more


def _label(path: Any) -> str:
    """`links.n2` → `label comm/n2`; `partition[1]` → both labels of the slot."""
    key = dotted(path)
    head, _, rest = key.partition("[")[0].partition(".")
    known = {"role": ROLE, "links": LINK + rest, "data": DATA + rest, "id": ID, "partition": f"{SLOT}, {SLOTS}"}
    return f"label {known[head]}" if head in known else f"annotation {MORE}, {key}"
