"""The command line: `aiotwin VERB …`. Exit codes: 0 done, 1 failed while running, 2 bad input, 130 interrupted."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from aiotwin_nb import __version__, cli_cluster, cli_inference, cli_simulate
from aiotwin_nb.errors import AIoTwinError, InvalidInput, RunFailed, did_you_mean
from aiotwin_nb.scenario import (
    Scenario,
    lab_names,
    load_scenario,
    node_from_yaml,
    parse_override,
    parse_value,
    scenario_schema,
)

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without "←" shows "?" instead of failing
    options, extra = _parsed(arguments)
    options.extra = extra
    try:
        return int(options.action(options) or 0)
    except AIoTwinError as error:
        print(f"aiotwin: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("aiotwin: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        print(f"aiotwin: {what}{error.strerror or error}", file=sys.stderr)
        return 1


def _parsed(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The options, and what stands behind `--` for another program."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    cut = words.index("--") if "--" in words else len(words)
    return _parser().parse_args(words[:cut]), words[cut + 1 :]


class _Parser(argparse.ArgumentParser):
    """Argparse whose errors suggest the nearest verb."""

    def error(self, message: str) -> NoReturn:
        if "invalid choice" in message:
            wrong, _, choices = message.partition("invalid choice: '")[2].partition("' (choose from ")
            message += did_you_mean(wrong, [choice.strip(" ')") for choice in choices.split(",")])
        self.exit(2, f"{self.prog}: {message}\n(see: {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="aiotwin",
        description="Adaptive orchestration of hierarchical federated learning under a communication budget.",
        epilog=f"Shipped labs: {', '.join(lab_names())}. Start with: aiotwin run improvement",
    )
    parser.add_argument("--version", action="version", version=f"aiotwin {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (add_arguments, action, text) in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        add_arguments(verb)
        verb.set_defaults(action=action)
    return parser


# Shared arguments.


def _scenario_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", metavar="SCENARIO", help="a scenario file, the name of a lab, or - for stdin")
    parser.add_argument("--seed", type=int, help="instead of the scenario's")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="PATH=VALUE", help="e.g. validation.window=3"
    )


def _json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="only JSON on standard output")


def _running_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-progress", action="store_true", help="no live display")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes for the clients (0: this one)")
    parser.add_argument(
        "--tracking", choices=("auto", "offline", "online", "off"), help="W&B; default: AIOTWIN_TRACKING, else auto"
    )
    _json_argument(parser)


def _scenario(options: argparse.Namespace) -> Scenario:
    overrides = [parse_override(text) for text in options.overrides]
    if options.scenario != "-":
        return load_scenario(options.scenario, overrides=overrides, seed=options.seed)
    from aiotwin_nb.scenario.load import build_scenario
    from aiotwin_nb.scenario.located import parse_yaml

    if options.seed is not None:
        overrides.append(("seed", options.seed))
    return build_scenario(parse_yaml(sys.stdin.read(), "<stdin>"), Path.cwd(), overrides)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, allow_nan=False))


# run, resume.


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _scenario_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="the run directory, new or empty")
    parser.add_argument(
        "--runtime", default="embedded", help="where it runs: embedded (default), stacked or kubernetes"
    )
    _running_arguments(parser)
    _cluster_arguments(parser.add_argument_group("on a cluster (--runtime kubernetes)"))


def _cluster_arguments(group: Any) -> None:
    group.add_argument("--kubeconfig", metavar="FILE", help="default: the cluster attached to, else kubectl's")
    group.add_argument("--context", metavar="NAME", help="a context of it; default: the current one")
    group.add_argument("--namespace", metavar="NAME", help="default: the context's, else aiotwin")
    group.add_argument(
        "--infrastructure",
        choices=("simulated", "actual"),
        help="simulated (default): the scenario's nodes, several on a cluster node; actual: the cluster's own",
    )
    group.add_argument("--aggregator-image", metavar="NAME", help="image of the aggregators (no torch in it)")
    group.add_argument("--client-image", metavar="NAME", help="image of clients and evaluator")
    group.add_argument("--reach", choices=("port-forward", "service"), help="how the global aggregator is reached")


def _cluster_options(options: argparse.Namespace) -> Any:
    """The options for a cluster that were given; none is allowed elsewhere."""
    names = ("kubeconfig", "context", "namespace", "infrastructure", "aggregator_image", "client_image", "reach")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.runtime != "kubernetes":
        if given:
            flag = next(iter(given)).replace("_", "-")
            raise InvalidInput(f"--{flag}: only with --runtime kubernetes")
        return None
    from aiotwin_nb.runtime.kubernetes import ClusterOptions

    return ClusterOptions(**given)


def _run(options: argparse.Namespace) -> int:
    from aiotwin_nb import api
    from aiotwin_nb.progress import make_progress

    scenario = _scenario(options)
    directory = options.out or api.default_directory(scenario)
    progress = make_progress(quiet=options.no_progress or options.json)
    try:
        state = api.execute(
            scenario,
            directory,
            runtime=options.runtime,
            workers=options.workers,
            tracking=options.tracking,
            listeners=[progress],
            cluster=_cluster_options(options),
        )
    except RunFailed as error:
        return _report_failure(error, directory, options)
    finally:
        progress.close()
    return _report(state, directory, options)


def _resume_arguments(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser)
    _running_arguments(parser)


def _resume(options: argparse.Namespace) -> int:
    from aiotwin_nb import api
    from aiotwin_nb.orchestration.rundir import RunDirectory
    from aiotwin_nb.progress import make_progress

    progress = make_progress(quiet=options.no_progress or options.json)
    try:
        state = api.continue_run(options.run, workers=options.workers, tracking=options.tracking, listeners=[progress])
    except RunFailed as error:
        return _report_failure(error, RunDirectory.open(options.run).path, options)
    finally:
        progress.close()
    return _report(state, RunDirectory.open(options.run).path, options)


def _report_failure(error: RunFailed, directory: Path, options: argparse.Namespace) -> int:
    """Say what failed; with --json also the summary up to there."""
    summary = directory / "summary.json"
    if options.json and summary.is_file():
        print(summary.read_text())
    print(f"aiotwin: {error}", file=sys.stderr)
    return error.exit_code


def _report(state: Any, directory: Path, options: argparse.Namespace) -> int:
    from aiotwin_nb.orchestration.summary import summarise

    summary = summarise(state)
    if options.json:
        _print_json(summary)
    else:
        print(_summary_text(summary))
        print(f"run directory: {directory}")
        if summary["status"] == "stopped":
            print(f"continue it with: aiotwin resume {directory}")
    if state.status == "failed":
        return 1
    return INTERRUPTED if state.stop_reason == "interrupted" else 0


def _summary_text(summary: dict[str, Any]) -> str:
    lines = [
        f"{summary['scenario']} (seed {summary['seed']}): {summary['status']} ({summary['stop_reason']}) "
        f"after {summary['rounds']} rounds"
    ]
    if summary["final_accuracy"] is not None:
        lines[0] += f", accuracy {summary['final_accuracy']:.2f} % (best {summary['best_accuracy']:.2f} %)"
    budget = "" if summary["budget"] is None else f" of {summary['budget']:,}"
    lines.append(f"spent {summary['total_cost']:,}{budget}")
    for record in summary["reconfigurations"]:
        added, removed = record["trigger"]["added"], record["trigger"]["removed"]
        what = [f"{i} joined" for i in added] + [f"{i} left" for i in removed]
        at = f", decided after round {record['evaluation_round']}" if record["evaluation_round"] else ""
        lines.append(
            f"after round {record['after_round']}: {', '.join(what) or 'links or data changed'}{at}: "
            f"{record['decision'].upper()}: {record['reason']}"
        )
    return "\n".join(lines)


# plan, replay, compare.


def _plan_arguments(parser: argparse.ArgumentParser) -> None:
    _scenario_arguments(parser)
    parser.add_argument("--strategies", metavar="A,B|all", help="compare strategies at the start instead")
    parser.add_argument("--picture", type=Path, metavar="OUT.png", help="cost against imbalance, with --strategies")
    _json_argument(parser)


def _plan(options: argparse.Namespace) -> int:
    from aiotwin_nb import api
    from aiotwin_nb.planning.strategies import learns_from_training

    if options.strategies is not None:
        return _plan_strategies(options)
    if options.picture is not None:
        raise InvalidInput("--picture shows a comparison; give --strategies A,B or --strategies all as well")
    scenario = _scenario(options)
    planned = api.plan(scenario)
    if learns_from_training(scenario.strategy.name, scenario.strategy.args):
        note = "learns from training; nothing is trained here, so these are its plans before any"
        print(f"aiotwin: strategy {scenario.strategy.name} {note}", file=sys.stderr)
    if options.json:
        _print_json(planned)
        return 0
    initial = planned["initial"]
    print(f"start: {_clusters(initial['clusters'])}; a round costs {initial['round_cost']:,}")
    for record in planned["reconfigurations"]:
        print(
            f"after round {record['after_round']}: {_clusters(record['clusters'])}; the change costs "
            f"{record['change_cost']:,}, a round {record['round_cost_after']:,} ({record['post_cost']:+,})"
        )
    return 0


def _plan_strategies(options: argparse.Namespace) -> int:
    from aiotwin_nb import api

    scenario = _scenario(options)
    comparison = api.compare_plans(scenario, options.strategies)
    if options.picture is not None:
        _save_picture(comparison, scenario.name, options.picture)
    if options.json:
        _print_json(comparison)
    else:
        print(_strategies_text(comparison))
    return 0


def _save_picture(comparison: dict[str, Any], name: str, path: Path) -> None:
    from aiotwin_nb.widgets.pareto import draw_pareto

    try:
        draw_pareto(comparison, title=f"{name}: cost against imbalance").savefig(path, format="png", dpi=110)
    except OSError as error:
        raise InvalidInput(f"--picture {path}: cannot be written: {error.strerror}; give another path") from None


def _strategies_text(comparison: dict[str, Any]) -> str:
    """A table; plans on the Pareto front have a star, gaps are proven."""
    rows = [row for row in comparison["strategies"] if "error" not in row]
    width = max((len(row["name"]) for row in comparison["strategies"]), default=0)
    unit = comparison["unit"]
    lines = [
        f"  {'strategy':{width}} {'Ψ_gr':>11} {'Σ links':>9} {'KL':>7} {'gap':>8} {'seconds':>8} {'moved':>5}  sizes"
    ]
    for row in rows:
        balance = "-" if row["imbalance"] is None else f"{row['imbalance']:.4f}"
        gap = "-" if row["gap"] is None else f"{100 * row['gap']:.2f} %"
        lines.append(
            f"{'*' if row['pareto'] else ' '} {row['name']:{width}} {row['round_cost']:>11,} {row['client_links']:>9,} "
            f"{balance:>7} {gap:>8} {row['seconds']:>8.3f} {len(row['moved']):>5}  {_sizes(row)}"
        )
    lines += [f"  {row['name']:{width}} {row['error']}" for row in comparison["strategies"] if "error" in row]
    lines.append(f"* no plan is better in cost ({unit}) and imbalance (mean KL, nats) at once; gap: what is not proven")
    return "\n".join(lines)


def _sizes(row: dict[str, Any]) -> str:
    """Cluster sizes, shortened where there are many."""
    sizes = row["sizes"]
    shown = " ".join(map(str, sizes)) if len(sizes) <= 10 else f"{len(sizes)} of {min(sizes)} to {max(sizes)}"
    return shown + (f" ({len(row['left_out'])} left out)" if row["left_out"] else "")


def _clusters(clusters: dict[str, list[str]]) -> str:
    return " | ".join(f"{aggregator} ← {' '.join(clients)}" for aggregator, clients in clusters.items())


def _replay_arguments(parser: argparse.ArgumentParser) -> None:
    _scenario_arguments(parser)
    parser.add_argument("--trace", type=Path, required=True, metavar="FILE.csv", help="round,accuracy,loss,total cost")
    parser.add_argument("--window", type=int, metavar="W", help="same as --set validation.window=W")
    parser.add_argument("--trend", metavar="NAME", help="same as --set validation.trend=NAME")
    _json_argument(parser)


def _replay(options: argparse.Namespace) -> int:
    from aiotwin_nb import api

    if options.window is not None:
        options.overrides.append(f"validation.window={options.window}")
    if options.trend is not None:
        options.overrides.append(f"validation.trend={options.trend}")
    result = api.replay(_scenario(options), options.trace)
    if options.json:
        _print_json(result)
        return 0
    for record in result["reconfigurations"]:
        print(f"after round {record['after_round']}: {record['decision'].upper()}: {record['reason']}")
    print(f"{len(result['ledger'])} payments, {sum(e['cost'] for e in result['ledger']):,} in total")
    return 0


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    _scenario_arguments(parser)
    parser.add_argument("--seeds", type=_seeds, metavar="A-B", help="e.g. 1-10 or 1,4,7; default: the scenario's seed")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="how many at once (default 2)")
    parser.epilog = (
        "SCENARIO may also be a RUN: then the roads not taken of that very run are run, with what was injected."
    )
    parser.add_argument(
        "--runtime", help="where it runs: embedded or stacked (by default the latter where the task allows it)"
    )
    _json_argument(parser)


_RUNTIME_LINES = {
    "embedded": "runtime: embedded",
    "stacked": "runtime: stacked (all clients as one model; accuracies within 0.5 points of --runtime embedded)",
}


def _seeds(text: str) -> list[int]:
    try:
        seeds: list[int] = []
        for part in text.split(","):
            first, dash, last = part.partition("-")
            seeds += range(int(first), int(last if dash else first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must look like 1-10 or 1,4,7") from None
    if not seeds or max(seeds) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} names no seed below 2^63; it must look like 1-10 or 1,4,7")
    return seeds


def _compare(options: argparse.Namespace) -> int:
    from aiotwin_nb import api

    if _is_run(options.scenario):
        if options.seeds or options.overrides or options.seed is not None:
            raise InvalidInput(
                f"{options.scenario}: is a run; its seed and scenario are settled, so leave these options out"
            )
        result = api.compare_run(options.scenario, runtime=options.runtime)
    else:
        result = api.compare(
            _scenario(options), seeds=options.seeds, processes=options.processes, runtime=options.runtime
        )
    if options.json:
        _print_json(result)
        return 0
    print(_RUNTIME_LINES[result["runtime"]])
    if result.get("reproduced") is False:
        print("note: running it again gave other accuracies than those on record (another machine or other versions)")
    if not result["branches"]:
        print("nothing to compare: no event of this scenario leads to a reconfiguration")
    for branch in result["branches"]:
        kept, reverted = (
            "-" if branch[b] is None else f"{branch[b]['final_accuracy']:.2f} %" for b in ("kept", "reverted")
        )
        print(
            f"seed {branch['seed']}, after round {branch['after_round']}: kept {kept}, reverted {reverted}; "
            f"better: {branch['best']}; decided: {branch['decision']}"
        )
    return 0


def _is_run(reference: str) -> bool:
    return any((path / "scenario.yaml").is_file() for path in (Path(reference), Path("runs") / reference))


# sweep.


def _sweep_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="NOTEBOOK|SCENARIO", help="a notebook, a scenario file or the name of a lab")
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=A,B,C",
        help="values of a field, or of a notebook's parameter; may be given several times",
    )
    parser.add_argument("--seeds", type=_seeds, metavar="A-B", help="e.g. 1-10 or 1,4,7; default: the scenario's seed")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="a value that all runs have"
    )
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default 2)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for results; runs found there are not repeated")
    parser.add_argument(
        "--runtime", help="where scenarios run: embedded or stacked (by default the latter where the task allows it)"
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress line")
    _json_argument(parser)


def _sweep(options: argparse.Namespace) -> int:
    from aiotwin_nb import api
    from aiotwin_nb.progress import make_counter

    if options.workers < 1:
        raise InvalidInput(f"--workers {options.workers}: there must be at least 1")
    counter = make_counter(quiet=options.no_progress)
    try:
        swept = api.run_sweep(
            options.source,
            api.read_grid(options.source, options.grid),
            seeds=options.seeds,
            fixed=api.read_fixed(options.source, options.overrides),
            workers=options.workers,
            out=options.out,
            runtime=options.runtime,
            tell=lambda outcome, done, total: counter(done, total, outcome.cell.label, outcome.error),
        )
    except KeyboardInterrupt:
        print("aiotwin: what is done is kept; the same command goes on from there", file=sys.stderr)
        raise
    finally:
        counter.close()
    pictures = _save_sweep(swept)
    if options.json:
        _print_json({**swept.as_dict(), "pictures": pictures})
    else:
        if swept.runtime:
            print(_RUNTIME_LINES[swept.runtime])
        print(swept.text())
        print(f"{len(swept.outcomes)} cells, {len(swept.reused)} of them from before, {len(swept.failed)} failed")
        print(f"{swept.folder / 'results.csv'} and {', '.join(pictures)}")
    for outcome in swept.failed:
        print(f"aiotwin: {outcome.cell.label}: {outcome.error}", file=sys.stderr)
    return 1 if swept.failed else 0


def _save_sweep(swept: Any) -> dict[str, str]:
    """Write the table and the pictures; returns the pictures' names with their alternative texts."""
    from aiotwin_nb.widgets.figures import png
    from aiotwin_nb.widgets.sweeps import draw_curves, draw_sweep

    swept.table().to_csv(swept.folder / "results.csv", index=False)
    if len(swept.failed) == len(swept.outcomes):
        return {}
    figures = {"results.png": draw_sweep(swept), **({"curves.png": draw_curves(swept)} if swept.runtime else {})}
    for name, figure in figures.items():
        (swept.folder / name).write_bytes(png(figure))
    return {name: str(figure.get_label()) for name, figure in figures.items()}


