"""The built-in image data sets, as raw numpy arrays; nothing is ever downloaded unless it was asked for."""

from __future__ import annotations

import gzip
import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fl_service.errors import TaskError, unknown
from fl_service.tasks import people
from fl_service.tasks.torchvision_compat import torchvision_datasets

_DIGITS_TRAIN = 1297
_PEOPLE_TRAIN, _PEOPLE_TEST = 3000, 600
_DIGITS_SPLIT_SEED = 12345  # fixed: the split must not depend on the run


@dataclass(frozen=True)
class ImageFormat:
    """What the images of a data set are: (channels, height, width), values 0 to `full_scale`, number of classes.

    A network's input is (image / full_scale − mean) / std. Known without the data: who uses a model needs no more.
    """

    shape: tuple[int, int, int]
    full_scale: float
    mean: float
    std: float
    classes: int = 10

    def normalised(self, images: np.ndarray) -> np.ndarray:
        """Return raw images (n, channels, height, width) as float32 input of a network."""
        scaled = images.astype(np.float32) / np.float32(self.full_scale)
        return (scaled - np.float32(self.mean)) / np.float32(self.std)


FORMATS = {
    "digits": ImageFormat((1, 8, 8), 16.0, 0.305, 0.376),
    "fashion_mnist": ImageFormat((1, 28, 28), 255.0, 0.2860, 0.3530),
    "mnist": ImageFormat((1, 28, 28), 255.0, 0.1307, 0.3081),
    "cifar10": ImageFormat((3, 32, 32), 255.0, 0.5, 0.5),
}
_LIGHTS = {"people": (people.DAY,), "people_evening": (people.EVENING,), "people_any": (people.DAY, people.EVENING)}
FORMATS |= dict.fromkeys(_LIGHTS, ImageFormat((1, people.SIDE, people.SIDE), 255.0, 0.4, 0.25, people.MOST + 1))
NAMES = tuple(FORMATS)
_TORCHVISION = {"fashion_mnist": "FashionMNIST", "mnist": "MNIST", "cifar10": "CIFAR10"}


@dataclass(frozen=True, eq=False)
class ImageData:
    """Raw images (n, channels, height, width) and labels (n,), and their format."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @property
    def format(self) -> ImageFormat:
        """What the images are."""
        return FORMATS[self.name]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.format.shape

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.format.classes

    def normalised(self, images: np.ndarray) -> np.ndarray:
        """Return raw images as float32 input of a network."""
        return self.format.normalised(images)


def data_root() -> Path:
    """Return the folder of the data sets: AIOTWIN_DATA, or ~/.cache/aiotwin."""
    return Path(os.environ.get("AIOTWIN_DATA") or Path.home() / ".cache" / "aiotwin").expanduser()


def load(name: str, *, download: bool | None = None) -> ImageData:
    """Load a data set; raises TaskError for an unknown name and for data that is not on this machine.

    `download`: fetch missing data; None asks the environment (AIOTWIN_DOWNLOAD=1).
    """
    if name not in NAMES:
        raise TaskError(unknown("task.name", name, NAMES))
    wanted = os.environ.get("AIOTWIN_DOWNLOAD") == "1" if download is None else download
    if name == "digits":
        return _digits()
    return _people(name) if name in _LIGHTS else _from_torchvision(name, data_root(), wanted)


@lru_cache(maxsize=1)
def _digits() -> ImageData:
    images, labels = _read_digits()
    order = np.random.default_rng(_DIGITS_SPLIT_SEED).permutation(len(labels))
    images, labels = images[order].reshape(-1, 1, 8, 8), labels[order]
    train, test = slice(None, _DIGITS_TRAIN), slice(_DIGITS_TRAIN, None)
    return ImageData("digits", images[train], labels[train], images[test], labels[test])


def _read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits: images (1797, 64) of 0–16 and labels (1797,).

    The file is read directly where it is found: importing scikit-learn for it costs 1.5 s and 60 MB.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = (spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            with gzip.open(file, "rt") as lines:
                table = np.loadtxt(lines, delimiter=",")
            return table[:, :-1], table[:, -1].astype(np.int64)
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise TaskError("task.name: 'digits' comes with scikit-learn: pip install scikit-learn") from error
    bunch = load_digits()
    return bunch.data, bunch.target.astype(np.int64)


@lru_cache(maxsize=1)
def _people(name: str) -> ImageData:
    """Return synthetic camera frames, drawn anew (0.4 s) and not kept; half in each light if there are two."""
    train, test = (_frames(name, count, seed) for count, seed in ((_PEOPLE_TRAIN, 1), (_PEOPLE_TEST, 2)))
    return ImageData(name, *train, *test)


def _frames(name: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count, dtype=np.int64) % (people.MOST + 1)
    parts = np.array_split(labels, len(_LIGHTS[name]))
    drawn = [people.frames(part, seed, light) for part, light in zip(parts, _LIGHTS[name], strict=True)]
    return np.concatenate(drawn), labels


@lru_cache(maxsize=1)
def _from_torchvision(name: str, root: Path, download: bool) -> ImageData:
    kept_as = _TORCHVISION[name]
    try:
        kind = getattr(torchvision_datasets(), kept_as)
        if download:
            root.mkdir(parents=True, exist_ok=True)
        train, test = (kind(root=str(root), train=train, download=download) for train in (True, False))
    except ImportError as error:
        raise TaskError(f"task.name: {name!r} is read by torchvision: pip install torchvision") from error
    except Exception as error:  # of damaged files, torchvision raises whatever its readers stumble over
        raise TaskError(_missing(name, kept_as, root, download, error)) from error
    return ImageData(
        name,
        _channels_first(train.data), np.asarray(train.targets, np.int64),
        _channels_first(test.data), np.asarray(test.targets, np.int64),
    )  # fmt: skip


def _channels_first(images: object) -> np.ndarray:
    """Return images as (n, channels, height, width), from (n, height, width) or (n, height, width, channels)."""
    array = np.asarray(images)
    return array[:, None] if array.ndim == 3 else np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def _missing(name: str, kept_as: str, root: Path, download: bool, error: Exception) -> str:
    if download:
        return f"task.name: {name!r} could not be downloaded to {root}: {error}"
    if "not found" not in str(error):
        found = f"{type(error).__name__}: {error}"
        return f"task.name: {name!r} cannot be read from {root} ({found}). Delete its files there and get them again"
    return (
        f"task.name: {name!r} is not on this machine (looked in {root / kept_as}). Either allow the "
        "download with AIOTWIN_DOWNLOAD=1, or set AIOTWIN_DATA to a folder in which "
        f"torchvision.datasets.{kept_as} finds its files."
    )
