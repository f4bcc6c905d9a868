"""Crash anywhere, resume, and end as if nothing had happened."""

import json

import pytest
from fakes import FakeRuntime, RecordingTracker, node, rules

from aiotwin_nb.errors import InvalidInput, RunFailed, RunLocked
from aiotwin_nb.orchestration.journal import Journal, read_journal
from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.rundir import RunDirectory
from aiotwin_nb.orchestration.state import Rules
from aiotwin_nb.orchestration.store import DirectoryStore
from aiotwin_nb.orchestration.summary import summarise

EVENTS = [{"after_round": 3, "add": [node("n9", n3=100)]}, {"after_round": 9, "remove": ["n6"]}]
SHORT = {"objective__budget": 27000, "validation__window": 3, "events": EVENTS}


class Killed(BaseException):
    """Stands for the process dying."""


class DyingStore(DirectoryStore):
    """Dies after a number of records, before or after the record is on disk."""

    def __init__(self, directory, after, written=True):
        super().__init__(directory)
        self.left, self.written = after, written

    def record(self, event):
        self.left -= 1
        if self.left < 0 and not self.written:
            raise Killed
        super().record(event)
        if self.left < 0:
            raise Killed


def begin(path, the_rules, store_kind=DirectoryStore, **kind_args):
    directory = RunDirectory.create(path, the_rules.scenario)
    store = store_kind(directory, **kind_args)
    return Orchestrator(the_rules, FakeRuntime(weights={"n9": 2.5}), store, RecordingTracker()).run("run")


def go_on(path):
    directory = RunDirectory(path)
    directory.own()
    store = DirectoryStore(directory)
    scenario_rules = Rules.of(directory.scenario())
    tracker = RecordingTracker()
    state = Orchestrator(scenario_rules, FakeRuntime(weights={"n9": 2.5}), store, tracker).resume()
    return state, tracker


def without_chance(summary):
    return {k: v for k, v in summary.items() if k not in ("repeated_rounds", "run_id")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    summary = summarise(begin(path, rules("improvement", **SHORT)))
    assert summary["reconfigurations"][0]["decision"] in ("kept", "reverted")
    return summary, len(read_journal(path / "journal.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("written", [True, False])
def test_crash_at_every_single_journal_line(tmp_path, undisturbed, written):
    whole, lines = undisturbed
    for moment in range(1, lines):
        path = tmp_path / f"{written}-{moment}"
        with pytest.raises(Killed):
            begin(path, rules("improvement", **SHORT), DyingStore, after=moment, written=written)
        (path / "summary.json").unlink(missing_ok=True)
        state, _ = go_on(path)
        assert without_chance(summarise(state)) == without_chance(whole), f"crash at line {moment}"
        assert state.repeated_rounds <= 1
        rounds = [e.round for e in state.ledger.entries if e.kind == "round"]
        assert rounds == sorted(set(rounds)), "a round was charged twice"


def test_a_round_that_was_under_way_is_repeated_charged_once_and_counted(tmp_path):
    path = tmp_path / "run"
    directory = RunDirectory.create(path, rules("improvement", **SHORT).scenario)
    dying = FakeRuntime(weights={"n9": 2.5}, crash_in=6)
    with pytest.raises(SystemExit):
        Orchestrator(rules("improvement", **SHORT), dying, DirectoryStore(directory), RecordingTracker()).run("run")
    state, _ = go_on(path)
    assert state.repeated_rounds == 1
    assert summarise(state)["repeated_rounds"] == 1
    assert [e.round for e in state.ledger.entries if e.kind == "round"].count(6) == 1


def test_every_round_reaches_the_tracker_once_resumed(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(Killed):
        begin(path, rules("improvement", **SHORT), DyingStore, after=25)
    state, tracker = go_on(path)
    assert {row["round"] for row in tracker.rows} == set(range(state.round + 1))


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    path = tmp_path / "run"
    summary = summarise(begin(path, rules("improvement", **SHORT)))
    journal = (path / "journal.jsonl").read_bytes()
    state, _ = go_on(path)
    assert summarise(state) == summary
    assert (path / "journal.jsonl").read_bytes() == journal


def test_torn_last_line_is_left_out_and_cut_off(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(Killed):
        begin(path, rules("improvement", **SHORT), DyingStore, after=20)
    journal = path / "journal.jsonl"
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in (1, len(lines[-1]) // 2, len(lines[-1]) - 1):
        journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:cut])
        assert len(read_journal(journal)) == len(lines) - 1
    state, _ = go_on(path)
    assert state.status == "finished"
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "run"
    begin(path, rules("improvement", **SHORT))
    journal = path / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[5] = lines[5].replace(b'"', b"'", 1)
    journal.write_bytes(b"".join(lines))
    with pytest.raises(InvalidInput, match=r"journal\.jsonl:6.*damaged"):
        read_journal(journal)


def test_an_edited_number_is_noticed(tmp_path):
    path = tmp_path / "run"
    begin(path, rules("improvement", **SHORT))
    journal = path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"cost":"1320', b'"cost":"1', 1))
    with pytest.raises(InvalidInput, match="damaged"):
        read_journal(journal)


def test_missing_or_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(Killed):
        begin(path, rules("improvement", **SHORT), DyingStore, after=20)
    newest = sorted((path / "checkpoints").glob("*.npz"))[-1]
    newest.write_text("{}")
    with pytest.raises(InvalidInput, match="checkpoint is missing or damaged"):
        go_on(path)


def test_old_checkpoints_are_dropped(tmp_path):
    begin(tmp_path / "run", rules("improvement", **SHORT))
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 2


def test_second_owner_is_refused_by_name(tmp_path):
    import os

    directory = RunDirectory.create(tmp_path / "run", rules().scenario)
    with pytest.raises(RunLocked, match=f"process {os.getpid()}"):
        RunDirectory(tmp_path / "run").own()
    assert directory.is_owned()
    directory.release()
    assert not directory.is_owned()
    RunDirectory(tmp_path / "run").own()


def test_full_disk_leaves_a_journal_that_can_be_continued(tmp_path):
    """A real limit on the file's size: the kernel refuses the write in the middle of a line."""
    import resource

    path = tmp_path / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, hard))
    try:
        with pytest.raises(RunFailed, match=r"cannot be written.*aiotwin resume"):
            begin(path, rules("improvement", **SHORT))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (path / "journal.jsonl").read_bytes().endswith(b"\n")
    state, _ = go_on(path)
    assert state.status == "finished"


def test_journal_lines_are_on_disk_before_the_next_thing(tmp_path, monkeypatch):
    import os

    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), real(fd)))
    from aiotwin_nb.orchestration.events import RoundStarted

    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(RoundStarted(1))
    assert len(synced) == 1
    journal.close()


