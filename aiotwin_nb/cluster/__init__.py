"""Which K3s cluster: providers by name (attach, k3d, k3s), and what a kubeconfig offers."""

from aiotwin_nb.cluster import attaching, k3d, k3s  # noqa: F401  (they register themselves)
from aiotwin_nb.cluster.kubeconfig import Kubeconfig, find_kubeconfigs
from aiotwin_nb.cluster.providers import Factory, providers
from aiotwin_nb.cluster.records import open_connection

__all__ = ["Factory", "Kubeconfig", "find_kubeconfigs", "open_connection", "providers"]
