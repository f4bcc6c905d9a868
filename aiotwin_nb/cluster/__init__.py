"""Which K3s cluster: providers by name (none is built in yet), and what a kubeconfig offers."""

from aiotwin_nb.cluster.kubeconfig import Kubeconfig, find_kubeconfigs
from aiotwin_nb.cluster.providers import Factory, providers

__all__ = ["Factory", "Kubeconfig", "find_kubeconfigs", "providers"]
