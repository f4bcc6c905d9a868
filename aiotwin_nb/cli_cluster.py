"""`aiotwin cluster …`: get a cluster, look at it, share it among groups, label its nodes, clean up after a run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiotwin_nb.errors import InvalidInput

if TYPE_CHECKING:
    from aiotwin_nb.cluster.connection import Connection
    from aiotwin_nb.orchestration.ports import ClusterProvider, ClusterStatus

CREATORS = ("k3d", "k3s")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verbs below `cluster`."""
    verbs = parser.add_subparsers(dest="cluster_verb", required=True, metavar="VERB")
    for name, (arguments, action, text) in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        arguments(verb)
        verb.set_defaults(cluster_action=action)


def run(options: argparse.Namespace) -> int:
    """Run one of them; returns the exit code."""
    return int(options.cluster_action(options))


# attach, status.


def _connection_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="default: the cluster attached to, else kubectl's"
    )
    parser.add_argument("--context", metavar="NAME", help="a context of the kubeconfig; default: its current one")
    parser.add_argument(
        "--namespace", metavar="NAME", help="where runs take place; default: the context's, else aiotwin"
    )


def _json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="only JSON on standard output")


def _look_arguments(parser: argparse.ArgumentParser) -> None:
    _connection_arguments(parser)
    _json_argument(parser)


def _attach(options: argparse.Namespace) -> int:
    status = _provider("attach", **_choice(options)).create({})
    code = _report(status, options.json)
    if status.reachable and not options.json:
        print("attached: used from now on by `aiotwin run SCENARIO --runtime kubernetes`")
    return code


def _status(options: argparse.Namespace) -> int:
    return _report(_provider("attach", **_choice(options)).status(), options.json)


def _choice(options: argparse.Namespace) -> dict[str, Any]:
    return {"kubeconfig": options.kubeconfig, "context": options.context, "namespace": options.namespace}


# create, delete.


def _provider_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--provider", choices=CREATORS, required=True, help="k3d: in Docker; k3s: on hosts")
    parser.add_argument("--yes", action="store_true", help="agree that hosts are changed, as root (k3s)")


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    _provider_arguments(parser)
    parser.add_argument("--agents", type=int, metavar="N", help="how many agents (k3d; default: as in its file)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="k3d's configuration file instead of k3s/k3d.yaml")
    parser.add_argument(
        "--host", action="append", default=[], metavar="[USER@]HOST", help="by SSH; the first is the server (k3s)"
    )
    parser.add_argument(
        "--address", metavar="ADDRESS", help="how agents reach the server (k3s; default: its host's name)"
    )
    _json_argument(parser)


def _create(options: argparse.Namespace) -> int:
    return _report(_provider(options.provider, **_creating(options)).create({}), options.json)


def _creating(options: argparse.Namespace) -> dict[str, Any]:
    given = {
        "--agents": options.agents,
        "--config": options.config,
        "--host": options.host,
        "--address": options.address,
    }
    of_other = {"k3d": ("--host", "--address"), "k3s": ("--agents", "--config")}[options.provider]
    if wrong := [name for name in of_other if given[name]]:
        raise InvalidInput(f"{wrong[0]}: is not for --provider {options.provider}; leave it out")
    if options.agents is not None and options.agents < 0:
        raise InvalidInput(f"--agents {options.agents}: must be 0 or more")
    if options.provider == "k3d":
        if options.config is not None and not options.config.is_file():
            raise InvalidInput(f"--config {options.config}: there is no such file")
        return {"agents": options.agents, "config": options.config, "tell": _tell}
    return {"hosts": options.host, "address": options.address, "agreed": options.yes, "tell": _tell}


def _delete(options: argparse.Namespace) -> int:
    from aiotwin_nb.cluster import providers

    agreed = {"agreed": options.yes} if options.provider == "k3s" else {}
    providers.get(options.provider)(tell=_tell, **agreed).delete()
    print(f"deleted what was created here with --provider {options.provider}")
    return 0


def _detach(options: argparse.Namespace) -> int:
    from aiotwin_nb.cluster import providers

    providers.get("attach")().delete()
    print("no cluster is attached to any more; the cluster itself stays as it is")
    return 0


# label.


def _label_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", metavar="SCENARIO", nargs="?", help="a scenario file or the name of a lab")
    parser.add_argument(
        "--map", dest="pairs", action="append", default=[], metavar="NODE=CLUSTER_NODE", help="where names differ"
    )
    parser.add_argument("--partial", action="store_true", help="leave out nodes that the cluster has not")
    parser.add_argument("--clear", action="store_true", help="remove these labels from all other nodes")
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")
    _look_arguments(parser)


def _label(options: argparse.Namespace) -> int:
    from aiotwin_nb.cluster.labelling import apply_labels, match, plan_labels
    from aiotwin_nb.scenario import load_scenario

    if options.scenario is None and not options.clear:
        raise InvalidInput("give a SCENARIO whose nodes are to be written to the cluster's, or --clear")
    pairs = dict(_pair(text) for text in options.pairs)
    nodes = [] if options.scenario is None else list(load_scenario(options.scenario).infrastructure.nodes.values())
    connection = _open(options)
    with connection.asking("listing the nodes"):
        items = connection.request("GET", "/api/v1/nodes")["items"]
    cluster = {item["metadata"]["name"]: item for item in items}
    if options.partial:
        nodes = [node for node in nodes if pairs.get(node.id, node.id) in cluster]
    changes = plan_labels(cluster, match(nodes, cluster, pairs), clear=options.clear)
    if not options.dry_run:
        for change in changes:
            apply_labels(connection, change)
    if options.json:
        _print_json({"changed": [asdict(change) for change in changes], "dry_run": options.dry_run})
        return 0
    for change in changes:
        marks = [
            f"{key}={value}" if value is not None else f"{key}-"
            for key, value in {**change.labels, **change.annotations}.items()
        ]
        print(f"{change.cluster_node}: {' '.join(marks)}")
    print(f"{len(changes)} nodes {'would change' if options.dry_run else 'changed'}")
    return 0


def _pair(text: str) -> tuple[str, str]:
    node, equals, cluster_node = text.partition("=")
    if not (node and equals and cluster_node):
        raise InvalidInput(f"--map {text!r}: must look like NODE=CLUSTER_NODE, such as n4=worker-1")
    return node, cluster_node


# measure.


def _measure_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mb", type=float, default=16.0, metavar="K", help="MB sent over each link (default 16)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="how often; the median counts (default 3)")
    parser.add_argument(
        "--second",
        type=float,
        default=1000.0,
        metavar="COST",
        help="cost per MB = COST / (MB per second); default 1000",
    )
    parser.add_argument("--image", metavar="NAME", help="any image with python3; default: the aggregators'")
    parser.add_argument("--dry-run", action="store_true", help="only say what was measured, write nothing")
    _look_arguments(parser)


