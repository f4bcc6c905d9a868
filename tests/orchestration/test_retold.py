"""A run told again as a scenario gives the same run."""

import pytest
from fakes import FakeRuntime, RecordingTracker, node, rules
from test_inbox import guided, inject

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.inbox import parse_command, submit
from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.retold import retold
from aiotwin_nb.orchestration.rundir import scenario_yaml
from aiotwin_nb.orchestration.state import Rules
from aiotwin_nb.orchestration.store import MemoryStore
from aiotwin_nb.orchestration.summary import summarise
from aiotwin_nb.scenario import load_scenario

SCRIPT = [
    {"after_round": 6, "add": [node("n9", n3=100)]},
    {"after_round": 12, "remove": ["n6"]},
    {"after_round": 14, "drop": {"clients": 1, "utility": "dataset_share"}, "data": {"n5": {"4": 10}}},
]
RUNS = {
    "nothing injected": {},
    "joins and leaves": {2: inject(add=[node("n10")]), 4: inject(remove=["n5"], after_round=9)},
    "links and data": {4: inject(link={"n4": {"n2": 90}}, data={"n4": {"1": 20}})},
    "the script is disturbed": {2: inject(remove=["n6"]), 5: inject(add=[node("n9")])},
    "at a boundary with a drop": {14: inject(add=[node("n11")])},
    "a node joins and leaves at once": {3: lambda d: (inject(add=[node("n10")])(d), inject(remove=["n10"])(d))},
    "before the first round": {0: inject(remove=["n5"])},
}


class Early(FakeRuntime):
    """Does something while the run is starting."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def start(self, infrastructure, configuration):
        self.act()
        return super().start(infrastructure, configuration)


def a_run(tmp_path, at):
    if 0 not in at:
        return guided(tmp_path, at, events=SCRIPT)[:2]
    from aiotwin_nb.orchestration.rundir import RunDirectory
    from aiotwin_nb.orchestration.store import DirectoryStore

    the_rules = rules("improvement", events=SCRIPT, objective__budget=30000)
    directory = RunDirectory.create(tmp_path / "run", the_rules.scenario)
    runtime = Early(lambda: at[0](directory))
    return Orchestrator(the_rules, runtime, DirectoryStore(directory), RecordingTracker()).run("run"), directory


@pytest.mark.parametrize("case", RUNS)
def test_run_again_it_gives_the_same_ledger_and_history(tmp_path, case):
    state, directory = a_run(tmp_path, RUNS[case])
    file = tmp_path / "again.yaml"
    file.write_text(scenario_yaml(retold(directory.rules(), directory.events())))
    again = Orchestrator(Rules.of(load_scenario(file)), FakeRuntime(), MemoryStore(), RecordingTracker()).run("run")
    assert again.ledger == state.ledger
    first, second = summarise(state), summarise(again)
    assert [r["clusters"] for r in second["history"]] == [r["clusters"] for r in first["history"]]
    assert second["reconfigurations"] == first["reconfigurations"]
    if case == "nothing injected":
        assert load_scenario(file) == directory.scenario()


def test_a_run_that_is_not_over_keeps_what_is_still_to_come(tmp_path):
    stop = lambda d: submit(d.inbox, parse_command({"command": "stop"}))  # noqa: E731
    _, directory, _ = guided(tmp_path, {3: inject(remove=["n6"]), 8: stop}, events=SCRIPT)
    told = retold(directory.rules(), directory.events())
    assert [event.after_round for event in told.events] == [3, 6, 14], "what removes n6 again cannot happen any more"
    assert told.events[0].remove == ["n6"]


def test_parts_of_the_data_stay_when_more_clients_join(tmp_path):
    parts = {"task__partition": {"kind": "iid"}, "events": []}
    joining = {k: v for k, v in node("n10").items() if k != "data"} | {"partition": [0, 5]}
    _, directory, _ = guided(tmp_path, {3: inject(add=[joining])}, **parts)
    told = retold(directory.rules(), directory.events())
    before = {n.id: n.partition for n in directory.scenario().infrastructure.nodes.values()}
    after = {n.id: n.partition for n in told.infrastructure.nodes.values()}
    assert before == after
    assert before["n8"] is not None
    assert told.events[0].add[0].partition == (0, 5)


def test_api_and_errors(tmp_path):
    from aiotwin_nb import api

    _, directory, _ = guided(tmp_path, {3: inject(remove=["n6"])})
    assert api.scenario_of(directory.path).events[0].after_round == 3
    with pytest.raises(InvalidInput, match="no run directory"):
        api.scenario_of(tmp_path / "none")
