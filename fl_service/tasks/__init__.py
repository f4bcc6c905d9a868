"""Learning tasks: built-in image classification, and users' own task.py files."""

from fl_service.spec import TrainingSpec
from fl_service.tasks.base import Arrays, Evaluation, FitConfig, FitResult, Task

__all__ = ["Arrays", "Evaluation", "FitConfig", "FitResult", "Task", "make_task"]


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
