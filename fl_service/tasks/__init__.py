"""Learning tasks: built-in image classification, and users' own task.py files."""

from collections.abc import Sequence

from fl_service.spec import ClientNode, Slots, TrainingSpec
from fl_service.tasks import datasets, partition
from fl_service.tasks.base import Arrays, Evaluation, FitConfig, FitResult, Task

__all__ = ["Arrays", "Evaluation", "FitConfig", "FitResult", "Task", "label_counts", "make_task"]


def make_task(spec: TrainingSpec, partitions: int = 1) -> Task:
    """Build the task of a run; raises TaskError.

    `partitions`: number of slots that a user's task.py is asked to cut its data into (the evaluation needs it).
    """
    settings = spec.settings
    if settings.file is not None:
        from fl_service.tasks.user_task import UserTask

        return UserTask(settings, spec.seed, partitions)
    from fl_service.tasks.image import ImageTask

    return ImageTask(settings, spec.seed)


def label_counts(spec: TrainingSpec, clients: Sequence[ClientNode]) -> dict[str, dict[int, int]]:
    """Return {client: {label: samples}} as the clients see them, label noise included, without training or torch.

    Empty for a user's own task.py, whose loaders would have to be gone through. Raises TaskError.
    """
    settings = spec.settings
    if settings.file is not None:
        return {node.name: {} for node in clients}
    data, slots = datasets.load(settings.name), Slots.of(settings, clients)
    return {
        node.name: partition.label_counts(slots.placed(node), data, settings.partition, spec.seed) for node in clients
    }
