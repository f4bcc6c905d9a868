"""A connection to a Kubernetes API server: which kubeconfig, context and namespace; errors that people understand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiotwin_nb.cluster.backoff import BackOff
from aiotwin_nb.cluster.kubeconfig import Context, choose_context
from aiotwin_nb.errors import AIoTwinError, InvalidInput, MissingDependency
from aiotwin_nb.orchestration.ports import ClusterPlace

if TYPE_CHECKING:
    from kubernetes import client

DEFAULT_NAMESPACE = "aiotwin"
TIMEOUT = (5, 30)  # seconds to connect, and to wait for an answer
TRIES = 4  # of a request that met an API server that is busy or just starting
BUSY = (429, 500, 502, 503, 504)


class ClusterUnreachable(AIoTwinError):
    """The API server does not answer; what runs on the cluster goes on."""


class Connection:
    """An API client for one context and namespace.

    Requests raise the client library's ApiException (`status`: HTTP); inside `asking` they are raised as ours. A server
    that is busy or away for a moment is asked again: all that is asked here may be asked twice.
    """

    def __init__(
        self, api: client.ApiClient, context: Context, namespace: str, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.api = api
        self.context = context
        self.namespace = namespace
        self._sleep = sleep

    @property
    def place(self) -> ClusterPlace:
        """How to connect again."""
        return ClusterPlace(str(self.context.kubeconfig.absolute()), self.context.name, self.namespace)

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        timeout: tuple[float, float] = TIMEOUT,
        tries: int = TRIES,
    ) -> dict[str, Any]:
        """Ask the API server and return its JSON answer."""
        back_off = BackOff(most=2.0)
        for left in reversed(range(tries)):
            try:
                response = self._send(method, path, query or {}, body, content_type, timeout)
                answer: dict[str, Any] = json.loads(response.read())
            except Exception as error:
                if not left or not _passing(error):
                    raise
                self._sleep(max(back_off.pause(), _asked_to_wait(error)))
            else:
                return answer
        raise AssertionError("tries must be at least 1")

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
        config = _client_library().config
        chosen = choose_context(None if kubeconfig is None else Path(kubeconfig), context)
        try:
            api = config.new_client_from_config(
                str(chosen.kubeconfig), chosen.name, client_configuration=_configuration()
            )
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


def refusal(error: Any) -> str:
    """Why the API server refused, in one line; its answers are JSON, or plain text where it knows no such API."""
    try:
        message = str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        message = str(error.reason or error.body or "").strip()
    return f"{message} (HTTP {error.status})"


def _passing(error: Exception) -> bool:
    """Whether asking again may help: the server is busy, or did not answer."""
    import urllib3

    status = getattr(error, "status", None)
    return status in BUSY if status is not None else isinstance(error, (urllib3.exceptions.HTTPError, OSError))


def _asked_to_wait(error: Any) -> float:
    """Seconds that the server asked to wait, at most ten."""
    wanted = str((getattr(error, "headers", None) or {}).get("Retry-After", ""))
    return min(float(wanted), 10.0) if wanted.isdecimal() else 0.0


def _configuration() -> Any:
    """The client library's configuration, without its own silent repetitions."""
    configuration = _client_library().client.Configuration()
    configuration.retries = False
    return configuration


def _client_library() -> Any:
    try:
        import kubernetes
        import kubernetes.config
    except ImportError:
        raise MissingDependency("kubernetes", "kubernetes", "a cluster") from None
    return kubernetes
