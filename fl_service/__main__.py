"""`python -m fl_service ROLE --config FILE`: one process, or pod, of a hierarchical Flower pipeline."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from fl_service import __version__
from fl_service.errors import ConfigError, FLServiceError, unknown
from fl_service.roles import ROLES, make


def main(arguments: list[str] | None = None) -> int:
    """Run a role until it is told to end; returns the exit code (2: bad input, 3: another process took the name)."""
    parser = argparse.ArgumentParser(prog="python -m fl_service", description=__doc__)
    parser.add_argument("--version", action="version", version=f"fl_service {__version__}")
    parser.add_argument("role", nargs="?", help=f"role of the process: {', '.join(ROLES)}")
    parser.add_argument("--config", metavar="FILE", help="JSON configuration (or the environment variable FL_CONFIG)")
    given = parser.parse_args(arguments)
    if given.role is None:
        print(f"fl_service {__version__}: hierarchical federated learning with Flower; see --help.")
        return 0
    try:
        return _run(given.role, given.config or os.environ.get("FL_CONFIG"))
    except FLServiceError as error:
        print(f"fl_service: {error}", file=sys.stderr)
        return 2


def _run(role: str, file: str | None) -> int:
    if role not in ROLES:
        raise ConfigError(unknown("role", role, ROLES))
    if file is None:
        raise ConfigError("--config: is missing; give the path of the configuration, or set FL_CONFIG")
    from fl_service.roles.config import RoleConfig
    from fl_service.roles.process import calm_allocator, leave, run

    calm_allocator()
    code = run(make(role, RoleConfig.load(Path(file), role)))
    leave(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
