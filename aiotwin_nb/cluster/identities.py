"""The certificates of a run, kept in a folder of its run directory that only its owner may read.

They are made once and stay the same, so that applying a configuration twice changes nothing on the cluster, and a node
that joins later is trusted by those that are there.
"""

from __future__ import annotations

from pathlib import Path

from fl_service.certificates import Authority, Credentials


class Identities:
    """Credentials by name, from the run's own certificate authority."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self._folder = folder
        if (folder / "authority.key").is_file():
            self._authority = Authority.load(folder)
        else:
            self._authority = Authority(run_id)
            self._authority.write(folder)

    def of(self, name: str, file_name: str) -> Credentials:
        """The credentials of a node (or of one of fl_service's own names), kept under a file name."""
        folder = self._folder / file_name
        if not (folder / "tls.key").is_file():
            self._authority.issue(name).write(folder)
        return Credentials.load(folder)
