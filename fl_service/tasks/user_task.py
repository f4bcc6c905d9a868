"""A user's own task.py: Net, get_weights, set_weights, load_data, train and test, as in Flower's PyTorch tutorials."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from fl_service.errors import TaskError
from fl_service.rng import derive_seed, seed_everything
from fl_service.spec import ClientNode, TaskSettings
from fl_service.tasks.base import Arrays, Evaluation, FitConfig, FitResult

# What a task.py must define: name → (how it is called, the positional arguments that we pass).
CONTRACT: Mapping[str, tuple[str, int]] = {
    "Net": ("class Net(nn.Module) with __init__(self)", 0),
    "get_weights": ("get_weights(net) -> list of numpy arrays", 1),
    "set_weights": ("set_weights(net, parameters)", 2),
    "load_data": ("load_data(partition_id, num_partitions, batch_size) -> (trainloader, testloader)", 3),
    "train": ("train(net, trainloader, epochs, learning_rate, device) -> loss (the last two may be missing)", 2),
    "test": ("test(net, testloader, device) -> (loss, accuracy) (device may be missing)", 2),
}
_RATE_NAMES = ("learning_rate", "lr")
_EPOCH_NAMES = ("epochs", "local_epochs", "num_epochs")


class UserTask:
    """A task.py as a task.

    Client i of n trains on the first loader of load_data(i, n, batch_size). The global model is evaluated on the second
    loaders of all n slots, weighted by their samples; where task.py has `load_test_data(batch_size)`, on that instead.
    Accuracies from 0 to 1 are turned into percent.
    """

    def __init__(self, settings: TaskSettings, seed: int, partitions: int) -> None:
        torch.set_num_threads(1)
        assert settings.file is not None
        self._settings, self._seed, self._partitions = settings, seed, partitions
        self._module = load_module(Path(settings.file))
        check_contract(self._module, settings.file)
        self._loaders: dict[tuple[int, int], tuple[Any, Any]] = {}
        self._net = self._call(lambda: self._module.Net(), "model")
        self._initial = self._weights()

    def check(self, nodes: Iterable[ClientNode]) -> None:
        """Raise TaskError for a client whose slot does not exist."""
        for node in nodes:
            self._slot(node)

    def initial_arrays(self) -> Arrays:
        """Return the untrained model, whose weights derive from the run seed."""
        return {name: array.copy() for name, array in self._initial.items()}

    def fit(self, arrays: Arrays, node: ClientNode, config: FitConfig) -> FitResult:
        """Train with the user's own train()."""
        loader = self._data(self._slot(node))[0]
        self._set(arrays)
        offered = {
            **dict.fromkeys(_EPOCH_NAMES, config.epochs),
            **dict.fromkeys(_RATE_NAMES, config.learning_rate),
            "device": torch.device("cpu"),
            "proximal_mu": config.proximal_mu,
            "momentum": config.momentum,
        }
        key = ("fit", node.name, config.round, config.local_round)
        result = self._call(lambda: _pass(self._module.train, (self._net, loader), offered), *key)
        return FitResult(self._weights(), _size(loader), _loss(result))

    def evaluate(self, arrays: Arrays) -> Evaluation:
        """Evaluate with the user's own test()."""
        self._set(arrays)
        results = [(_size(loader), *self._test(loader)) for loader in self._test_loaders()]
        total = sum(size for size, _, _ in results)
        loss = sum(size * loss for size, loss, _ in results) / total
        accuracy = sum(size * accuracy for size, _, accuracy in results) / total
        return Evaluation(accuracy, loss)

    def _test(self, loader: Any) -> tuple[float, float]:
        offered = {"device": torch.device("cpu")}
        result = self._call(lambda: _pass(self._module.test, (self._net, loader), offered), "test")
        try:
            loss, accuracy = (float(value) for value in result)
        except (TypeError, ValueError):
            raise TaskError(f"{self._settings.file}: test must return (loss, accuracy), not {result!r}") from None
        return loss, accuracy * 100 if accuracy <= 1 else accuracy

    def _test_loaders(self) -> list[Any]:
        own = getattr(self._module, "load_test_data", None)
        if own is not None:
            if not self._loaders.get((-1, 0)):
                self._loaders[(-1, 0)] = (None, self._call(lambda: own(self._settings.batch_size), "test-data"))
            return [self._loaders[(-1, 0)][1]]
        return [self._data((index, self._partitions))[1] for index in range(self._partitions)]

    def _slot(self, node: ClientNode) -> tuple[int, int]:
        if node.slot is None or not 0 <= node.slot[0] < node.slot[1]:
            raise TaskError(
                f"nodes[{node.name}].partition: {node.slot} is no slot of the data; give (index, number of slots), or "
                "set task.partition.partitions to as many clients as may ever be there"
            )
        return node.slot

    def _data(self, slot: tuple[int, int]) -> tuple[Any, Any]:
        """Return a slot's loaders. They are drawn by the slot's own key, whoever loads them and whenever."""
        if slot not in self._loaders:
            batch_size = self._settings.batch_size
            loaders = self._call(lambda: self._module.load_data(*slot, batch_size), "data", *slot)
            if not isinstance(loaders, tuple | list) or len(loaders) != 2:
                raise TaskError(f"{self._settings.file}: load_data must return (trainloader, testloader)")
            self._loaders[slot] = (loaders[0], loaders[1])
        return self._loaders[slot]

    def _weights(self) -> Arrays:
        """Return the model as {"0": array, "1": …}: the contract's weights are a list without names."""
        return {str(i): np.array(w) for i, w in enumerate(self._call(lambda: self._module.get_weights(self._net)))}

    def _set(self, arrays: Arrays) -> None:
        weights = [arrays[str(i)] for i in range(len(arrays))]
        self._call(lambda: self._module.set_weights(self._net, weights))

    def _call(self, function: Callable[[], Any], *key: str | int) -> Any:
        """Call the user's code with its generators seeded by a key; its errors are told with file and line."""
        if key:
            seed_everything(derive_seed(self._seed, "task", *key))
        try:
            return function()
        except TaskError:
            raise
        except Exception as error:
            raise TaskError(told(error, str(self._settings.file))) from error