def _measure(options: argparse.Namespace) -> int:
    from aiotwin_nb.cluster.labelling import apply_labels
    from aiotwin_nb.cluster.manifests import Images
    from aiotwin_nb.cluster.measuring import measure, participants, plan_measured
    from aiotwin_nb.continuum import exact

    for name, least, most in (("mb", 0.001, 10_000), ("repeats", 1, 1000), ("second", 1e-9, 1e12)):
        if not least <= getattr(options, name) <= most:
            raise InvalidInput(f"--{name} {getattr(options, name)}: must be {least:g} to {most:g}")
    connection = _open(options)
    with connection.asking("listing the nodes"):
        items = connection.request("GET", "/api/v1/nodes")["items"]
    cluster = {item["metadata"]["name"]: item for item in items}
    nodes, places = participants(cluster)
    links = measure(
        connection,
        nodes,
        places,
        image=options.image or Images.aggregator,
        megabytes=options.mb,
        repeats=options.repeats,
        second=exact(options.second),
        tell=_tell,
    )
    if not options.dry_run:
        how = f"{options.repeats} times {options.mb:g} MB, cost per MB = {options.second:g} / (MB per second)"
        for change in plan_measured(cluster, nodes, places, links, how):
            apply_labels(connection, change)
    if options.json:
        told = [{"node": each.node, "peer": each.peer, "rate": each.rate, "cost": float(each.cost)} for each in links]
        _print_json({"links": told, "dry_run": options.dry_run})
        return 0
    for each in links:
        print(f"{each.node} to {each.peer}: {each.rate:g} MB/s, {each.cost} per MB")
    print(f"{len(links)} links {'measured, nothing written' if options.dry_run else 'written to the nodes'}")
    return 0


# clean.


def _clean_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run directory, its name under ./runs, or just a run's id")
    _look_arguments(parser)


def _clean(options: argparse.Namespace) -> int:
    from aiotwin_nb.cluster.cleaning import clean

    run_id, connection = _run_id(options.run), _connection_of_run(options)
    found = clean(connection, run_id)
    count = sum(map(len, found.values()))
    if options.json:
        _print_json({"run": run_id, "namespace": connection.namespace, "deleted": found, "left": 0})
        return 0
    told = ", ".join(f"{len(names)} {kind}" for kind, names in found.items())
    print(f"{run_id}: {count} objects were there{f' ({told})' if told else ''}, 0 are left")
    return 0


def _connection_of_run(options: argparse.Namespace) -> Connection:
    """To the cluster that is named, else to the one that the run was on, else to the one that is attached to."""
    from aiotwin_nb import api

    noted = api.cluster_of(options.run) if _is_there(options.run) else None
    return _open(options) if noted is None or any(_choice(options).values()) else noted.connect()


def _is_there(reference: str) -> bool:
    return any((path / "scenario.yaml").is_file() for path in (Path(reference), Path("runs") / reference))


