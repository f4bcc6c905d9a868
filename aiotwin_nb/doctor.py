"""`aiotwin doctor`: what works on this machine, what is missing and how to get it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """One check. `state`: ok, missing (something optional) or broken (a run cannot work)."""

    name: str
    state: str
    text: str


def examine() -> list[Finding]:
    """Run every check; nothing outside this machine is contacted."""
    checks: list[Callable[[], Finding]] = [_python, _torch, _torchvision, _flower, _digits, _fashion, _disk, _jupyter]
    return [check() for check in checks] + [
        _optional_package("wandb", "W&B metrics (a run works without them)", "pip install wandb"),
        _wandb_key(),
        _optional_package("kubernetes", "attaching to a cluster", "pip install 'aiotwin-nb[kubernetes]'"),
        _optional_package("voila", "notebooks as applications (aiotwin lab --app)", "pip install 'aiotwin-nb[voila]'"),
        *(_tool(name, purpose, how) for name, purpose, how in _TOOLS),
        *([_tool(*_CHROMIUM)] if _is_checkout() else []),
    ]


_TOOLS = (
    ("kubectl", "looking into a cluster", "see the Kubernetes documentation, 'Install Tools'"),
    ("k3d", "a K3s cluster in Docker", "see k3d.io; it needs Docker"),
)


_CHROMIUM = ("chromium", "the project's own browser tests", "apt install chromium (Debian, Ubuntu)")


def _is_checkout() -> bool:
    """Whether this is the source tree with its tests, and not an installed package."""
    return (Path(__file__).parents[1] / "tests" / "conftest.py").is_file()


def _python() -> Finding:
    good = (3, 11) <= sys.version_info < (3, 14)
    text = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("python", "ok" if good else "broken", text if good else f"{text}; needs 3.11, 3.12 or 3.13")


def _torch() -> Finding:
    try:
        import torch
    except Exception as error:  # an installed torch may fail in many ways while it loads its libraries
        return Finding("torch", "broken", f"does not import ({error}); reinstall it: pip install torch")
    return Finding("torch", "ok", f"torch {torch.__version__}, {torch.get_num_threads()} threads")


def _torchvision() -> Finding:
    from fl_service.tasks.torchvision_compat import torchvision_datasets

    try:
        torchvision_datasets()
    except Exception as error:
        return Finding("torchvision", "missing", f"does not import ({error}); only digits works without it")
    return Finding("torchvision", "ok", f"torchvision {version('torchvision')}")


def _flower() -> Finding:
    try:
        found = version("flwr")
    except PackageNotFoundError:
        return Finding("flower", "broken", "flwr is not installed: pip install 'flwr==1.41.*'")
    good = found.startswith("1.41.")
    return Finding("flower", "ok" if good else "broken", f"flwr {found}" + ("" if good else "; needs 1.41"))


def _digits() -> Finding:
    if importlib.util.find_spec("sklearn") is None:
        return Finding("digits", "broken", "scikit-learn is not installed: pip install scikit-learn")
    return Finding("digits", "ok", f"bundled with scikit-learn {version('scikit-learn')}")


def _fashion() -> Finding:
    root = Path(os.environ.get("AIOTWIN_DATA", "~/.cache/aiotwin")).expanduser()
    found = [name for name in ("FashionMNIST", "MNIST", "cifar-10-batches-py") if (root / name).is_dir()]
    if found:
        return Finding("data", "ok", f"{', '.join(found)} in {root}")
    return Finding(
        "data",
        "missing",
        f"no Fashion-MNIST, MNIST or CIFAR-10 in {root}; AIOTWIN_DOWNLOAD=1 lets a run fetch them, "
        "AIOTWIN_DATA names another folder (digits needs neither)",
    )


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return Finding("disk", "ok" if free > 1 else "missing", f"{free:.1f} GB free here")


def _jupyter() -> Finding:
    missing = [name for name in ("jupyterlab", "ipywidgets", "papermill") if importlib.util.find_spec(name) is None]
    if missing:
        return Finding("notebooks", "missing", f"not installed: pip install {' '.join(missing)}")
    return Finding("notebooks", "ok", f"JupyterLab {version('jupyterlab')}, papermill {version('papermill')}")


def _optional_package(name: str, purpose: str, how: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(name, "missing", f"for {purpose}: {how}")
    return Finding(name, "ok", f"{name} {version(name)}")


def _wandb_key() -> Finding:
    from aiotwin_nb.tracking.credentials import find_key

    if find_key():
        return Finding("W&B key", "ok", "configured: runs are tracked online unless WANDB_MODE=offline")
    return Finding("W&B key", "missing", "none, so runs are tracked offline; `wandb login` configures one")


def _tool(name: str, purpose: str, how: str) -> Finding:
    path = shutil.which(name)
    return Finding(name, "ok", path) if path else Finding(name, "missing", f"for {purpose}: {how}")