def load_module(path: Path) -> ModuleType:
    """Import a task.py; raises TaskError with the file and line of what is wrong with it."""
    name = f"fl_service_user_task_{derive_seed(0, str(path.resolve())):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TaskError(f"task.file: {str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that the objects of the file can be pickled
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise TaskError(f"task.file: {told(error, str(path))}") from error
    return module


def check_contract(module: ModuleType, file: str) -> None:
    """Raise TaskError naming everything that a task.py lacks, with the expected signatures."""
    wrong = []
    for name, (signature, arguments) in CONTRACT.items():
        found = getattr(module, name, None)
        if not callable(found):
            wrong.append(f"{name} is missing: {signature}")
        elif not _takes(found, arguments):
            wrong.append(f"{name}{inspect.signature(found)} does not fit: {signature}")
    if wrong:
        raise TaskError(f"task.file: {file} is not a task:\n  " + "\n  ".join(wrong))


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) >= count


def _pass(function: Callable[..., Any], positional: tuple[Any, ...], offered: Mapping[str, Any]) -> Any:
    """Call with the positional arguments and those of the offered ones whose names the function has."""
    parameters = list(inspect.signature(function).parameters.values())[len(positional) :]
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in offered and p.kind not in (2, 4)]
    if missing:
        raise TaskError(
            f"{function.__name__} asks for {', '.join(missing)}, which is not known; "
            f"it may ask for {', '.join(offered)}"
        )
    return function(*positional, **{p.name: offered[p.name] for p in parameters if p.name in offered})


def told(error: Exception, file: str) -> str:
    """Return an error in the user's file as one line: file:line, type and message."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename).resolve() == Path(file).resolve():
            line = frame.lineno
    return f"{file}{f':{line}' if line else ''}: {type(error).__name__}: {error}"


def _size(loader: Any) -> int:
    """Return the number of samples of a loader."""
    return len(getattr(loader, "dataset", loader))


def _loss(result: Any) -> float | None:
    """Return the training loss out of what train() returned: a number, or a dict or tuple with one; else None."""
    if isinstance(result, Mapping):
        result = next((result[key] for key in ("train_loss", "loss") if key in result), None)
    if isinstance(result, tuple | list) and result:
        result = result[0]
    try:
        return float(result)
    except (TypeError, ValueError):
        return None
