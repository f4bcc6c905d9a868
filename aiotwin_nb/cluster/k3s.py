"""The provider `k3s`: K3s by its official installer, on hosts reached by SSH or on this machine.

The first host becomes the server, the others agents. Every command and script is told before anything is executed;
since hosts are changed, as root, that has to be agreed to. The cluster's token goes from host to host on standard
input only.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from aiotwin_nb.cluster.attaching import library_lacks
from aiotwin_nb.cluster.creating import adopt, forget, status_of_created
from aiotwin_nb.cluster.manifests import Images
from aiotwin_nb.cluster.programs import ProgramFailed, Tell, Tool, need, run
from aiotwin_nb.cluster.providers import providers
from aiotwin_nb.cluster.records import Records
from aiotwin_nb.errors import AIoTwinError, InvalidInput
from aiotwin_nb.orchestration.ports import ClusterStatus

INSTALLER = "https://get.k3s.io"
THIS_MACHINE = "localhost"
SECRET = "(secret)"  # stands for the token where scripts are shown
WAS_THERE = 3  # exit code of a script that met an installation that is not ours
_INSTALL = """\
set -eu
if command -v k3s >/dev/null; then echo 'K3s is installed here already: it is left as it is' >&2; exit {was_there}; fi
installer=$(mktemp); trap 'rm -f "$installer"' EXIT
curl -sfL {installer} -o "$installer"
"""
_SERVER = _INSTALL + """sh "$installer" server --disable traefik --write-kubeconfig-mode 600 {names}\n"""
_AGENT = _INSTALL + """export K3S_URL={url} K3S_TOKEN={token}\nsh "$installer" agent\n"""
_TOKEN = "cat /var/lib/rancher/k3s/server/node-token\n"
_KUBECONFIG = "cat /etc/rancher/k3s/k3s.yaml\n"
_UNINSTALL = """\
set -eu
for script in k3s-uninstall.sh k3s-agent-uninstall.sh; do
  if [ -x "/usr/local/bin/$script" ]; then "/usr/local/bin/$script"; fi
