"""The original system's headerless CSV of nodes, used for the cluster at the start and for the nodes that join.

Two forms, told apart by the number of columns of each line; an empty text means "none":

    id,type,"peer:cost,...",energy,num_partitions,partition_id       6 columns
    id,type,"peer:cost,...","label:count,..."                        4 columns
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NoReturn, TypeVar

from aiotwin_nb.continuum.model import Node, Role
from aiotwin_nb.errors import InvalidInput, did_you_mean

K = TypeVar("K")
V = TypeVar("V")


def read_nodes_csv(path: Path) -> tuple[Node, ...]:
    """Read the nodes of an original CSV file, in the order of its lines.

    Raises InvalidInput naming file, line, field, value and what is allowed.
    """
    nodes: list[Node] = []
    lines: dict[str, int] = {}
    for line in _lines(Path(path)):
        node = line.node()
        if node.id in lines:
            line.refuse("id", node.id, f"an id of its own for every node; line {lines[node.id]} has this one already")
        lines[node.id] = line.number
        nodes.append(node)
    return tuple(nodes)


def write_nodes_csv(nodes: Iterable[Node], path: Path) -> None:
    """Write nodes in the 4-column form, which has no place for energy, partition and label noise.

    Raises InvalidInput for a node id with a comma, which the format cannot carry in its list of links.
    """
    nodes = tuple(nodes)
    for node_id in (i for node in nodes for i in (node.id, *node.links) if "," in i):
        raise InvalidInput(f"cannot write node id {node_id!r} to {path}: the CSV form allows no comma in an id")
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(_row(node) for node in nodes)


def _row(node: Node) -> tuple[str, str, str, str]:
    links = ",".join(f"{peer}:{cost:f}" for peer, cost in node.links.items())
    data = ",".join(f"{label}:{count}" for label, count in node.data.items())
    return node.id, node.role.value, links, data


def _lines(path: Path) -> Iterator[_Line]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for columns in reader:
                if any(column.strip() for column in columns):
                    yield _Line(path, reader.line_num, tuple(column.strip() for column in columns))
    except OSError as error:
        raise InvalidInput(
            f"cannot read the nodes file {path}: {error.strerror or error}; give a readable CSV"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    except csv.Error as error:
        raise InvalidInput(f"{path}, line {reader.line_num}: not CSV ({error}); check its quotation marks") from error


@dataclass(frozen=True)
class _Line:
    """One line of the file, and where it stands for the error messages."""

    path: Path
    number: int
    columns: tuple[str, ...]

    def node(self) -> Node:
        match self.columns:
            case node_id, role, links, data:
                return Node(self._id(node_id), self._role(role), self._links(links), data=self._data(data))
            case node_id, role, links, energy, total, index:
                joule = self._cost("energy", energy) if energy else None
                partition = self._partition(index, total)
                return Node(self._id(node_id), self._role(role), self._links(links), energy=joule, partition=partition)
            case _:
                self.refuse(
                    "line",
                    ",".join(self.columns),
                    f"4 columns (id, type, links, data) or 6 (id, type, links, energy, num_partitions, partition_id), "
                    f"not {len(self.columns)}; put links and data in quotation marks",
                )

    def refuse(self, field: str, value: str, allowed: str) -> NoReturn:
        raise InvalidInput(f"{self.path}, line {self.number}, {field}: {value!r} is wrong; allowed is {allowed}")

    def _id(self, text: str) -> str:
        return text or self.refuse("id", text, "a name that is not empty, e.g. n4")

    def _role(self, text: str) -> Role:
        roles = [role.value for role in Role]
        if text not in roles:
            self.refuse("type", text, ", ".join(roles) + "." + did_you_mean(text, roles))
        return Role(text)

    def _links(self, text: str) -> dict[str, Decimal]:
        return self._pairs("links", text, "peer:cost", lambda peer: peer or self._bad_peer(text), self._cost)

    def _bad_peer(self, text: str) -> NoReturn:
        self.refuse("links", text, "peer:cost pairs such as n2:20, each with the id of a node before the colon")

    def _data(self, text: str) -> dict[int, int]:
        return self._pairs("data", text, "label:count", lambda label: self._whole("data", label), self._whole)

    def _partition(self, index: str, total: str) -> tuple[int, int] | None:
        if not index and not total:
            return None
        size = self._whole("num_partitions", total)
        place = self._whole("partition_id", index)
        if place >= size:
            self.refuse("partition_id", index, f"0 to num_partitions - 1, and num_partitions is {size}")
        return place, size

    def _pairs(
        self, field: str, text: str, form: str, key_of: Callable[[str], K], value_of: Callable[[str, str], V]
    ) -> dict[K, V]:
        pairs: dict[K, V] = {}
        for item in text.split(",") if text else ():
            key_text, colon, value_text = item.strip().rpartition(":")
            if not colon:
                self.refuse(field, item, f"{form} pairs separated by commas")
            key = key_of(key_text.strip())
            if key in pairs:
                self.refuse(field, item, f"each {form.partition(':')[0]} only once")
            pairs[key] = value_of(field, value_text.strip())
        return pairs

    def _cost(self, field: str, text: str) -> Decimal:
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or number < 0:
            self.refuse(field, text, "a finite number, 0 or more")
        return number

    def _whole(self, field: str, text: str) -> int:
        if not (text.isascii() and text.isdigit()):
            self.refuse(field, text, "a whole number, 0 or more")
        return int(text)