# calibrate.


def _calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser)
    parser.add_argument("-o", dest="output", type=Path, metavar="OUT.yaml", help="the scenario with these speeds")
    _json_argument(parser)


def _calibrate(options: argparse.Namespace) -> int:
    from aiotwin_nb import api
    from aiotwin_nb.orchestration.rundir import scenario_yaml
    from aiotwin_nb.scenario.model import number

    scenario, speeds = api.calibrate(options.run)
    if options.output is not None:
        try:
            options.output.write_text(scenario_yaml(scenario), encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"-o {options.output}: cannot be written: {error.strerror}; give another path") from None
    declared = {speed.client: None if speed.declared is None else number(speed.declared) for speed in speeds}
    if options.json:
        _print_json(
            {"speeds": {s.client: {"declared": declared[s.client], "measured": number(s.measured)} for s in speeds}}
        )
        return 0
    print("client      declared   measured   (samples/s)")
    for speed in speeds:
        print(f"{speed.client:10} {declared[speed.client] or '-':>9} {number(speed.measured):>10}")
    print(
        f"written to {options.output}" if options.output else "declare them in a copy of the scenario with -o OUT.yaml"
    )
    return 0


# bench.


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["decisions"], help="decisions: every policy on a population of scenarios")
    parser.add_argument("--quick", action="store_true", help="a small population, at most 3 minutes")
    parser.add_argument("--seeds", type=_seeds, metavar="A-B", help="scenarios of the population; odd ones are scored")
    parser.add_argument("--data-set", action="append", metavar="NAME", help="digits or fashion_mnist; default: both")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for CSV and picture; runs found there are used")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="branches run side by side (default 2)")
    parser.add_argument(
        "--recorded", type=Path, default=None, metavar="DIR", help="recorded cluster runs 1a and 1b, if there are any"
    )
    _json_argument(parser)


