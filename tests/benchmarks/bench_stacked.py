"""What the runtime `stacked` takes: `python tests/benchmarks/bench_stacked.py [repeats]`.

CPU seconds of this process, after imports and with the data loaded, on one thread. Two floors are measured right after
each repeat, both of the same samples forward and backward through one network of the same size, in batches as large as
those of all clients together, and the same test images forward; nothing else (no gathering of samples, no update, no
aggregation): the floor is PyTorch's (modules, cross-entropy, autograd); the bare one is written out by hand in the
layout that is fastest, and shown for comparison only. `compare` is timed by the clock, from starting Python to the JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time

import torch
from torch import nn
from torch.nn import functional

from aiotwin_nb import api
from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.state import Rules
from aiotwin_nb.orchestration.store import MemoryStore
from aiotwin_nb.scenario import load_scenario
from aiotwin_nb.tracking import NullTracker
from fl_service.spec import ClientNode, Plan, TrainingSpec
from fl_service.stacked import StackedPipeline

LAB, ROUNDS, SEEDS = "improvement", 54, "1-10"
PIXELS, HIDDEN, CLASSES, BATCH, TEST = 64, 32, 10, 32, 500


@dataclass(frozen=True)
class Load:
    """What a run computes: `steps`: {samples of all clients in a step: number of such steps}, and evaluations."""

    steps: dict[int, int]
    evaluations: int


def floor_seconds(load: Load) -> float:
    """CPU seconds of PyTorch's forward and backward of a load, and nothing else."""
    network = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    data = {count: (torch.randn(count, PIXELS), torch.randint(CLASSES, (count,))) for count in load.steps}
    tests = torch.randn(TEST, PIXELS)
    began = process_time()
    for count, steps in load.steps.items():
        images, labels = data[count]
        for _ in range(steps):
            functional.cross_entropy(network(images), labels).backward()
    with torch.inference_mode():
        for _ in range(load.evaluations):
            network(tests)
    return process_time() - began


def bare_seconds(load: Load) -> float:
    """CPU seconds of the same arithmetic written out by hand, in the layout that is fastest (samples as columns)."""
    w1, b1, w2, b2 = (torch.randn(*shape) for shape in ((HIDDEN, PIXELS), (HIDDEN, 1), (CLASSES, HIDDEN), (CLASSES, 1)))
    data = {count: (torch.randn(count, PIXELS), torch.rand(CLASSES, count)) for count in load.steps}
    tests = torch.randn(TEST, PIXELS)

    def forward(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.addmm(b1, w1, images.T).relu_()
        return hidden, torch.addmm(b2, w2, hidden)

    with torch.inference_mode():
        began = process_time()
        for count, steps in load.steps.items():
            images, targets = data[count]
            for _ in range(steps):
                hidden, scores = forward(images)
                error = torch.softmax(scores, 0).sub_(targets)
                back = torch.mm(w2.T, error).mul_(hidden.sign())
                for left, right in ((back, images), (error, hidden.T)):
                    torch.mm(left, right)
                    left.sum(1)
        for _ in range(load.evaluations):
            forward(tests)
        return process_time() - began


def steps_of(clients: int, samples: int, times: int) -> dict[int, int]:
    """{samples in a step: steps} of clients with equally many samples that go through them some times."""
    whole, rest = divmod(samples, BATCH)
    return {clients * BATCH: whole * times} | ({clients * rest: times} if rest else {})


def digits_run() -> tuple[float, Load]:
    """The lab under its orchestrator, for 54 rounds."""
    changes = {"training.max_rounds": ROUNDS, "objective.budget": 10**7, "validation.policy": "off"}
    scenario = load_scenario(LAB, overrides=changes)
    began = process_time()
    runtime = api.make_runtime("stacked", scenario)
    state = Orchestrator(Rules.of(scenario), runtime, MemoryStore(), NullTracker()).run("bench")
    seconds = process_time() - began
    alone, joined = (steps_of(clients, 120, rounds * 4) for clients, rounds in ((5, 10), (6, ROUNDS - 10)))
    assert state.round == ROUNDS
    return seconds, Load(alone | joined, ROUNDS + 1)


def hundred_clients() -> tuple[float, Load]:
    """Ten rounds of 100 clients × 100 samples at five aggregators, without an orchestrator."""
    clients = [ClientNode(f"c{i}", tuple((label, 10) for label in range(10))) for i in range(100)]
    clusters = tuple((f"la{k}", tuple(c.name for c in clients[k::5])) for k in range(5))
    pipeline = StackedPipeline(TrainingSpec(1, {"name": "digits", "test_samples": TEST}))
    pipeline.start(clients, [], Plan("ga", clusters, epochs=2, local_rounds=2))
    rounds = 10
    began = process_time()
    for number in range(1, rounds + 1):
        pipeline.run_round(number)
    return process_time() - began, Load(steps_of(100, 100, rounds * 4), rounds)


def compare_seconds() -> float:
    """Wall seconds of `aiotwin compare` over ten seeds."""
    began = perf_counter()
    command = [sys.executable, "-m", "aiotwin_nb", "compare", LAB, "--seeds", SEEDS, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result = json.loads(done.stdout)
    if result["runtime"] != "stacked" or len(result["branches"]) != 10:
        raise SystemExit(f"compare did something else: {result}")
    return perf_counter() - began


def main(repeats: int) -> int:
    """Print the table; 1 when a median misses its target."""
    torch.set_num_threads(1)
    rows: list[tuple[str, list[float], float | None]] = []

    def measure(name: str, run: Callable[[], tuple[float, Load]], ratio: float, limit: float | None) -> None:
        run()  # loads the data
        found = [(spent, floor_seconds(load), bare_seconds(load)) for spent, load in (run() for _ in range(repeats))]
        rows.append((f"{name}, CPU s", [spent for spent, _, _ in found], limit))
        rows.append((f"{name}, floor CPU s", [floor for _, floor, _ in found], None))
        rows.append((f"{name}, times the floor", [spent / floor for spent, floor, _ in found], ratio))
        rows.append((f"{name}, times the bare one", [spent / bare for spent, _, bare in found], None))

    measure(f"digits, {ROUNDS} rounds", digits_run, 2.5, 0.6)
    measure("100 clients, 10 rounds", hundred_clients, 1.5, None)
    rows.append((f"compare, seeds {SEEDS}, wall s", [compare_seconds() for _ in range(min(3, repeats))], 20))
    print(f"{'':<40}{'median':>9}{'least':>9}{'most':>9}{'target':>9}   ({repeats} repeats)")
    missed = 0
    for name, values, target in rows:
        late = target is not None and median(values) > target
        missed += late
        columns = "".join(f"{value:>9.3f}" for value in (median(values), min(values), max(values)))
        print(f"{name:<40}{columns}{'' if target is None else f'{target:>9}'}{'  MISSED' if late else ''}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 7))
