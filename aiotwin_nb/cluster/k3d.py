"""The provider `k3d`: K3s in Docker containers on this machine, one server and some agents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aiotwin_nb.cluster.attaching import library_lacks
from aiotwin_nb.cluster.creating import adopt, forget, status_of_created
from aiotwin_nb.cluster.manifests import Images
from aiotwin_nb.cluster.programs import Tell, Tool, need, run, succeeds
from aiotwin_nb.cluster.providers import providers
from aiotwin_nb.cluster.records import Records
from aiotwin_nb.errors import AIoTwinError, InvalidInput
from aiotwin_nb.orchestration.ports import ClusterStatus
from aiotwin_nb.scenario.labs import shipped

K3D_INSTALLER = "https://raw.githubusercontent.com/k3d-io/k3d/main/install.sh"
TOOLS = (
    Tool("docker", "see docs.docker.com, 'Install Docker Engine'"),
    Tool("k3d", f"its official installer gets it: `curl -s {K3D_INSTALLER} | bash`"),
)
CLUSTER = "aiotwin"


@providers.register("k3d")
class K3dProvider:
    """A cluster by k3d's configuration file k3s/k3d.yaml, with the FL service's images in it."""

    name = "k3d"

    def __init__(
        self,
        agents: int | None = None,
        config: Path | None = None,
        *,
        images: Images | None = None,
        records: Records | None = None,
        tell: Tell = lambda _: None,
    ) -> None:
        self._agents = agents
        self._config = config or shipped("k3s") / "k3d.yaml"
        self._images = images or Images()
        self._records = records or Records()
        self._tell = tell

    def create(self, scenario: Mapping[str, Any]) -> ClusterStatus:
        """Create the cluster, bring the images there, and attach to it; the scenario does not matter.

        Raises InvalidInput for missing programs and when there is a cluster of that name already.
        """
        need(TOOLS)
        if CLUSTER in self._clusters():
            ours = self._records.created(self.name) is not None
            how = "`aiotwin cluster delete --provider k3d`" if ours else f"`k3d cluster delete {CLUSTER}`"
            raise InvalidInput(f"k3d has a cluster {CLUSTER!r} already: attach to it, or delete it first with {how}")
        self._records.create(self.name, {"cluster": CLUSTER})
        agents = [] if self._agents is None else ["--agents", str(self._agents)]
        run(["k3d", "cluster", "create", CLUSTER, "--config", str(self._config), *agents], tell=self._tell)
        self._bring_images()
        kubeconfig = run(["k3d", "kubeconfig", "get", CLUSTER], tell=self._tell)
        return adopt(self._records, self.name, kubeconfig, self._images)

    def status(self) -> ClusterStatus:
        """Say how the cluster is that was created here."""
        return status_of_created(self._records, self.name, self._images)

    def delete(self) -> None:
        """Delete the cluster if it was created here, and nothing else."""
        if self._records.created(self.name) is None:
            raise InvalidInput("no k3d cluster was created here, so none is deleted")
        need(TOOLS)
        if CLUSTER in self._clusters():
            run(["k3d", "cluster", "delete", CLUSTER], tell=self._tell)
        forget(self._records, self.name)

    def missing(self) -> Iterable[str]:
        """Docker, k3d and the client library, as far as they are not installed."""
        return [*(text for tool in TOOLS if (text := tool.lacking())), *library_lacks()]

    def _clusters(self) -> list[str]:
        listed = run(["k3d", "cluster", "list", "-o", "json"], tell=self._tell)
        try:
            return [str(cluster["name"]) for cluster in json.loads(listed or "[]")]
        except (ValueError, TypeError, KeyError):
            raise AIoTwinError("k3d cluster list: answered no list of clusters; is it k3d 5 or later?") from None

    def _bring_images(self) -> None:
        """Import the images, building those that Docker does not have."""
        references = {"aggregator": self._images.aggregator, "client": self._images.client}
        for target, reference in references.items():
            if not succeeds(["docker", "image", "inspect", reference]):
                build = ["docker", "build", "--target", target, "-t", reference, str(build_folder())]
                run(build, tell=self._tell, seconds=3600)
        run(["k3d", "image", "import", *references.values(), "--cluster", CLUSTER], tell=self._tell)


def build_folder() -> Path:
    """The folder from which the images are built: the package fl_service with its Dockerfile."""
    import fl_service

    return Path(fl_service.__file__).parent
