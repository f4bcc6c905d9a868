"""`import torchvision` that also works beside a CPU build of torch.

The torchvision of some registries is built for CUDA. Beside a CPU torch its import fails at two operators that only the
compiled library defines. With their schemas declared first, datasets, transforms and models work; `ops.nms` does not.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept_alive: list[Any] = []  # a Library takes its schemas with it when it is collected


def torchvision_datasets() -> ModuleType:
    """Return `torchvision.datasets`; raises ImportError where torchvision is not installed."""
    try:
        return importlib.import_module("torchvision.datasets")
    except RuntimeError as error:
        if "does not exist" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # what the failed import left behind
    _declare_operators()
    return importlib.import_module("torchvision.datasets")


def _declare_operators() -> None:
    import torch

    declare: Any = torch.library.Library
    library = declare("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _kept_alive.append(library)
