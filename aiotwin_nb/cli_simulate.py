"""`aiotwin simulate`: balancing policies side by side on a simulated continuum."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.balancing import DEFAULT_POLICY, policies
from aiotwin_nb.inference.simulator import FAMILIES, ORACLE, Result, family, parse_scenario, simulate

if TYPE_CHECKING:
    from aiotwin_nb.inference.simulator import Scenario


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `aiotwin simulate`."""
    parser.add_argument("what", metavar="FILE|FAMILY", help=f"a scenario's YAML file, or one of {', '.join(FAMILIES)}")
    parser.add_argument(
        "--policy",
        default=f"{DEFAULT_POLICY},qedgeproxy,{ORACLE}",
        metavar="NAMES",
        help=f"all, or some of {', '.join([*policies.names(), ORACLE])}; default: %(default)s",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="default: a family's 0, a file's own")
    parser.add_argument("--json", action="store_true", help="only JSON on standard output")


def run(options: argparse.Namespace) -> int:
    """Simulate and print one line, or one object, a policy."""
    names = [*policies.names(), ORACLE] if options.policy == "all" else _names(options.policy)
    scenario = _scenario(options.what, options.seed)
    results = [simulate(scenario, name) for name in names]
    if options.json:
        print(json.dumps({"scenario": scenario.name, "seed": scenario.seed, "results": [r.summary() for r in results]}))
    else:
        print(f"{scenario.name}: {len(results[0].time)} requests, {scenario.bound_ms:g} ms allowed")
        print("\n".join(_line(result) for result in results))
    return 0


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name != ORACLE:
            policies.get(name)
    return names


def _scenario(what: str, seed: int | None) -> Scenario:
    from dataclasses import replace

    from aiotwin_nb.scenario.located import read_yaml

    if seed is not None and seed < 0:
        raise InvalidInput(f"--seed {seed}: must be 0 or more")
    path = Path(what)
    if what in FAMILIES or not (path.suffix or path.exists()):
        return family(what, seed or 0)
    scenario = parse_scenario(read_yaml(path).value, what)
    return scenario if seed is None else replace(scenario, seed=seed)


def _line(result: Result) -> str:
    worst = min(result.qos_by_client().values(), default=1.0)
    p50, p99 = result.quantiles(0.5, 0.99) or (float("nan"), float("nan"))
    shares = f"in time {result.qos:7.2%}   worst client {worst:7.2%}"
    return f"{result.policy:20} {shares}   p50 {p50:6.1f} ms   p99 {p99:7.1f} ms"
