import json
import struct
from contextlib import suppress

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fl_service.errors import FLServiceError, TransportError
from fl_service.records import to_arrays, to_record
from fl_service.transport.wire import CHUNK, Assembler, Content, chunks, decode, encode

ARRAYS = {
    "w": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "scalar": np.array(3, np.int64),
    "empty": np.zeros((0, 5), np.float32),
    "flags": np.array([True, False]),
}


def content(arrays=ARRAYS) -> RecordDict:
    config = ConfigRecord({"round": 3, "x": 0.1, "name": "ä", "raw": b"\x00\xff", "many": [1, 2], "flag": True})
    return RecordDict({"arrays": to_record(arrays), "m": MetricRecord({"loss": float("nan"), "n": 7}), "c": config})


def sent(header, records, size=CHUNK, limit=1 << 30):
    assembler = Assembler(limit)
    *others, last = [assembler.take(chunk) for chunk in chunks(encode(header, Content(records)), size)]
    assert others == [None] * len(others)
    return last


@pytest.mark.parametrize("size", [40, 100, CHUNK])
def test_records_arrive_bit_equal_in_chunks_of_any_size(size):
    frame = sent({"id": 5}, {"content": content(), "state/n5": RecordDict()}, size)
    assert frame.header == {"id": 5}
    records = frame.records()
    before, after = content().array_records["arrays"], records["content"].array_records["arrays"]
    assert {k: (a.data, a.dtype, a.shape) for k, a in before.items()} == {
        k: (a.data, a.dtype, a.shape) for k, a in after.items()
    }
    assert to_arrays(after)["fortran"].flags.f_contiguous
    config = records["content"].config_records["c"]
    assert dict(config) == dict(content().config_records["c"])
    assert isinstance(config["round"], int)
    assert isinstance(config["x"], float)
    assert np.isnan(records["content"].metric_records["m"]["loss"])
    assert len(records["state/n5"]) == 0


def test_chunks_are_no_longer_than_asked_for():
    parts = encode({}, Content({"a": RecordDict({"x": to_record({"w": np.zeros(1_000_000, np.float32)})})}))
    lengths = [len(chunk) for chunk in chunks(parts, 1 << 16)]
    assert max(lengths) <= (1 << 16) + 9
    assert len(lengths) > 60


def test_the_digest_is_that_of_the_content_not_of_its_way():
    there = sent({}, {"s": content()}).records()
    assert Content(there).digest == Content({"s": content()}).digest
    changed = {**ARRAYS, "w": ARRAYS["w"] + 1}
    assert Content({"s": content(changed)}).digest != Content({"s": content()}).digest
    assert Content({"s": RecordDict()}).digest == ""


def test_a_frame_that_is_too_long_is_passed_by_but_its_head_is_known():
    big = {"content": RecordDict({"x": to_record({"w": np.zeros(1_000_000, np.float32)})})}
    frame = sent({"id": 9}, big, limit=1_000_000)
    assert frame.header == {"id": 9}
    with pytest.raises(FLServiceError, match=r"4\.0 MB is longer than the allowed 1 MB"):
        frame.records(1)


def test_bytes_are_not_kept_for_a_frame_that_is_too_long():
    assembler = Assembler(1000)
    stream = chunks(encode({"id": 1}, Content({"c": RecordDict({"x": to_record({"w": np.zeros(100_000)})})})), 1 << 14)
    for chunk in stream:
        assembler.take(chunk)
        assert sum(len(piece) for piece in assembler._pieces or []) <= 1 << 14


@pytest.mark.parametrize(
    "chunks_in_order",
    [
        [b"Cxxx"],
        [b"Zxxx"],
        [b""],
        [b"F"],
        [b"F" + struct.pack("<Q", 3) + b"abcdef"],
        [b"F" + struct.pack("<Q", 9), b"F"],
    ],
)
def test_chunks_out_of_place_are_refused(chunks_in_order):
    assembler = Assembler(1000)
    *before, last = chunks_in_order
    for chunk in before:
        assembler.take(chunk)
    with pytest.raises(TransportError):
        assembler.take(last)


def head(**more) -> bytes:
    text = json.dumps({"header": {}, "records": {}, "blobs": [], **more}).encode()
    return struct.pack("<I", len(text)) + text


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x01",
        b"\xff\xff\xff\xff",
        head(blobs=[["a", 5]]),
        head(blobs=[["a", -5]]),
        head(blobs=3),
        head(header=[1]),
    ],
)
def test_malformed_frames_are_refused(frame):
    with pytest.raises(TransportError, match=r"malformed"):
        decode([frame])


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 255))
def test_whatever_comes_is_a_frame_or_is_refused(noise, place, value):
    valid = bytearray(b"".join(encode({"id": 1}, Content({"c": content()}))))
    valid[place % len(valid)] = value
    for frame in (noise, bytes(valid)):
        with suppress(FLServiceError):
            decode([frame]).records()


def array(data: bytes, shape=(2,), dtype="float32", stype="numpy.ndarray") -> RecordDict:
    return RecordDict({"arrays": ArrayRecord({"w": Array(dtype=dtype, shape=shape, stype=stype, data=data)})})


def npy(value) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    np.save(stream, value, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (array(npy(np.array([{}, 1], object)), dtype="object"), "not numbers|cannot be read"),
        (array(npy(np.zeros(3, np.float32))), "stated shape"),
        (array(npy(np.zeros(2, np.float32))[:-1]), "stated shape"),
        (array(npy(np.zeros(2, np.float32)) + b"more"), "stated shape"),
        (array(b"\x80\x04pickle"), "cannot be read"),
        (array(npy(np.zeros(2, np.float32)), stype="torch.Tensor"), "cannot be read"),
        (array(npy(np.array(["ab", "c"]))), "not numbers"),
    ],
)
def test_arrays_that_are_not_what_they_say_are_refused(bad, why):
    with pytest.raises(FLServiceError, match=why):
        sent({}, {"content": bad}).records()
