"""A connection to a Kubernetes API server: which kubeconfig, context and namespace; errors that people understand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from aiotwin_nb.errors import AIoTwinError, InvalidInput, MissingDependency, did_you_mean

if TYPE_CHECKING:
    from kubernetes import client

DEFAULT_NAMESPACE = "aiotwin"
TIMEOUT = (5, 30)  # seconds to connect, and to wait for an answer


class ClusterUnreachable(AIoTwinError):
    """The API server does not answer; what runs on the cluster goes on."""


@dataclass(frozen=True)
class Context:
    """A context of a kubeconfig file: a cluster and a user by name; secrets stay in the file."""

    kubeconfig: Path
    name: str
    cluster: str
    server: str
    namespace: str = ""


def kubeconfig_files() -> list[Path]:
    """The kubeconfig files that exist here: $KUBECONFIG, else the usual one, and K3s's own."""
    named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    usual = named or [Path.home() / ".kube" / "config"]
    return [path for path in dict.fromkeys([*usual, Path("/etc/rancher/k3s/k3s.yaml")]) if path.is_file()]


def contexts(kubeconfig: Path) -> tuple[list[Context], str]:
    """A kubeconfig's contexts and the name of the current one; raises InvalidInput for a file that is none."""
    try:
        raw = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        clusters = {entry["name"]: entry["cluster"] for entry in raw.get("clusters") or []}
        found = [
            Context(
                kubeconfig,
                str(entry["name"]),
                str(entry["context"]["cluster"]),
                str(clusters.get(entry["context"]["cluster"], {}).get("server", "")),
                str(entry["context"].get("namespace", "")),
            )
            for entry in raw.get("contexts") or []
        ]
    except OSError as error:
        raise InvalidInput(f"{kubeconfig}: cannot be read: {error.strerror}; give another with --kubeconfig") from None
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, UnicodeDecodeError):
        raise InvalidInput(f"{kubeconfig}: is no kubeconfig file; give another with --kubeconfig") from None
    return found, str(raw.get("current-context") or "")


class Connection:
    """An API client for one context and namespace.

    Requests raise the client library's ApiException (`status`: HTTP); inside `asking` they are raised as ours.
    """

    def __init__(self, api: client.ApiClient, context: Context, namespace: str) -> None:
        self.api = api
        self.context = context
        self.namespace = namespace

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        timeout: tuple[float, float] = TIMEOUT,
    ) -> dict[str, Any]:
        """Ask the API server and return its JSON answer."""
        response = self._send(method, path, query or {}, body, content_type, timeout)
        answer: dict[str, Any] = json.loads(response.read())
        return answer

    def stream(self, path: str, query: Mapping[str, str], silence: float) -> Any:
        """Open a long answer (a watch), an urllib3 response; it breaks after `silence` seconds without a byte."""
        return self._send("GET", path, query, None, "application/json", (TIMEOUT[0], silence)).response

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Any,
        content_type: str,
        timeout: tuple[float, float],
    ) -> Any:
        from kubernetes.client import ApiException

        parameters = self.api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Content-Type": content_type, "Accept": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        response: Any = self.api.call_api(*parameters, _request_timeout=timeout)
        if not 200 <= response.status <= 299:
            response.read()
            raise ApiException.from_response(http_resp=response, body=None, data=None)
        return response

    @classmethod
    def open(
        cls, kubeconfig: str | Path | None = None, context: str | None = None, namespace: str | None = None
    ) -> Connection:
        """Connect; nothing is asked of the server yet. Raises InvalidInput saying which contexts there are."""
        chosen = choose_context(None if kubeconfig is None else Path(kubeconfig), context)
        config = _client_library().config
        try:
            api = config.new_client_from_config(str(chosen.kubeconfig), chosen.name)
        except (config.ConfigException, OSError, ValueError) as error:
            raise InvalidInput(f"{chosen.kubeconfig}: context {chosen.name}: {error}") from None
        return cls(api, chosen, namespace or chosen.namespace or DEFAULT_NAMESPACE)

    @classmethod
    def in_cluster(cls, namespace: str) -> Connection:
        """Connect from inside a pod, by its service account."""
        library = _client_library()
        try:
            library.config.load_incluster_config()
        except library.config.ConfigException as error:
            raise InvalidInput(f"this is no pod of a cluster: {error}") from None
        context = Context(Path(), "in-cluster", "in-cluster", "https://kubernetes.default.svc")
        return cls(library.client.ApiClient(), context, namespace)

    @contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """Raise the client library's errors as ours; `what`: what was to be done, in words."""
        import urllib3

        exception = _client_library().client.ApiException
        try:
            yield
        except exception as error:
            raise AIoTwinError(f"{what}: the cluster {self.context.cluster} refused: {refusal(error)}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ClusterUnreachable(
                f"{what}: the API server {self.context.server} does not answer ({type(error).__name__}); "
                "check that the cluster is up and that this machine reaches it"
            ) from error


def choose_context(kubeconfig: Path | None, name: str | None) -> Context:
    """The context with a name, or the current one, of a file or of those that exist here."""
    files = [kubeconfig] if kubeconfig is not None else kubeconfig_files()
    if not files:
        raise InvalidInput(
            "there is no kubeconfig here ($KUBECONFIG, ~/.kube/config, /etc/rancher/k3s/k3s.yaml): name one with "
            "--kubeconfig, or create a cluster with: aiotwin cluster create --provider k3d"
        )
    known: list[str] = []
    for file in files:
        found, current = contexts(file)
        known += [context.name for context in found]
        for context in found:
            if context.name == (name or current):
                return context
    asked = f"context {name!r}" if name else "a current context"
    listed = ", ".join(known) or "none"
    raise InvalidInput(
        f"{', '.join(map(str, files))}: there is no {asked}; there are {listed}." + did_you_mean(name or "", known)
    )


def refusal(error: Any) -> str:
    """Why the API server refused, in one line; its answers are JSON, or plain text where it knows no such API."""
    try:
        message = str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        message = str(error.reason or error.body or "").strip()
    return f"{message} (HTTP {error.status})"


def _client_library() -> Any:
    try:
        import kubernetes
        import kubernetes.config
    except ImportError:
        raise MissingDependency("kubernetes", "kubernetes", "a cluster") from None
    return kubernetes
