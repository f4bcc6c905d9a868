"""What the Makefile asks before and while it installs; each refusal is one sentence that says what to do.

    preflight.py machine VENV [--system-torch]    may an environment be made at VENV? says what it will cost
    preflight.py system-torch CONSTRAINTS         run by the new environment: are torch and torchvision usable as they
                                                  are? writes their versions down, so that pip leaves them alone

Only the standard library, and only what Python 2.7 understands too: it has to say "too old" there, not a SyntaxError.
"""

from __future__ import print_function

import importlib
import os
import sys

OLDEST, TOO_NEW = (3, 11), (3, 14)  # as requires-python in pyproject.toml
FREE_GB = 5
# Measured on Linux x86-64 with Python 3.11 and torch 2.13.
COSTS = "downloads about 0.4 GB and takes 2 GB of disk with a CPU build of torch"
COSTS_CUDA = "; a build with CUDA, the usual one on Linux, downloads 2.5 GB more (PIP_ARGS can name another index)"
COSTS_SYSTEM_TORCH = "downloads about 0.25 GB and takes 0.8 GB of disk beside the torch that is installed"


def refusal(platform, version, has_venv, free_gb):
    """Return why an environment cannot be made, as one sentence, or None."""
    if platform.startswith("win"):
        return "Windows itself will not do: run make inside the Windows Subsystem for Linux (wsl --install)."
    if not OLDEST <= version < TOO_NEW:
        return "Python {0}.{1} is too {2}: name a Python 3.11, 3.12 or 3.13 with make PYTHON=python3.12.".format(
            version[0], version[1], "old" if version < OLDEST else "new"
        )
    if not has_venv:
        return "This Python has no venv module: install it (on Debian and Ubuntu: apt install python3-venv)."
    if free_gb < FREE_GB:
        return "Only {0:.1f} GB of disk are free, {1} are needed: make room, or name another folder with VENV=.".format(
            free_gb, FREE_GB
        )
    return None


def can_make_environments():
    """Tell whether `python -m venv` will work; Debian leaves ensurepip out unless python3-venv is installed."""
    try:
        importlib.import_module("venv")
        importlib.import_module("ensurepip")
    except ImportError:
        return False
    return True


def free_gb(path):
    """Free space, in GB, where `path` is or will be."""
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    if not hasattr(os, "statvfs"):  # Windows
        return float("inf")
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize / 1e9


def check_machine(venv, system_torch):
    """Refuse in one sentence, or say what the installation costs."""
    reason = refusal(sys.platform, sys.version_info[:2], can_make_environments(), free_gb(venv))
    if reason is None:
        costs = COSTS_SYSTEM_TORCH if system_torch else COSTS + (COSTS_CUDA if sys.platform == "linux" else "")
        print("Installing into {0}: {1}.".format(venv, costs))
    return reason


def check_system_torch(constraints):
    """Write down the versions of the torch and torchvision that came with the system, or refuse in one sentence."""
    lines = []
    for name in ("torch", "torchvision"):
        try:
            module = importlib.import_module(name)
        except Exception as error:  # a torch built for another machine fails in many ways
            return "SYSTEM_TORCH=1, but {0} does not import ({1}): mend it, or leave SYSTEM_TORCH out.".format(
                name, " ".join(str(error).split())
            )
        if os.path.abspath(module.__file__).startswith(os.path.join(os.path.abspath(sys.prefix), "")):
            return "SYSTEM_TORCH=1, but {0} holds a {1} of its own: run make clean first.".format(sys.prefix, name)
        lines.append("{0}=={1}".format(name, importlib.import_module("importlib.metadata").version(name)))
    with open(constraints, "w") as file:
        file.write("\n".join(lines) + "\n")
    print("Using the system's {0}.".format(" and ".join(lines)))
    return None


def main(arguments):
    """Return the exit status: 0, or 1 after one sentence on standard error."""
    if arguments[0] == "machine":
        reason = check_machine(arguments[1], "--system-torch" in arguments)
    else:
        reason = check_system_torch(arguments[1])
    if reason:
        print(reason, file=sys.stderr)
    return int(bool(reason))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
