"""Which kubeconfig files there are and which contexts they name. Nothing else of them is kept: they hold secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aiotwin_nb.errors import InvalidInput, did_you_mean

K3S = Path("/etc/rancher/k3s/k3s.yaml")


@dataclass(frozen=True)
class Context:
    """A context of a kubeconfig file: a cluster and a user by name; secrets stay in the file."""

    kubeconfig: Path
    name: str
    cluster: str
    server: str
    namespace: str = ""


@dataclass(frozen=True)
class Kubeconfig:
    """A kubeconfig file. `entries`: its contexts, the current one first; `problem`: why it cannot be used, or empty."""

    path: Path
    entries: tuple[Context, ...] = ()
    current: str = ""
    problem: str = ""

    @property
    def contexts(self) -> tuple[str, ...]:
        """The names of its contexts, the current one first."""
        return tuple(entry.name for entry in self.entries)


def find_kubeconfigs(
    environment: Mapping[str, str] | None = None, *, home: Path | None = None, k3s: Path = K3S
) -> list[Kubeconfig]:
    """The files of $KUBECONFIG, ~/.kube/config and K3s's own, as far as they exist."""
    environment = os.environ if environment is None else environment
    named = [Path(part).expanduser() for part in environment.get("KUBECONFIG", "").split(os.pathsep) if part]
    places = [*named, (home or Path.home()) / ".kube" / "config", k3s]
    return [read_kubeconfig(path) for path in dict.fromkeys(places) if path in named or _exists(path)]


def read_kubeconfig(path: Path) -> Kubeconfig:
    """Read a file; what is wrong with it is in `problem`, without a word of its content."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Kubeconfig(path, problem="there is no such file; correct $KUBECONFIG or --kubeconfig")
    except PermissionError:
        return Kubeconfig(
            path, problem=f"may not be read by you; for example: sudo install -o $USER {path} ~/.kube/config"
        )
    except (OSError, UnicodeDecodeError):
        return Kubeconfig(path, problem="cannot be read as a text file")
    except yaml.YAMLError:  # the parser's message would quote the file, which holds secrets
        return Kubeconfig(path, problem="is not YAML")
    entries, current = _contexts(path, document)
    return Kubeconfig(path, entries, current, "" if entries else "names no context")


def choose_context(kubeconfig: Path | None, name: str | None) -> Context:
    """The context with a name, or the current one, of a file or of those that exist here.

    Raises InvalidInput saying which contexts there are.
    """
    files = find_kubeconfigs() if kubeconfig is None else [read_kubeconfig(kubeconfig.expanduser())]
    if not files:
        raise InvalidInput(
            "there is no kubeconfig here ($KUBECONFIG, ~/.kube/config, K3s's own): name one with --kubeconfig, "
            "or create a cluster with: aiotwin cluster create --provider k3d"
        )
    for file in files:
        for context in file.entries:
            if context.name == (name or file.current):
                return context
    told = "; ".join(f"{file.path}: {file.problem or _offer(file)}" for file in files)
    known = [each for file in files for each in file.contexts]
    wanted = "" if all(file.problem for file in files) else f"there is no {_asked(name)}: "
    raise InvalidInput(f"{wanted}{told}.{did_you_mean(name or '', known)}")


def _asked(name: str | None) -> str:
    return f"context {name!r}" if name else "current context (choose one with --context)"


def _offer(file: Kubeconfig) -> str:
    return f"names {', '.join(file.contexts)}"


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return True  # it is there, but not for us: that is worth saying


def _contexts(path: Path, document: Any) -> tuple[tuple[Context, ...], str]:
    """The contexts, current one first, and the current one's name; whatever is no context is left out."""
    if not isinstance(document, dict) or not isinstance(document.get("contexts"), list):
        return (), ""
    servers = {name: str(body.get("server", "")) for name, body in _named(document.get("clusters"), "cluster")}
    current = str(document.get("current-context") or "")
    found = {
        name: Context(
            path,
            name,
            str(body.get("cluster", "")),
            servers.get(str(body.get("cluster", "")), ""),
            str(body.get("namespace") or ""),
        )
        for name, body in _named(document["contexts"], "context")
    }
    return tuple(sorted(found.values(), key=lambda context: context.name != current)), current


def _named(entries: Any, key: str) -> list[tuple[str, dict[str, Any]]]:
    """The (name, body) of a kubeconfig's list of named things."""
    listed = [each for each in entries or () if isinstance(each, dict) and each.get("name")]
    return [(str(each["name"]), each[key] if isinstance(each.get(key), dict) else {}) for each in listed]
