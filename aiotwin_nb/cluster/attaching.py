"""The provider `attach`: a cluster that exists. It is looked at and remembered; nothing in it is changed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.cluster.manifests import Images
from aiotwin_nb.cluster.providers import providers
from aiotwin_nb.cluster.records import Records, open_connection
from aiotwin_nb.cluster.survey import survey
from aiotwin_nb.orchestration.ports import ClusterStatus

CLIENT_LIBRARY = "the Kubernetes client: `pip install 'aiotwin-nb[kubernetes]'`"


@providers.register("attach")
class AttachProvider:
    """A cluster by kubeconfig, context and namespace; without them, the one that is attached to or kubectl's."""

    name = "attach"

    def __init__(
        self,
        kubeconfig: str | Path | None = None,
        context: str | None = None,
        namespace: str | None = None,
        *,
        images: Images | None = None,
        records: Records | None = None,
    ) -> None:
        self._choice = (kubeconfig, context, namespace)
        self._images = images
        self._records = records or Records()

    def create(self, scenario: Mapping[str, Any]) -> ClusterStatus:
        """Look at the cluster, and remember it when it answers; the scenario does not matter."""
        connection = self._open()
        status = survey(connection, self._images)
        if status.reachable:
            remember(connection, self._records)
        return status

    def status(self) -> ClusterStatus:
        """Say how the cluster is."""
        return survey(self._open(), self._images)

    def delete(self) -> None:
        """Forget it; the cluster stays as it is."""
        self._records.attach(None)

    def missing(self) -> Iterable[str]:
        """The client library, unless it is installed."""
        return library_lacks()

    def _open(self) -> Connection:
        return open_connection(*self._choice, records=self._records)


def library_lacks() -> list[str]:
    """The client library, unless it is installed."""
    return [] if importlib.util.find_spec("kubernetes") else [CLIENT_LIBRARY]


def remember(connection: Connection, records: Records) -> None:
    """Use this cluster from now on when none is named."""
    records.attach(connection.place)
