"""A runtime that trains nothing twice: branches of one scenario share the rounds that they have in common."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from aiotwin_nb.continuum import Infrastructure
from aiotwin_nb.orchestration.ports import RoundResult, Runtime
from aiotwin_nb.planning.configuration import Configuration


class Rehearsal:
    """Wraps a runtime. Its first run is recorded; later ones replay it until they leave it, and train from there.

    `forks`: rounds after which a later run may leave the first; the model is kept after these, in `folder`.
    """

    def __init__(self, runtime: Runtime, folder: Path, forks: Collection[int]) -> None:
        self.name = runtime.name
        self._runtime, self._folder, self._forks = runtime, folder, frozenset(forks)
        self._recorded: dict[int, tuple[Configuration, RoundResult]] = {}
        self._live, self._first = True, True

    def start(self, infrastructure: Infrastructure, configuration: Configuration) -> RoundResult:
        """Begin a run: the first trains, the others replay."""
        self._place = infrastructure, configuration
        if not self._first:
            self._live = False
            return self._recorded[0][1]
        result = self._runtime.start(infrastructure, configuration)
        self._recorded[0] = configuration, result
        return result

    def apply(self, infrastructure: Infrastructure, configuration: Configuration) -> None:
        """Make members and places be those of the configuration."""
        self._place = infrastructure, configuration
        if self._live:
            self._runtime.apply(infrastructure, configuration)

    def run_round(self, number: int) -> RoundResult:
        """Run a round, or replay it if the first run was the same up to its end."""
        configuration, result = self._recorded.get(number, (None, None))
        if not self._live:
            if result is not None and configuration == self._place[1]:
                return result
            self._runtime.restore(self._checkpoint(number - 1), *self._place)
            self._live = True
        result = self._runtime.run_round(number)
        if self._first:
            self._recorded[number] = self._place[1], result
            if number in self._forks:
                self._runtime.save(self._checkpoint(number))
        return result

    def save(self, path: Path) -> None:
        """Write a checkpoint of the wrapped runtime."""
        self._runtime.save(path)

    def restore(self, path: Path, infrastructure: Infrastructure, configuration: Configuration) -> None:
        """Continue the wrapped runtime from a checkpoint."""
        self._runtime.restore(path, infrastructure, configuration)

    def model_size_mb(self) -> float:
        """Bytes of the model's parameters / 10^6."""
        return self._runtime.model_size_mb()

    def close(self) -> None:
        """End a run; the wrapped runtime stays for the next."""
        self._first = False

    def _checkpoint(self, number: int) -> Path:
        return self._folder / f"{number}.npz"