def _run_id(reference: str) -> str:
    """The id of a run, whose directory may be lost; refused while its process lives."""
    from aiotwin_nb.orchestration.rundir import RunDirectory

    if not _is_there(reference):
        return Path(reference).name
    directory = RunDirectory.open(reference)
    if directory.is_owned():
        raise InvalidInput(f"{reference}: is running; stop it first with: aiotwin stop {reference}")
    return directory.run_id


# groups.


def _groups_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("count", metavar="N", type=int, help="how many groups")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("groups"),
        metavar="DIR",
        help="for the kubeconfig files; default: groups",
    )
    parser.add_argument("--hours", type=int, default=8, metavar="H", help="how long the tokens are valid; default: 8")
    parser.add_argument(
        "--prefix", default="aiotwin-group", metavar="NAME", help="namespaces are NAME-1 …; default: aiotwin-group"
    )
    parser.add_argument("--remove", action="store_true", help="delete the groups' namespaces with all that is in them")
    _look_arguments(parser)


def _groups(options: argparse.Namespace) -> int:
    from aiotwin_nb.cluster.groups import group_names, make_groups, remove_groups

    names = group_names(options.count, options.prefix)
    connection = _open(options)
    if options.remove:
        removed = remove_groups(connection, names)
        print(
            json.dumps({"removed": removed}, indent=1) if options.json else f"removed: {', '.join(removed) or 'none'}"
        )
        return 0
    groups = list(make_groups(connection, names, options.out, options.hours))
    if options.json:
        _print_json({"groups": [{**asdict(group), "kubeconfig": str(group.kubeconfig)} for group in groups]})
        return 0
    for group in groups:
        made = f"{group.changed} objects made or changed" if group.changed else "as it was"
        print(f"{group.namespace}: {made}; {group.kubeconfig}, valid until {group.expires}")
    print("Each file holds a secret: give it to its group only. There: aiotwin cluster attach --kubeconfig FILE")
    return 0


# Shared.


def _open(options: argparse.Namespace) -> Connection:
    from aiotwin_nb.cluster import open_connection

    return open_connection(**_choice(options))


def _provider(name: str, **options: Any) -> ClusterProvider:
    """A provider; raises InvalidInput naming what this machine lacks for it, and how to get it."""
    from aiotwin_nb.cluster import providers

    provider = providers.get(name)(**options)
    if lacks := tuple(provider.missing()):
        raise InvalidInput(f"{name} needs what is not installed here: {'; '.join(lacks)}")
    return provider


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _report(status: ClusterStatus, as_json: bool) -> int:
    """Print how a cluster is; returns 1 when something is missing without which no run works."""
    if as_json:
        _print_json(asdict(status))
    else:
        print(_as_text(status))
    return 1 if status.missing or not status.reachable else 0


def _as_text(status: ClusterStatus) -> str:
    lines = [f"{status.name}: {f'Kubernetes {status.version}' if status.reachable else 'not reachable'}"]
    lines += _table(status.nodes)
    lines += [f"missing: {each}" for each in status.missing]
    lines += [f"note: {each}" for each in status.notes]
    return "\n".join(lines)


_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "node": lambda node: node["name"],
    "state": lambda node: node["state"],
    "role": lambda node: node["role"],
    "cores": lambda node: node["cpu"],
    "memory": lambda node: node["memory"],
    "processor": lambda node: node["architecture"],
    "links": lambda node: " ".join(f"{peer}:{cost}" for peer, cost in node["links"].items()),
    "data": lambda node: node["data"],
}


def _table(nodes: tuple[Mapping[str, Any], ...]) -> list[str]:
    if not nodes:
        return []
    rows = [[str(cell(node) or "-") for cell in _COLUMNS.values()] for node in nodes]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    return [
        "  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip()
        for row in [list(_COLUMNS), *rows]
    ]


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, allow_nan=False))


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


VERBS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int], str]] = {
    "attach": (_look_arguments, _attach, "look at a cluster that exists, say what it lacks, and use it from now on"),
    "detach": (_no_arguments, _detach, "no longer use it; the cluster stays as it is"),
    "create": (_create_arguments, _create, "create a K3s cluster, with k3d in Docker or on hosts by the K3s installer"),
    "label": (_label_arguments, _label, "write a scenario's roles, links and data to the cluster's nodes, as labels"),
    "groups": (_groups_arguments, _groups, "a namespace, limits and a kubeconfig file for each group of a workshop"),
    "measure": (_measure_arguments, _measure, "measure what links cost, between pods, and write it to the nodes"),
    "status": (_look_arguments, _status, "how the cluster is"),
    "delete": (_provider_arguments, _delete, "delete the cluster that create created, and nothing else"),
    "clean": (
        _clean_arguments,
        _clean,
        "delete everything of a run from the cluster, also when its process was killed",
    ),
}