def _bench(options: argparse.Namespace) -> int:
    from aiotwin_nb.bench import decisions
    from aiotwin_nb.bench.population import DATA_SETS

    for name in options.data_set or ():
        if name not in DATA_SETS:
            allowed = ", ".join(DATA_SETS)
            raise InvalidInput(f"--data-set {name!r}: known are {allowed}.{did_you_mean(name, DATA_SETS)}")
    results = decisions.bench_decisions(
        seeds=options.seeds,
        quick=options.quick,
        out=options.out,
        data_sets=options.data_set or tuple(DATA_SETS),
        processes=options.processes,
        recorded_runs=options.recorded or decisions.RECORDED,
        tell=lambda text: print(text, file=sys.stderr),
    )
    _print_json(results) if options.json else print(decisions.as_text(results))
    return 0


# status, watch, stop, inject.


def _run_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run directory, or its name under ./runs")


def _status_arguments(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser)
    _json_argument(parser)


def _status(options: argparse.Namespace) -> int:
    from aiotwin_nb import api

    handle = api.attach(options.run)
    summary = {**handle.summary, "status": handle.status}
    if options.json:
        _print_json(summary)
    else:
        print(_summary_text(summary))
    return 0


def _watch(options: argparse.Namespace) -> int:
    from aiotwin_nb import api
    from aiotwin_nb.orchestration.journal import JournalTail
    from aiotwin_nb.orchestration.rundir import RunDirectory
    from aiotwin_nb.orchestration.state import RunState, evolve
    from aiotwin_nb.progress import make_progress

    directory = RunDirectory.open(options.run)
    progress = make_progress(sys.stdout)
    state, journal = RunState.before(directory.rules()), JournalTail(directory.journal_file)
    try:
        while True:
            alive = directory.is_owned()
            for entry in journal.read():
                state = evolve(state, entry.event)
                progress(entry.event, state)
            if not alive:
                break
            time.sleep(0.2)
    finally:
        progress.close()
    if api.attach(options.run).status == "interrupted":
        print(f"its process died; continue it with: aiotwin resume {options.run}")
    return 0


