"""Which checkpoint is served: a run's newest intact one, a named round's, or a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiotwin_nb import api
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.rundir import RunDirectory
from aiotwin_nb.scenario import load_scenario
from fl_service import checkpoint
from fl_service.errors import FLServiceError
from fl_service.records import to_arrays
from fl_service.spec import TaskSettings
from fl_service.tasks.base import Arrays
from fl_service.tasks.classifier import ClassifierKind, classifier_kind


@dataclass(frozen=True)
class Learned:
    """What a checkpoint says of its model.

    `id`: the run's name (or the file's), the round and the file's digest, so that equal ids are equal models.
    `task`: the task in its fingerprint. `partitions`: slots of the data.
    """

    id: str
    round: int
    arrays: Arrays
    task: Mapping[str, Any]
    partitions: int
    path: Path


@dataclass(frozen=True)
class Source:
    """What is served: the architecture, the first model (None: the run has none yet), and the run it comes from."""

    kind: ClassifierKind
    learned: Learned | None
    run: RunDirectory | None = None

    @property
    def name(self) -> str:
        """A name for the service: the run's, else the checkpoint's."""
        if self.run is not None:
            return self.run.run_id
        assert self.learned is not None
        return self.learned.path.stem


def open_source(
    reference: str | Path, *, round_number: int | None = None, task: str | Path | None = None, follow: bool = False
) -> Source:
    """Find what is to be served; raises InvalidInput saying what is wrong and what there is.

    `reference`: a run directory, its name under ./runs, or a checkpoint. `task`: a task.py, or a scenario that names
    the task, in place of the run's own. Code of a task.py that these name is executed, as by `aiotwin run`.
    `follow`: newer checkpoints are going to be looked for, so there may be none yet.
    """
    file = Path(reference) if Path(reference).is_file() else None
    run = _run_of(file) if file is not None else RunDirectory.open(reference)
    if file is not None and (round_number is not None or follow):
        option = "--follow" if follow else f"--round {round_number}"
        raise InvalidInput(f"{option}: {reference} is one checkpoint; give the run's directory instead")
    if follow and round_number is not None:
        raise InvalidInput("--round and --follow: give one of them; --follow takes the newest round")
    learned = None
    if file is not None or round_number is not None or not follow or rounds(run):
        learned = read(file) if file is not None else of_run(run, round_number)
    settings = _settings(task, run, learned)
    try:
        kind = classifier_kind(settings, learned.partitions if learned else 1)
    except FLServiceError as error:
        raise InvalidInput(str(error)) from error
    return Source(kind, learned, run if file is None else None)


def resolve(reference: str | Path, round_number: int | None = None) -> Learned:
    """Read the checkpoint that a file, or a run with or without a round, names; raises InvalidInput."""
    if Path(reference).is_file():
        return read(Path(reference))
    return of_run(RunDirectory.open(reference), round_number)


def rounds(run: RunDirectory | None) -> dict[int, Path]:
    """The checkpoints that a run has now, by round, in ascending order."""
    if run is None:
        return {}
    paths = sorted(run.checkpoints.glob("round-*.npz"))
    return {int(path.stem.removeprefix("round-")): path for path in paths}


def of_run(run: RunDirectory | None, round_number: int | None = None) -> Learned:
    """Read a run's checkpoint of a round, or the newest that is intact; raises InvalidInput."""
    assert run is not None
    there = rounds(run)
    listed = ", ".join(map(str, there)) or "none yet"
    if round_number is not None:
        if round_number not in there:
            raise InvalidInput(f"round {round_number}: {run.path} has no such checkpoint; it has rounds: {listed}")
        return read(there[round_number])
    damage: InvalidInput | None = None
    for path in reversed(there.values()):
        try:
            return read(path)
        except InvalidInput as error:  # damaged, or dropped by the run just now
            damage = damage or error
    if damage is not None:
        raise damage
    raise InvalidInput(f"{run.path}: has no checkpoint yet; wait for its first round, or serve it with --follow")


def read(path: Path) -> Learned:
    """Read one checkpoint; raises InvalidInput when it is missing, damaged or none."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        saved = checkpoint.load(path)
        arrays = to_arrays(saved.model)
        task, partitions = dict(saved.fingerprint["task"]), int(saved.fingerprint.get("partitions", 1))
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from error
    except FLServiceError as error:
        raise InvalidInput(str(error)) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # an .npy, or another program's .npz
        raise InvalidInput(f"{path}: is no checkpoint of a run; give runs/RUN/checkpoints/round-….npz") from error
    run = _run_of(path)
    name = run.run_id if run is not None else path.stem
    return Learned(f"{name}-r{saved.round}-{digest[:8]}", saved.round, arrays, task, partitions, path)


def _run_of(file: Path) -> RunDirectory | None:
    folder = file.resolve().parent.parent
    return RunDirectory(folder) if (folder / "scenario.yaml").is_file() else None


def _settings(task: str | Path | None, run: RunDirectory | None, learned: Learned | None) -> TaskSettings:
    """The task's settings: as told, else the run's, else what a bare checkpoint says itself."""
    try:
        if task is not None and str(task).endswith(".py"):
            return TaskSettings.of({"file": str(Path(task).resolve())})
        if task is not None:
            return _of_scenario(task)
        if run is not None:
            return _of_scenario(run.scenario_file)
        assert learned is not None
        if "file" in learned.task:
            raise InvalidInput(
                f"{learned.path}: is of a task of its own, {learned.task['file']}; give that file with --task FILE"
            )
        return TaskSettings.of(learned.task)
    except FLServiceError as error:
        place = "" if task is not None else "; --task FILE names another place"
        raise InvalidInput(f"{error}{place}") from error


def _of_scenario(source: str | Path) -> TaskSettings:
    return api.training_spec(load_scenario(source)).settings
