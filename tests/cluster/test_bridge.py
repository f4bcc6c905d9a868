"""From a cluster's news to a run's inbox: each once, also over restarts, and nothing that was not news."""

import json
from dataclasses import replace

import pytest

from aiotwin_nb.cluster.bridge import Bridge
from aiotwin_nb.continuum import Infrastructure
from aiotwin_nb.orchestration.events import BoundaryReached
from aiotwin_nb.orchestration.inbox import check_command, parse_command, waiting
from aiotwin_nb.orchestration.state import Rules, RunState
from aiotwin_nb.scenario import load_scenario

SCENARIO = load_scenario("hands-on")
START = SCENARIO.infrastructure
N9 = next(node for change in SCENARIO.changes().values() for node in change.added)


class Cluster:
    """A source of nodes that says what it is told to."""

    def __init__(self, infrastructure):
        self.now = infrastructure
        self.notify = lambda change: None

    def infrastructure(self):
        return self.now

    def watch(self, notify):
        self.notify = notify
        return lambda: setattr(self, "notify", lambda change: None)

    def become(self, nodes):
        self.now = Infrastructure.of(nodes)
        self.notify(None)

    def lose(self, *names):
        self.become([node for i, node in self.now.nodes.items() if i not in names])

    def gain(self, *nodes):
        self.become([*self.now.nodes.values(), *nodes])


class Inbox:
    """What a run does with its inbox: take the commands at a boundary, those that make sense."""

    def __init__(self, folder):
        self.folder = folder
        self.infrastructure = START
        self.taken = []

    def boundary(self, *listeners):
        for path in waiting(self.folder):
            command = parse_command(json.loads(path.read_text()))
            path.unlink()
            check_command(command, self.state)
            self.infrastructure = self.infrastructure.apply(command.to_change())
            self.taken.append(self._words(command))
        for listener in listeners:
            listener(BoundaryReached(1), self.state)

    @property
    def state(self):
        return replace(RunState.before(Rules.of(SCENARIO)), infrastructure=self.infrastructure)

    @staticmethod
    def _words(command):
        what = {"+": [n.id for n in command.add], "-": command.remove, "link": command.link, "data": command.data}
        return " ".join(f"{sign}{','.join(names)}" for sign, names in what.items() if names)

    def words(self):
        self.boundary()
        taken, self.taken = self.taken, []
        return taken


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path / "inbox")


@pytest.fixture
def cluster():
    return Cluster(START)


@pytest.fixture
def bridge(cluster, inbox):
    bridge = Bridge(cluster, inbox.folder, START).start()
    yield bridge
    bridge.close()


def test_joins_losses_and_changes_are_commands(bridge, cluster, inbox):
    assert inbox.words() == []
    cluster.gain(N9)
    cluster.lose("n6")
    assert inbox.words() == ["+n9", "-n6"]
    n4 = cluster.now.nodes["n4"]
    cluster.become([replace(n, links={**n.links, "n2": 40}) if n is n4 else n for n in cluster.now.nodes.values()])
    assert inbox.words() == ["linkn4"]
    assert inbox.infrastructure == cluster.now


def test_the_same_news_twice_is_one_command(bridge, cluster, inbox):
    cluster.lose("n6")
    cluster.notify(None)
    cluster.become(cluster.now.nodes.values())
    assert inbox.words() == ["-n6"]
    inbox.boundary(bridge)
    cluster.notify(None)
    assert inbox.words() == []


def test_a_node_that_goes_and_comes_within_a_round_ends_as_it_was(bridge, cluster, inbox):
    cluster.lose("n6")
    cluster.gain(START.nodes["n6"])
    assert inbox.words() == ["-n6", "+n6"]
    assert inbox.infrastructure == START


def test_what_happened_while_nobody_looked_is_made_up_for(cluster, inbox):
    cluster.lose("n6")
    cluster.gain(N9)
    Bridge(cluster, inbox.folder, START).start()
    assert inbox.words() == ["-n6", "+n9"]
    Bridge(cluster, inbox.folder, inbox.infrastructure).start()
    assert inbox.words() == []


def test_the_global_aggregator_is_missed_but_not_removed(bridge, cluster, inbox):
    cluster.lose("n1", "n6")
    assert inbox.words() == ["-n6"]
    assert bridge.problem == "the global aggregator n1 is gone: bring it back, or stop the run"
    cluster.gain(START.nodes["n1"])
    assert bridge.problem == ""
    assert inbox.words() == []


def test_what_the_run_does_by_itself_is_left_alone(bridge, cluster, inbox):
    inbox.infrastructure = inbox.infrastructure.apply(replace(SCENARIO.changes()[10]))  # its scripted join
    inbox.boundary(bridge)
    cluster.lose("n6")
    assert inbox.words() == ["-n6"]
    assert "n9" in inbox.infrastructure.nodes


def test_a_join_that_was_refused_is_told_again_when_the_node_changes(bridge, cluster, inbox):
    cluster.gain(N9)
    for path in waiting(inbox.folder):
        path.unlink()  # refused
    for _ in range(3):
        inbox.boundary(bridge)
        cluster.notify(None)
    assert inbox.words() == []
    cluster.become([replace(n, data={7: 1}) if n.id == "n9" else n for n in cluster.now.nodes.values()])
    assert inbox.words() == ["+n9"]


def test_lost_members_leave_although_their_node_looks_well(bridge, cluster, inbox):
    bridge.lost("n6")
    bridge.lost("n6")
    cluster.notify(None)
    assert inbox.words() == ["-n6"]
    inbox.boundary(bridge)
    bridge.back("n6")
    bridge.back("n6")
    assert inbox.words() == ["+n6"]


def test_a_lost_members_node_that_goes_and_comes_is_a_new_one(bridge, cluster, inbox):
    bridge.lost("n6")
    assert inbox.words() == ["-n6"]
    cluster.lose("n6")
    assert inbox.words() == []
    cluster.gain(START.nodes["n6"])
    assert inbox.words() == ["+n6"]


def test_a_member_that_is_lost_because_its_node_went_comes_back_with_it(bridge, cluster, inbox):
    cluster.lose("n6")
    bridge.lost("n6")  # told a moment later
    assert inbox.words() == ["-n6"]
    inbox.boundary(bridge)
    cluster.gain(START.nodes["n6"])
    assert inbox.words() == ["+n6"]


def test_simulated_nodes_do_not_go_because_the_cluster_is_silent_about_them(inbox):
    bridge = Bridge(Cluster(Infrastructure.of([])), inbox.folder, START, others=START.nodes).start()
    assert inbox.words() == []
    bridge.lost("n7")
    inbox.boundary(bridge)
    bridge.back("n7")
    inbox.boundary(bridge)
    assert inbox.taken == ["-n7", "+n7"]
