"""What a topology update costs: `python tests/benchmarks/bench_topology.py [repeats]` prints a table beside the targets.

Kernel: CPU from a run's state to the message that is sent, and its size; every update is another one of: a client moves,
fails, leaves, comes back. Browser: the same messages in headless Chromium, the time of script, style and layout;
left out, and said so, where Playwright or Chromium is missing. The exit code is 1 when a median misses its target.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from aiotwin_nb import api
from aiotwin_nb.orchestration.foretell import begun
from aiotwin_nb.orchestration.state import RunState
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.scenario import Scenario
from aiotwin_nb.widgets.nodes import Shown, of_run
from aiotwin_nb.widgets.topology import Topology

TARGETS = {50: 2.0, 500: None}  # nodes: milliseconds for an update, in the kernel and in the browser each
WARM = 30  # updates before those that are measured
SCRIPT = Path(__file__).parents[2] / "aiotwin_nb" / "widgets" / "topology.js"
STYLE = SCRIPT.with_suffix(".css")


def scenario(nodes: int) -> Scenario:
    """A scenario of so many nodes: one GA, an LA for every ten, clients with three labels each."""
    draw = random.Random(nodes)
    las = [f"la{i}" for i in range(nodes // 10)]
    raw: list[dict[str, Any]] = [{"id": "ga", "role": "global_aggregator"}]
    raw += [{"id": la, "role": "local_aggregator", "links": {"ga": draw.randint(50, 150)}} for la in las]
    for i in range(nodes - len(raw)):
        first = draw.randrange(8)
        data = {label: draw.choice((20, 40)) for label in range(first, first + 3)}
        raw.append({"id": f"c{i}", "role": "client", "links": {la: draw.randint(5, 200) for la in las}, "data": data})
    return Scenario.model_validate({"name": "bench", "nodes": raw, "objective": {"budget": 10**9}})


def updates(state: RunState, repeats: int) -> list[RunState]:
    """States, each a little different from the one before."""
    draw = random.Random(1)
    found = []
    for _ in range(repeats):
        parents = dict(state.current.parents)
        client = draw.choice(list(parents))
        match draw.randrange(3):
            case 0:
                parents[client] = draw.choice(state.current.aggregators)
                state = replace(state, configuration=_configured(state, parents))
            case 1:
                del parents[client]
                state = replace(state, configuration=_configured(state, parents), idle=state.idle | {client})
            case _ if state.idle:
                back = draw.choice(sorted(state.idle))
                parents[back] = draw.choice(state.current.aggregators)
                state = replace(state, configuration=_configured(state, parents), idle=state.idle - {back})
        found.append(state)
    return found


def _configured(state: RunState, parents: dict[str, str]) -> Configuration:
    current = state.current
    return Configuration.of_parents(current.global_aggregator, parents, epochs=current.epochs, local_rounds=1)


def kernel(states: list[RunState]) -> tuple[list[float], list[int], list[dict[str, Any]], Shown]:
    """CPU milliseconds and bytes of every update, the messages, and what is shown first."""
    view, sent = Topology(), []
    view.send = sent.append
    first = of_run(states[0], "bench")
    view.show(first)
    sent.clear()
    times, sizes = [], []
    for state in states[1:]:
        began = time.process_time()
        view.show(of_run(state, "bench"))
        times.append(1000 * (time.process_time() - began))
    sizes = [len(json.dumps(message)) for message in sent]
    return times, sizes, sent, first


PAGE = """<!doctype html><style>{style}</style><div id="root" style="width:900px"></div>"""
DRIVE = """async ([source, graph]) => {
  const module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  let tell;
  const state = { graph, selected: "" };
  const model = { get: (key) => state[key], set: (key, value) => { state[key] = value; }, save_changes: () => {},
    on: (event, callback) => { if (event === "msg:custom") tell = callback; }, off: () => {} };
  const widget = module.default();
  widget.initialize({ model });
  const root = document.getElementById("root");
  widget.render({ model, el: root });
  for (const button of root.querySelectorAll("button")) if (button.textContent === "Expand all") button.click();
  window.timed = async (messages) => {
    const times = [];
    for (const message of messages) {
      await new Promise((resolve) => setTimeout(resolve, 30));
      const began = performance.now();
      tell(message);
      root.querySelector("svg").getBoundingClientRect(); // style and layout are done when this returns
      times.push(performance.now() - began);
    }
    return times;
  };
}"""


def browser(graph: dict[str, Any], messages: list[dict[str, Any]]) -> list[float] | str:
    """Milliseconds of every update in headless Chromium, or why there are none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return "Playwright is not installed"
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return "Chromium is not installed"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = opened.new_page()
        page.set_content(PAGE.format(style=STYLE.read_text()))
        page.emulate_media(reduced_motion="reduce")  # an update is measured, not the half second of motion after it
        page.evaluate(DRIVE, [SCRIPT.read_text(), graph])
        times = page.evaluate("timed", messages)
        opened.close()
    return list(times[WARM:])


def main(repeats: int) -> int:
    """Print the table; 1 when a median misses its target."""
    missed = 0
    print(f"{'nodes':>6}  {'where':<8} {'median':>9} {'least':>9} {'most':>9} {'target':>9}   ({repeats} updates)")
    for nodes, target in TARGETS.items():
        state = begun(RunState.before(api.rules(scenario(nodes))))
        times, sizes, sent, first = kernel(updates(state, WARM + repeats + 1))
        rows: dict[str, list[float] | str] = {"kernel": times, "browser": browser(first.as_message(), sent)}
        for where, found in rows.items():
            if isinstance(found, str):
                print(f"{nodes:>6}  {where:<8} left out: {found}")
                continue
            late = target is not None and median(found) > target
            missed += late
            columns = "".join(f"{value:>7.2f}ms" for value in (median(found), min(found), max(found)))
            goal = "" if target is None else f"{target:>7.2f}ms"
            print(f"{nodes:>6}  {where:<8}{columns}{goal}{'  MISSED' if late else ''}")
        print(
            f"{nodes:>6}  message  {median(sizes):>7.0f} bytes of {len(json.dumps(first.as_message())):,} for the whole"
        )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60))
