"""What providers that create a cluster have in common: it is remembered, attached to, and forgotten when it is gone."""

from __future__ import annotations

from pathlib import Path

from aiotwin_nb.cluster.attaching import remember
from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.cluster.manifests import Images
from aiotwin_nb.cluster.namespaces import prepare_namespace
from aiotwin_nb.cluster.records import Records
from aiotwin_nb.cluster.survey import survey
from aiotwin_nb.orchestration.ports import ClusterStatus


def adopt(records: Records, provider: str, kubeconfig: str, images: Images | None) -> ClusterStatus:
    """Take a new cluster into use: keep its kubeconfig, make the namespace, attach to it."""
    connection = Connection.open(records.write_kubeconfig(provider, kubeconfig))
    prepare_namespace(connection)
    remember(connection, records)
    return survey(connection, images)


def status_of_created(records: Records, provider: str, images: Images | None) -> ClusterStatus:
    """How the cluster is that a provider created here."""
    if records.created(provider) is None:
        return ClusterStatus(provider, False, missing=(f"a cluster: `aiotwin cluster create --provider {provider}`",))
    path = records.kubeconfig(provider)
    if not path.is_file():
        again = f"`aiotwin cluster delete --provider {provider}`, then create it again"
        return ClusterStatus(provider, False, missing=(f"it was not created to the end: {again}",))
    return survey(Connection.open(path), images)


def forget(records: Records, provider: str) -> None:
    """A cluster that was created here is gone: so are its kubeconfig and the attachment to it."""
    path = records.kubeconfig(provider)
    attached = records.attached
    if attached is not None and Path(attached.kubeconfig) == path.absolute():
        records.attach(None)
    path.unlink(missing_ok=True)
    records.create(provider, None)
