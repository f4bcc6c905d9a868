"""`python plain_roles.py ROLE --config FILE`: the roles as they are, but an evaluator without PyTorch, which starts fast.

`spec.task.model` is the number of the model's parameters.
"""

import sys
from pathlib import Path

import numpy as np

from fl_service.roles import EVALUATOR, make
from fl_service.roles.config import RoleConfig
from fl_service.roles.evaluator import Evaluator
from fl_service.roles.process import calm_allocator, leave, run
from fl_service.tasks.base import Evaluation


class PlainTask:
    def __init__(self, spec, partitions):
        self._size = int(spec.settings.model)

    def check(self, nodes):
        list(nodes)

    def initial_arrays(self):
        half = self._size // 2
        return {"a": np.ones((half,), np.float32), "b": np.ones((self._size - half, 1), np.float32)}

    def evaluate(self, arrays):
        mean = float(np.mean([array.mean(dtype=np.float64) for array in arrays.values()]))
        return Evaluation(1e6 * (mean - 1), mean)


if __name__ == "__main__":
    calm_allocator()
    role, _, file = sys.argv[1:]
    config = RoleConfig.load(Path(file), role)
    leave(run(Evaluator(config, PlainTask) if role == EVALUATOR else make(role, config)))