done
"""


@dataclass(frozen=True)
class Host:
    """Where a script is executed as root: a destination of ssh, or this machine."""

    name: str

    @property
    def is_here(self) -> bool:
        """Whether it is this machine."""
        return self.name in (THIS_MACHINE, "127.0.0.1")

    @property
    def command(self) -> list[str]:
        """The program that takes a script on standard input and executes it as root."""
        if self.is_here:
            return ["sh", "-s"] if os.geteuid() == 0 else ["sudo", "sh", "-s"]
        return ["ssh", "-o", "BatchMode=yes", self.name, "sudo -n sh -s"]

    @property
    def address(self) -> str:
        """How others reach it: the destination without the user."""
        return self.name.rpartition("@")[2]


@providers.register("k3s")
class K3sProvider:
    """A cluster on `hosts`, the first one its server; without any, on this machine alone.

    `address`: how agents and this machine reach the server. `agreed`: that hosts may be changed.
    """

    name = "k3s"

    def __init__(
        self,
        hosts: Sequence[str] = (),
        address: str | None = None,
        *,
        agreed: bool = False,
        images: Images | None = None,
        records: Records | None = None,
        tell: Tell = lambda _: None,
    ) -> None:
        for host in hosts:
            if not host or host.startswith("-") or any(c.isspace() for c in host):
                raise InvalidInput(
                    f"--host {host!r}: must be a destination of ssh, such as user@host or a name of ~/.ssh"
                )
        self._hosts = [Host(name) for name in dict.fromkeys(hosts or (THIS_MACHINE,))]
        self._address = address or self._hosts[0].address
        self._agreed = agreed
        self._images = images
        self._records = records or Records()
        self._tell = tell

    def create(self, scenario: Mapping[str, Any]) -> ClusterStatus:
        """Install the server and the agents, and attach to the cluster; the scenario does not matter.

        Raises InvalidInput, having changed nothing, for missing programs and without an agreement.
        """
        need(self._tools(self._hosts))
        if self._records.created(self.name) is not None:
            raise InvalidInput("a K3s cluster was created here already: delete it first with `aiotwin cluster delete`")
        if len(self._hosts) > 1 and self._address in (THIS_MACHINE, "127.0.0.1"):
            raise InvalidInput("agents on other hosts cannot reach this machine as localhost: name it with --address")
        self._tell_plan()
        self._ask_agreement("aiotwin cluster create --provider k3s ... --yes")
        server, *agents = self._hosts
        self._install(server, "server", self._server_script())
        token = self._execute(server, _TOKEN).strip()
        for agent in agents:
            self._install(agent, "agent", self._agent_script(token))
        kubeconfig = self._readdressed(self._execute(server, _KUBECONFIG))
        return adopt(self._records, self.name, kubeconfig, self._images)

    def status(self) -> ClusterStatus:
        """Say how the cluster is that was created here."""
        return status_of_created(self._records, self.name, self._images)

    def delete(self) -> None:
        """Uninstall K3s from the hosts on which it was installed from here, and from no others."""
        created = self._records.created(self.name)
        if created is None:
            raise InvalidInput("no K3s cluster was created here, so none is deleted")
        hosts = [Host(each["host"]) for each in reversed(created["hosts"])]
        need(self._tools(hosts))
        for host in hosts:
            self._tell_script(host, _UNINSTALL)
        self._ask_agreement("aiotwin cluster delete --provider k3s --yes")
        for host in hosts:
            self._execute(host, _UNINSTALL)
            left = [each for each in self._installed() if each["host"] != host.name]
            self._records.create(self.name, {"hosts": left})
        forget(self._records, self.name)

    def missing(self) -> Iterable[str]:
        """Programs and the client library, as far as they are not installed."""
        return [*(text for tool in self._tools(self._hosts) if (text := tool.lacking())), *library_lacks()]

    # The scripts.

    def _server_script(self) -> str:
        names = (
            ""
            if self._hosts[0].is_here and self._address == THIS_MACHINE
            else f"--tls-san {shlex.quote(self._address)}"
        )
        return _SERVER.format(installer=INSTALLER, was_there=WAS_THERE, names=names)

    def _agent_script(self, token: str) -> str:
        url = shlex.quote(f"https://{self._address}:6443")
        return _AGENT.format(installer=INSTALLER, was_there=WAS_THERE, url=url, token=shlex.quote(token))

    def _readdressed(self, kubeconfig: str) -> str:
        """The server's kubeconfig as it has to be here."""
        try:
            document = yaml.safe_load(kubeconfig)
            for each in document["clusters"]:
                each["cluster"]["server"] = f"https://{self._address.replace(THIS_MACHINE, '127.0.0.1')}:6443"
        except (yaml.YAMLError, TypeError, KeyError):
            raise AIoTwinError(f"{self._hosts[0].name}: /etc/rancher/k3s/k3s.yaml is no kubeconfig") from None
        return str(yaml.safe_dump(document))

    # Executing them.

    def _install(self, host: Host, role: str, script: str) -> None:
        """Remembered before it is done: half an installation has to be deleted too, an existing one must not be."""
        before = self._installed()
        self._records.create(self.name, {"hosts": [*before, {"host": host.name, "role": role}]})
        try:
            self._execute(host, script)
        except ProgramFailed as error:
            if error.code == WAS_THERE:
                self._records.create(self.name, {"hosts": before} if before else None)
            raise

    def _installed(self) -> list[dict[str, str]]:
        return list((self._records.created(self.name) or {}).get("hosts", []))

    def _execute(self, host: Host, script: str) -> str:
        return run(host.command, script=script, tell=self._tell)

    def _ask_agreement(self, command: str) -> None:
        if not self._agreed:
            raise InvalidInput(f"nothing was done: this changes hosts, as root. Agree to it with `{command}`")

    def _tell_plan(self) -> None:
        server, *agents = self._hosts
        self._tell_script(server, self._server_script() + _TOKEN + _KUBECONFIG)
        for agent in agents:
            self._tell_script(agent, self._agent_script("TOKEN").replace("TOKEN=TOKEN", f"TOKEN='{SECRET}'"))

    def _tell_script(self, host: Host, script: str) -> None:
        self._tell(f"on {host.name}, by {shlex.join(host.command)}:")
        for line in script.splitlines():
            self._tell(f"    {line}")

    @staticmethod
    def _tools(hosts: Iterable[Host]) -> list[Tool]:
        tools = []
        if any(not host.is_here for host in hosts):
            tools.append(Tool("ssh", "`sudo apt install openssh-client` (Debian, Ubuntu)"))
        if any(host.is_here for host in hosts):
            tools.append(Tool("curl", "`sudo apt install curl` (Debian, Ubuntu)"))
            if os.geteuid() != 0:
                tools.append(Tool("sudo", "run this as root instead"))
        return tools
