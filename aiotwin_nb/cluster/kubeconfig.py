"""Which kubeconfig files there are and which contexts they name. Nothing else of them is kept: they hold secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

K3S = Path("/etc/rancher/k3s/k3s.yaml")


@dataclass(frozen=True)
class Kubeconfig:
    """A kubeconfig file. `contexts`: names, the current one first; `problem`: why it cannot be used, or empty."""

    path: Path
    contexts: tuple[str, ...] = ()
    problem: str = ""


def find_kubeconfigs(
    environment: Mapping[str, str] | None = None, *, home: Path | None = None, k3s: Path = K3S
) -> list[Kubeconfig]:
    """The files of $KUBECONFIG, ~/.kube/config and K3s's own, as far as they exist."""
    environment = os.environ if environment is None else environment
    named = [Path(part).expanduser() for part in environment.get("KUBECONFIG", "").split(os.pathsep) if part]
    places = [*named, (home or Path.home()) / ".kube" / "config", k3s]
    return [_read(path) for path in dict.fromkeys(places) if path in named or _exists(path)]


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return True  # it is there, but not for us: that is worth saying


def _read(path: Path) -> Kubeconfig:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Kubeconfig(path, problem="there is no such file; correct $KUBECONFIG")
    except PermissionError:
        return Kubeconfig(
            path, problem=f"may not be read by you; for example: sudo install -o $USER {path} ~/.kube/config"
        )
    except (OSError, UnicodeDecodeError):
        return Kubeconfig(path, problem="cannot be read as a text file")
    except yaml.YAMLError:  # the parser's message would quote the file, which holds secrets
        return Kubeconfig(path, problem="is not YAML")
    names = _contexts(document)
    return Kubeconfig(path, names, "" if names else "names no context")


def _contexts(document: Any) -> tuple[str, ...]:
    if not isinstance(document, dict) or not isinstance(document.get("contexts"), list):
        return ()
    names = [str(each["name"]) for each in document["contexts"] if isinstance(each, dict) and each.get("name")]
    current = document.get("current-context")
    return tuple(sorted(dict.fromkeys(names), key=lambda name: name != current))