def test_non_finite_numbers_survive_the_journal(tmp_path):
    from decimal import Decimal

    from aiotwin_nb.orchestration.events import RoundFinished
    from aiotwin_nb.orchestration.ports import RoundResult

    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(RoundFinished(RoundResult(1, 10.0, float("nan"), 0.1), Decimal("1.10")))
    journal.close()
    (entry,) = read_journal(tmp_path / "journal.jsonl")
    assert entry.event.result.loss != entry.event.result.loss
    assert entry.event.cost == Decimal("1.10")
    json.loads((tmp_path / "journal.jsonl").read_text(), parse_constant=lambda name: pytest.fail(f"not JSON: {name}"))


@pytest.mark.parametrize("kind", ["Reconfigured", "InfrastructureChanged", "Charged", "Decided", "Deployed"])
def test_a_write_that_fails_between_actions_loses_nothing(tmp_path, undisturbed, monkeypatch, kind):
    """The disk is full for one action and free again for the next: what follows must not be written over the gap."""
    import errno
    import os

    from aiotwin_nb.orchestration import journal as module

    name = {"Reconfigured": "reconfigured", "InfrastructureChanged": "infrastructure_changed", "Charged": "charged",
            "Decided": "decided", "Deployed": "deployed"}[kind]  # fmt: skip
    real, failed = module._write_all, []

    def write(file, data):
        if f'"type":"{name}"'.encode() in data and not failed:
            failed.append(True)
            os.write(file, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, data)

    monkeypatch.setattr(module, "_write_all", write)
    path = tmp_path / "run"
    with pytest.raises(RunFailed, match="No space left"):
        begin(path, rules("improvement", **SHORT))
    state, _ = go_on(path)
    assert without_chance(summarise(state)) == without_chance(undisturbed[0])


def test_error_of_the_runtime_is_on_record_and_can_be_resumed(tmp_path, undisturbed):
    path = tmp_path / "run"
    directory = RunDirectory.create(path, rules("improvement", **SHORT).scenario)

    class Failing(FakeRuntime):
        def run_round(self, number):
            if number == 5:
                raise ZeroDivisionError("a bug")
            return super().run_round(number)

    with pytest.raises(ZeroDivisionError):
        Orchestrator(
            rules("improvement", **SHORT), Failing(weights={"n9": 2.5}), DirectoryStore(directory), RecordingTracker()
        ).run("run")
    summary = json.loads((path / "summary.json").read_text())
    assert (summary["status"], summary["stop_reason"]) == ("failed", "error")
    assert "a bug" in summary["message"]
    state, _ = go_on(path)
    assert without_chance(summarise(state)) == without_chance(undisturbed[0])


def test_kills_during_the_start_do_not_count_as_rounds(tmp_path):
    class Dying(FakeRuntime):
        def start(self, infrastructure, configuration):
            raise Killed

    path = tmp_path / "run"
    directory = RunDirectory.create(path, rules("improvement", **SHORT).scenario)
    for begin_or_resume in ("run", "resume", "resume"):
        directory.own()
        one_life = Orchestrator(rules("improvement", **SHORT), Dying(), DirectoryStore(directory), RecordingTracker())
        with pytest.raises(Killed):
            one_life.run("run") if begin_or_resume == "run" else one_life.resume()
    state, _ = go_on(path)
    assert state.repeated_rounds == 0
    assert '"round_started","data":{"round":0}' not in (path / "journal.jsonl").read_text()


@pytest.mark.slow
def test_looking_at_a_run_does_not_keep_others_from_owning_it(tmp_path):
    import threading

    directory = RunDirectory.create(tmp_path / "run", rules().scenario)
    directory.release()
    over = threading.Event()

    def look():
        while not over.is_set():
            RunDirectory(tmp_path / "run").is_owned()

    watchers = [threading.Thread(target=look) for _ in range(3)]
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(300):
            owner = RunDirectory(tmp_path / "run")
            owner.own()
            owner.release()
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()


def test_a_listener_that_fails_does_not_stop_the_run(tmp_path):
    def broken(event, state):
        raise BrokenPipeError

    from aiotwin_nb.orchestration.store import MemoryStore

    orchestrator = Orchestrator(
        rules("improvement", **SHORT), FakeRuntime(), MemoryStore(), RecordingTracker(), [broken]
    )
    assert orchestrator.run("run").status == "finished"
