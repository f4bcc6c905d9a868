"""Ways to get a cluster, by name: `attach` for one that exists, `k3d` and `k3s` to create one."""

from __future__ import annotations

from collections.abc import Callable

from aiotwin_nb.orchestration.ports import ClusterProvider
from aiotwin_nb.registry import Registry

# A factory is called with the options of its kind: `attach` with kubeconfig (a path) and context (a name), the others
# with none. Making a provider contacts nothing; its methods may take long and are called in a thread.
Factory = Callable[..., ClusterProvider]

providers: Registry[Factory] = Registry("cluster provider", "aiotwin_nb.cluster_providers")
