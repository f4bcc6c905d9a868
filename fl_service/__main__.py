"""`python -m fl_service`: what this package is; the entry point of the roles in pods."""

from __future__ import annotations

import argparse
import sys

from fl_service import __version__

_ROLES = ("global-aggregator", "local-aggregator", "client", "evaluator")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line; returns the exit code (2: this role cannot be started here)."""
    parser = argparse.ArgumentParser(prog="python -m fl_service", description=__doc__)
    parser.add_argument("--version", action="version", version=f"fl_service {__version__}")
    parser.add_argument("role", nargs="?", help=f"role of a pod: {', '.join(_ROLES)}")
    role = parser.parse_args(arguments).role
    if role is None:
        print(
            f"fl_service {__version__}: hierarchical federated learning with Flower. In one process it is driven by "
            "aiotwin_nb.runtime.embedded; see --help."
        )
        return 0
    known = "is not available in this version" if role in _ROLES else f"is not known; roles: {', '.join(_ROLES)}"
    print(f"role: {role!r} {known}. Use the embedded runtime: aiotwin run SCENARIO --runtime embedded", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
