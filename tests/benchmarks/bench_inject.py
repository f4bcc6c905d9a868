"""How soon a command is on record: `python tests/benchmarks/bench_inject.py [repeats]` prints times beside the target.

A real run trains meanwhile. Measured from the call that puts the command into the inbox to the time stamp of
`command_received` in the run's journal, and to the moment at which a follower shows it; then whether it took effect at
the next round boundary. The exit code is 1 when the median misses its target or a command acted too late.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from statistics import median

from aiotwin_nb.orchestration.events import BoundaryReached, CommandApplied, CommandReceived, Event
from aiotwin_nb.orchestration.journal import read_journal
from aiotwin_nb.widgets.session import Session

TARGET = 0.3  # seconds from click to journal entry


def main(repeats: int) -> int:
    """Print the table; 1 when a median misses its target or a command acts later than at the next boundary."""
    with tempfile.TemporaryDirectory() as folder:
        session = Session("improvement", runs=Path(folder))
        session.change({"events": [], "objective.budget": 10**8, "training.max_rounds": 10**6})
        session.start(tracking="off")
        while session.snapshot is None or session.snapshot.state.round < 3:
            time.sleep(0.05)
        clicked, shown = {}, {}
        for number in range(repeats):
            assert session.snapshot is not None
            began = time.time()
            command = session.inject({"link": {"n4": {"n2": 20 + number % 2}}})
            clicked[command] = began
            while command not in {sent.id for sent in session.snapshot.commands}:
                time.sleep(0.005)
            shown[command] = time.time() - began
            time.sleep(0.37)
        session.stop()
        session.wait()
        assert session.run is not None
        entries = read_journal(session.run.path / "journal.jsonl")
        session.close()
    received = {
        e.event.id: datetime.fromisoformat(e.time).timestamp() for e in entries if isinstance(e.event, CommandReceived)
    }
    delays = [received[command] - clicked[command] for command in clicked]
    late = sum(_boundaries_missed([entry.event for entry in entries], command) for command in clicked)
    for name, times in {"in the journal": delays, "shown": list(shown.values())}.items():
        print(f"{name:<16} median {median(times):.3f} s, {min(times):.3f} to {max(times):.3f} s ({repeats} commands)")
    print(f"target {TARGET} s in the journal; {late} round boundaries were missed")
    return int(median(delays) > TARGET or late > 0)


def _boundaries_missed(events: list[Event], command: str) -> int:
    """Round boundaries between the receipt of a command and its effect."""
    received = next(i for i, e in enumerate(events) if isinstance(e, CommandReceived) and e.id == command)
    applied = next(i for i, e in enumerate(events) if isinstance(e, CommandApplied) and e.id == command)
    return sum(isinstance(event, BoundaryReached) for event in events[received:applied])


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
