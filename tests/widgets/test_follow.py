"""A follower tells what is known of a run, whatever became of its W&B log, its journal or its process."""

from __future__ import annotations

import os
import shutil
import signal
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from aiotwin_nb import api
from aiotwin_nb.orchestration.journal import read_journal
from aiotwin_nb.orchestration.rundir import RunDirectory
from aiotwin_nb.scenario import load_scenario
from aiotwin_nb.tracking import wandb_log
from aiotwin_nb.widgets.follow import Follower
from aiotwin_nb.widgets.session import Session


def log_of(run: Path) -> Path:
    (log,) = run.glob("wandb/*run-*/run-*.wandb")
    return log


def journal_rows(run: Path):
    return api.RunMetrics(RunDirectory(run)).journal_rows()


def looked_at(run: Path, **options):
    snapshot = Follower(run, **options).look()
    assert snapshot is not None
    return snapshot


def test_a_healthy_run_is_read_from_its_wandb_log(tracked_run: Path):
    snapshot = looked_at(tracked_run)
    assert list(snapshot.rows) == journal_rows(tracked_run)
    assert (snapshot.status, snapshot.origin, snapshot.problem) == ("finished", "W&B", "")


def cut_in_the_middle(log: Path):
    os.truncate(log, log.stat().st_size // 2)


def spoil_the_middle(log: Path):
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 0xFF
    log.write_bytes(data)


def spoil_the_header(log: Path):
    log.write_bytes(b"NOTW&B!" + log.read_bytes()[7:])


def begin_with_no_record(log: Path):
    """A chunk whose checksum fits, with something else than a W&B record in it."""
    payload = b"\xff\xff\xff"
    crc = wandb_log._crc(wandb_log.FULL, payload)
    chunk = wandb_log.CHUNK_HEADER.pack(crc, len(payload), wandb_log.FULL) + payload
    log.write_bytes(log.read_bytes()[:7] + chunk)


def remove_the_folder(log: Path):
    shutil.rmtree(log.parents[1])


@pytest.mark.parametrize(
    ("damage", "said", "origin"),
    [
        (cut_in_the_middle, "W&B log lacks", "W&B and the journal"),
        (spoil_the_middle, "W&B log lacks", "W&B and the journal"),
        (spoil_the_header, "cannot be read", "the journal"),
        (begin_with_no_record, "cannot be read", "the journal"),
        (remove_the_folder, "no W&B log", "the journal"),
    ],
)
def test_what_a_damaged_log_lacks_comes_from_the_journal_and_that_is_said(tracked_run: Path, damage, said, origin):
    damage(log_of(tracked_run))
    # The run ended long ago, so nothing is on its way any more.
    later = datetime.fromisoformat(read_journal(tracked_run / "journal.jsonl")[-1].time) + timedelta(minutes=1)
    snapshot = looked_at(tracked_run, now=lambda: later)
    assert list(snapshot.rows) == journal_rows(tracked_run)
    assert said in snapshot.problem
    assert "journal" in snapshot.problem
    assert snapshot.origin == origin


@pytest.mark.parametrize("damage", [cut_in_the_middle, remove_the_folder])
def test_what_was_read_stays_when_the_log_is_damaged_meanwhile(tracked_run: Path, damage):
    follower = Follower(tracked_run)
    rows = follower.look().rows
    damage(log_of(tracked_run))
    with (tracked_run / "journal.jsonl").open("r+b") as journal:  # something to look at: the last line comes again
        *lines, last = journal.read().splitlines(keepends=True)
    again = Follower(tracked_run)
    assert again.look().rows == rows
    assert follower.look() is None, "nothing new"
    assert lines
    assert last


def test_wandb_gets_time_to_open_its_log_before_anything_is_said(tracked_run: Path):
    remove_the_folder(log_of(tracked_run))
    directory = RunDirectory(tracked_run)
    times = [datetime.fromisoformat(entry.time) for entry in read_journal(directory.journal_file)]
    directory.own()  # somebody is at work on it
    try:
        at_once = looked_at(tracked_run, now=lambda: times[0])
        assert (at_once.rows, at_once.problem) == ((), ""), "W&B may still bring them"
        soon = looked_at(tracked_run, now=lambda: times[-1] + timedelta(seconds=2))
        assert (list(soon.rows), soon.problem) == (journal_rows(tracked_run), "")
        assert soon.origin == "the journal"
        late = looked_at(tracked_run, now=lambda: times[-1] + timedelta(seconds=11))
        assert (list(late.rows), "no W&B log" in late.problem) == (journal_rows(tracked_run), True)
    finally:
        directory.release()


def test_a_run_without_wandb_is_nothing_to_warn_of(tmp_path: Path):
    scenario = load_scenario("improvement", overrides={"objective.budget": 4000})
    api.execute(scenario, tmp_path / "run", runtime="stacked", tracking="off")
    snapshot = looked_at(tmp_path / "run")
    assert (len(snapshot.rows), snapshot.origin, snapshot.problem) == (4, "the journal (W&B is off)", "")


def test_a_damaged_journal_is_said(tracked_run: Path):
    journal = tracked_run / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"type":"planned"', b'"type":"plumbed"'))
    assert "journal.jsonl:2" in looked_at(tracked_run).problem


def test_one_who_fails_to_look_does_not_end_the_following(tracked_run: Path, caplog):
    told = []

    def tell(snapshot):
        told.append(snapshot)
        if len(told) == 1:
            raise RuntimeError("a panel's mistake")

    follower = Follower(tracked_run, tell).start()
    wait_until(lambda: told)
    with (tracked_run / "journal.jsonl").open("ab") as journal:
        journal.write(b"not a line\n{}\n")  # something new: damage
    wait_until(lambda: len(told) == 2)
    follower.close()
    assert "damaged" in told[1].problem
    assert "a panel's mistake" in caplog.text


def wait_until(true, seconds=5.0):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_that_is_killed_is_seen_and_once_resumed_read_from_both_segments(tmp_path: Path):
    session = Session("improvement", runs=tmp_path)
    session.change({"training.max_rounds": 25, "training.epochs": 6})
    session.start(tracking="offline")
    wait_until(lambda: session.snapshot is not None and session.snapshot.state.round >= 8, 60)
    run = session.run
    assert run is not None
    with (run.path / api.LOG).open("a") as log:
        log.write("the last thing it said\n")
    os.kill(RunDirectory(run.path).owner()["pid"], signal.SIGKILL)
    killed = time.monotonic()
    wait_until(lambda: session.snapshot.status == "interrupted", 3)
    assert time.monotonic() - killed <= 3
    assert session.snapshot.last_words[-1] == "the last thing it said"
    assert session.snapshot.problem == ""
    session.resume()
    session.wait(timeout=120)
    assert len(list(run.path.glob("wandb/*run-*/run-*.wandb"))) == 2
    assert list(session.snapshot.rows) == journal_rows(run.path)
    assert [row["round"] for row in session.snapshot.rows] == list(range(26))
    assert (session.snapshot.status, session.snapshot.origin, session.snapshot.problem) == ("finished", "W&B", "")
    session.close()
