"""A learned model without its data: what inference needs of a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fl_service.errors import TaskError
from fl_service.spec import TaskSettings
from fl_service.tasks import datasets, models
from fl_service.tasks.base import Arrays
from fl_service.tasks.user_task import check_contract, load_module, told


@dataclass(frozen=True)
class InputForm:
    """One input of a model: its shape and the type of its numbers.

    `bounds`: least and largest number, None where any finite one may be. `raw`: the numbers' type where an input comes
    as bytes (C order, little-endian).
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    raw: np.dtype[Any]
    bounds: tuple[float, float] | None = None


def same_inputs(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether models of two tasks can take each other's place: the same, but for data sets of the same format."""

    def form(task: Mapping[str, Any]) -> dict[str, Any]:
        name = str(task.get("name"))
        return {**task, "name": datasets.FORMATS.get(name, name)}

    return form(one) == form(other)


class Classifier(Protocol):
    """A model with its learned weights. Its calls do not depend on each other."""

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        """Return the class scores (n, classes), float32, of inputs (n, *form.shape) in the form's type."""


class ClassifierKind(Protocol):
    """All models of one architecture. `task`: what a checkpoint's fingerprint says of it."""

    task: Mapping[str, Any]
    form: InputForm

    def build(self, arrays: Arrays) -> Classifier:
        """Return the model with these weights; raises TaskError when they are not of this architecture."""


def classifier_kind(settings: TaskSettings, partitions: int = 1) -> ClassifierKind:
    """Return the architecture of a task; raises TaskError.

    `partitions`: number of slots that a user's task.py cuts its data into, of which one sample may be looked at.
    """
    if settings.file is None:
        return _Images(settings)
    return _OwnNets(Path(settings.file), settings.batch_size, partitions)


class _Images:
    """The built-in networks on raw images of a built-in data set; the data themselves are not needed."""

    def __init__(self, settings: TaskSettings) -> None:
        self.task: Mapping[str, Any] = {"name": settings.name, "model": settings.model}
        if settings.name not in datasets.FORMATS:
            raise TaskError(f"task.name: {settings.name!r} is not known; allowed: {', '.join(datasets.NAMES)}")
        self._format, self._model = datasets.FORMATS[settings.name], settings.model
        bounds = (0.0, self._format.full_scale)
        self.form = InputForm(self._format.shape, np.dtype(np.float32), np.dtype(np.uint8), bounds)

    def build(self, arrays: Arrays) -> Classifier:
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten
            module = models.build(self._model, self._format.shape, self._format.classes)
        _check_fits(arrays, {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()})
        module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
        return _ImageClassifier(module.eval(), self._format)


@dataclass(frozen=True)
class _ImageClassifier:
    module: nn.Module
    format: datasets.ImageFormat

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            scores: np.ndarray = self.module(torch.from_numpy(self.format.normalised(inputs))).numpy()
        return scores


class _OwnNets:
    """The Net of a user's task.py. Inputs are what Net takes: as the file's loaders give them.

    Their shape is the file's INPUT_SHAPE where it has one, else that of the first test sample of slot 0.
    """

    def __init__(self, file: Path, batch_size: int, partitions: int) -> None:
        self.task: Mapping[str, Any] = {"file": file.name}
        self._file, self._module = str(file), load_module(file)
        check_contract(self._module, self._file)
        with _user_code(self._file):
            self._shapes = {k: array.shape for k, array in self._weights(self._module.Net()).items()}
            self.form = self._declared_form() or self._form_of_data(batch_size, partitions)

    def build(self, arrays: Arrays) -> Classifier:
        _check_fits(arrays, self._shapes)
        with _user_code(self._file):
            net = self._module.Net()
            self._module.set_weights(net, [np.array(arrays[str(i)]) for i in range(len(arrays))])
            classifier = _OwnClassifier(net.eval())
            scores = classifier.scores(np.zeros((1, *self.form.shape), self.form.dtype))
        if scores.ndim != 2 or len(scores) != 1 or scores.shape[1] < 2:
            raise TaskError(
                f"{self._file}: Net returns shape {scores.shape} for one input of shape {self.form.shape}; "
                "to be served it must return class scores: (inputs, classes), 2 classes or more"
            )
        return classifier

    def _weights(self, net: Any) -> Arrays:
        return {str(i): np.array(array) for i, array in enumerate(self._module.get_weights(net))}

    def _declared_form(self) -> InputForm | None:
        declared = getattr(self._module, "INPUT_SHAPE", None)
        if declared is None:
            return None
        sides = tuple(declared) if isinstance(declared, tuple | list) else ()
        if not sides or not all(isinstance(side, int) and side > 0 for side in sides):
            raise TaskError(
                f"{self._file}: INPUT_SHAPE is {declared!r}; it must be the shape of one input, such as (1, 28, 28)"
            )
        return InputForm(sides, np.dtype(np.float32), np.dtype("<f4"))

    def _form_of_data(self, batch_size: int, partitions: int) -> InputForm:
        own = getattr(self._module, "load_test_data", None)
        loader = own(batch_size) if own else self._module.load_data(0, partitions, batch_size)[1]
        batch = next(iter(loader))
        values = batch.values() if isinstance(batch, Mapping) else batch
        sample = next((v for v in values if isinstance(v, Tensor) and v.ndim > 1), None)
        if sample is None:
            raise TaskError(
                f"{self._file}: the shape of an input cannot be seen in its test data; add INPUT_SHAPE = (…)"
            )
        dtype = np.dtype(np.float32 if sample.is_floating_point() else np.int64)
        return InputForm(tuple(sample.shape[1:]), dtype, dtype.newbyteorder("<"))


@dataclass(frozen=True)
class _OwnClassifier:
    net: nn.Module

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            scores: np.ndarray = self.net(torch.from_numpy(inputs)).float().numpy()
        return scores


@contextmanager
def _user_code(file: str) -> Iterator[None]:
    """Raise whatever a user's code raises as TaskError with file and line."""
    try:
        yield
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(told(error, file)) from error


def _check_fits(arrays: Arrays, expected: Mapping[str, tuple[int, ...]]) -> None:
    found = {name: tuple(array.shape) for name, array in arrays.items()}
    if found != dict(expected):
        names = sorted({*found, *expected}, key=str)
        wrong = next(name for name in names if found.get(name) != expected.get(name))
        raise TaskError(
            f"its array {wrong!r} has shape {found.get(wrong, 'none: it is missing')}, the model's has "
            f"{expected.get(wrong, 'none: it is not known')}; it is a checkpoint of another architecture"
        )
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise TaskError("its weights are not finite (NaN or infinite): training diverged; use an older checkpoint")