def _stop(options: argparse.Namespace) -> int:
    from aiotwin_nb import api

    handle = api.attach(options.run)
    if handle.status != "running":
        raise InvalidInput(f"{options.run}: does not run (it is {handle.status}), so there is nothing to stop")
    handle.stop()
    print(f"{handle.path.name} stops at the next round boundary; continue it with: aiotwin resume {options.run}")
    return 0


def _inject_arguments(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--add", type=Path, metavar="NODE.yaml", help="a node that joins")
    what.add_argument("--remove", metavar="ID", help="a node that leaves")
    what.add_argument("--link", metavar="NODE:PEER=COST", help="a link that costs this much per MB from now on")
    what.add_argument("--data", metavar="NODE:LABEL=SAMPLES", help="samples of a label that a client has from now on")
    parser.add_argument("--after-round", type=int, metavar="R", help="when; by default at the next round boundary")


def _inject(options: argparse.Namespace) -> int:
    from aiotwin_nb import api

    handle = api.attach(options.run)
    change, what = _injected(options)
    handle.inject(**change, after_round=options.after_round)
    later = "at the next round boundary" if handle.status == "running" else "when the run is resumed"
    if options.after_round is not None:
        later = f"after round {options.after_round}"
    print(f"{what} {later}")
    return 0


def _injected(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """The change to inject, and what it is in words."""
    if options.add:
        node = node_from_yaml(options.add)
        return {"add": [node]}, f"{node.id} joins"
    if options.remove:
        return {"remove": [options.remove]}, f"{options.remove} leaves"
    if options.link:
        node_id, peer, cost = _assignment("--link", options.link, "n4:n2=40")
        return {"link": {node_id: {peer: cost}}}, f"the link {node_id}–{peer} costs {cost}"
    node_id, label, samples = _assignment("--data", options.data, "n5:3=10")
    return {"data": {node_id: {label: samples}}}, f"{node_id} has {samples} samples of label {label}"


def _assignment(option: str, text: str, example: str) -> tuple[str, Any, Any]:
    """Take NODE:KEY=VALUE apart; key and value are read as YAML."""
    node_id, colon, rest = text.partition(":")
    key, equals, value = rest.partition("=")
    if not (colon and equals and node_id and key and value):
        raise InvalidInput(f"{option} {text!r}: must look like {example}")
    key = key if option == "--link" else parse_value(key, f"{option} {text}")
    return node_id, key, parse_value(value, f"{option} {text}")


# notebook, lab, schema, doctor.


def _notebook_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("notebook", type=Path, metavar="NOTEBOOK", help="a notebook file")
    parser.add_argument("-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("-o", dest="output", type=Path, metavar="OUT.ipynb", help="default: runs/<name>-executed.ipynb")
    parser.epilog = "What the notebook records is written beside OUT.ipynb, to OUT.results.json."


def _notebook(options: argparse.Namespace) -> int:
    from aiotwin_nb.notebook import execute_notebook
    from aiotwin_nb.notebook.parameters import declared_parameters, read_parameters

    parameters = read_parameters(declared_parameters(options.notebook), options.parameters, "-p")
    print(execute_notebook(options.notebook, parameters, options.output))
    return 0


def _lab_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", default=Path("aiotwin-lab"), metavar="DIR")
    parser.add_argument("--force", action="store_true", help="replace notebooks and labs that you have changed, too")
    parser.add_argument(
        "--app", nargs="?", const="", metavar="NOTEBOOK", help="serve a notebook as an application (Voila) instead"
    )
    parser.epilog = "What stands behind -- is passed on to JupyterLab or Voila, e.g. aiotwin lab -- --no-browser"


def _lab(options: argparse.Namespace) -> int:
    from aiotwin_nb.notebook import serve
    from aiotwin_nb.notebook.copies import copy_shipped

    for line in copy_shipped(options.folder, force=options.force).lines(options.folder):
        print(line, flush=True)
    if options.app is not None:
        return serve.open_app(options.folder, options.app, options.extra)
    return serve.open_lab(options.folder, options.extra)


def _schema(options: argparse.Namespace) -> int:
    _print_json(scenario_schema())
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from aiotwin_nb.doctor import examine

    findings = examine()
    if options.json:
        _print_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{finding.state:8} {finding.name:12} {finding.text}")
    return 1 if any(finding.state == "broken" for finding in findings) else 0


def _nothing(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


VERBS = {
    "run": (_run_arguments, _run, "run a scenario: plan, train, decide, up to the end of its budget"),
    "plan": (_plan_arguments, _plan, "configuration and costs at the start and after every event, without training"),
    "replay": (_replay_arguments, _replay, "decisions on a recorded accuracy curve, without training"),
    "compare": (_compare_arguments, _compare, "run both branches of every event and say which was better"),
    "sweep": (_sweep_arguments, _sweep, "run a scenario or a notebook over a grid of values and seeds"),
    "calibrate": (_calibrate_arguments, _calibrate, "measure the clients' speeds in a run, for a scenario to declare"),
    "bench": (_bench_arguments, _bench, "score every decision policy on a population of scenarios"),
    "status": (_status_arguments, _status, "how a run is"),
    "watch": (_run_argument, _watch, "follow a run until it ends"),
    "stop": (_run_argument, _stop, "stop a run at the next round boundary; it can be resumed"),
    "resume": (_resume_arguments, _resume, "go on with a run that was stopped or whose process died"),
    "inject": (_inject_arguments, _inject, "let a node join or leave a run at the next round boundary"),
    "cluster": (cli_cluster.add_arguments, cli_cluster.run, "get a K3s cluster, look at it, label it, clean it up"),
    **cli_inference.VERBS,
    "simulate": (
        cli_simulate.add_arguments,
        cli_simulate.run,
        "balancing policies side by side on a simulated continuum",
    ),
    "notebook": (_notebook_arguments, _notebook, "execute a notebook headless, with parameters"),
    "lab": (_lab_arguments, _lab, "copy the notebooks into a folder and open JupyterLab there"),
    "schema": (_nothing, _schema, "JSON schema of the scenario file"),
    "doctor": (_json_argument, _doctor, "what works here, what is missing and how to get it"),
}
