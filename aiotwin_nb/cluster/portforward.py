"""A local port that leads to a pod: how an orchestrator outside the cluster reaches the global aggregator.

Every connection is forwarded to the pod that is there at that moment, so the port stays good when the pod is replaced.
What goes through is encrypted end to end (mutual TLS); nothing listens but on loopback.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.errors import AIoTwinError

CHUNK = 1 << 16


class PortForward:
    """Listens on a free loopback port and forwards every connection to a port of the pod that `find_pod` names."""

    def __init__(self, connection: Connection, find_pod: Callable[[], str], port: int) -> None:
        self._connection = connection
        self._find_pod = find_pod
        self._port = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self._closing = False
        self._open: set[Any] = set()
        self.problem = ""
        threading.Thread(target=self._accept, name="port-forward", daemon=True).start()

    @property
    def address(self) -> str:
        """Where to connect: HOST:PORT."""
        host, port = self._server.getsockname()[:2]
        return f"{host}:{port}"

    def close(self) -> None:
        """End it and every connection; safe to call twice."""
        self._closing = True
        self._server.close()
        for end in list(self._open):
            _shut(end)

    def _accept(self) -> None:
        while not self._closing:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), name="port-forward-link", daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        try:
            far = self._reach()
        except Exception as error:  # the pod is not there yet, the API server is away: the caller tries again
            self.problem = f"{type(error).__name__}: {error}".splitlines()[0]
            _shut(near)
            return
        self.problem = ""
        self._open |= {near, far}
        back = threading.Thread(target=_pump, args=(far, near), name="port-forward-back", daemon=True)
        back.start()
        _pump(near, far)
        back.join()
        self._open -= {near, far}

    def _reach(self) -> Any:
        from kubernetes import client
        from kubernetes.stream import portforward

        pod = self._find_pod()
        if not pod:
            raise AIoTwinError("there is no such pod yet")
        # A client of its own: while a stream is opened, the library sends all of a client's requests that way.
        api = client.CoreV1Api(client.ApiClient(self._connection.api.configuration))
        method = api.connect_get_namespaced_pod_portforward
        link = portforward(method, pod, self._connection.namespace, ports=str(self._port))
        far = link.socket(self._port)
        far.setblocking(True)
        return far


def _pump(source: Any, sink: Any) -> None:
    """Copy until one side ends; then both are closed, so that the other direction ends too."""
    with suppress(OSError):
        while chunk := source.recv(CHUNK):
            sink.sendall(chunk)
    _shut(source)
    _shut(sink)


def _shut(end: Any) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        end.close()
