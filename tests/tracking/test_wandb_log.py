"""The reader against files of the real client: overlaps, torn and foreign files."""

from pathlib import Path

import pytest

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.ports import MetricSource
from aiotwin_nb.tracking import WandbLogSource, WandbTracker
from aiotwin_nb.tracking.wandb_log import LogReader, Segment


def write_segment(run_dir: Path, rounds: range, life: int) -> Path:
    before = set(run_dir.glob("wandb/*/*.wandb"))
    tracker = WandbTracker()
    tracker.start("run-1", run_dir, {})
    for number in rounds:
        tracker.log({"round": number, "life": life, "padding": "x" * 500})
    tracker.finish()
    assert tracker.problem is None
    (path,) = set(run_dir.glob("wandb/*/*.wandb")) - before
    return path


def lives(source: WandbLogSource) -> list[tuple[int, int]]:
    return [(row["round"], row["life"]) for row in source.rows()]


@pytest.fixture(scope="module")
def one_segment(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a segment with the rounds 0 … 99: several blocks."""
    return write_segment(tmp_path_factory.mktemp("one"), range(100), life=0).read_bytes()


def place(run_dir: Path, data: bytes, name: str = "offline-run-20200101_000000-run-1") -> Path:
    path = run_dir / "wandb" / name / "run-run-1.wandb"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


def test_of_two_segments_the_last_row_of_a_round_wins(run_dir: Path):
    first = write_segment(run_dir, range(4), life=0)
    source = WandbLogSource(run_dir)
    assert isinstance(source, MetricSource)
    assert lives(source) == [(0, 0), (1, 0), (2, 0), (3, 0)]
    second = write_segment(run_dir, range(2, 5), life=1)
    assert first.name == second.name == "run-run-1.wandb"
    expected = [(0, 0), (1, 0), (2, 1), (3, 1), (4, 1)]
    assert lives(source) == lives(WandbLogSource(run_dir)) == expected
    assert [(row["round"], row["life"]) for row in source.poll()] == [
        *((number, 0) for number in range(4)),
        *((number, 1) for number in range(2, 5)),
    ]


def test_a_torn_older_segment_is_read_to_its_end(run_dir: Path):
    first = write_segment(run_dir, range(6), life=0)
    data = first.read_bytes()
    first.write_bytes(data[: data.rindex(b"xxx")])  # inside the last row
    write_segment(run_dir, range(2, 4), life=1)
    assert lives(WandbLogSource(run_dir)) == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 0)]


def test_a_torn_tail_is_not_yet(run_dir: Path, one_segment: bytes):
    """Growing by any number of bytes, the file gives each row exactly once."""
    path = place(run_dir, b"")
    source = WandbLogSource(run_dir)
    seen = []
    for end in [*range(0, 3000, 7), *range(3000, len(one_segment), 997), len(one_segment)]:
        path.write_bytes(one_segment[:end])
        seen += [row["round"] for row in source.poll()]
    assert seen == list(range(100))


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\xff" * 100])
def test_a_damaged_tail_ends_the_segment(run_dir: Path, one_segment: bytes, tail: bytes):
    place(run_dir, one_segment[:40000] + tail)
    rounds = [row["round"] for row in WandbLogSource(run_dir).rows()]
    assert rounds == list(range(len(rounds)))
    assert 10 < len(rounds) < 100


def test_segments_are_ordered_by_their_start_not_by_name(run_dir: Path, one_segment: bytes):
    """The clock in a folder's name is local and goes back in autumn."""
    path = write_segment(run_dir, range(2), life=1)
    path.parent.rename(path.parent.with_name("offline-run-19990101_000000-run-1"))
    place(run_dir, one_segment, "offline-run-20990101_000000-run-1")
    assert lives(WandbLogSource(run_dir))[:3] == [(0, 1), (1, 1), (2, 0)]


@pytest.mark.parametrize(
    ("header", "message"), [(b"PK\x03\x04 a zip", "is not a W&B log"), (b":W&B\xe1\xbe\x01", "version 1")]
)
def test_a_foreign_file_is_a_clear_error(run_dir: Path, header: bytes, message: str):
    place(run_dir, header)
    with pytest.raises(InvalidInput, match=message):
        WandbLogSource(run_dir).rows()


def test_a_directory_without_segments_has_no_rows(run_dir: Path):
    source = WandbLogSource(str(run_dir))
    assert source.rows() == source.poll() == []


def test_rows_are_copies(run_dir: Path, one_segment: bytes):
    place(run_dir, one_segment)
    source = WandbLogSource(run_dir)
    source.rows()[0].clear()
    assert source.rows()[0]["round"] == 0


def test_records_and_start_of_a_segment(run_dir: Path, one_segment: bytes):
    path = place(run_dir, one_segment)
    reader = LogReader(path)
    assert len(list(reader.records())) > 100
    assert list(reader.records()) == []
    segment = Segment(path)
    assert len(segment.read()) == 100
    assert segment.started > 1.5e9
