import numpy as np
import pytest
from flwr.app import Array, ArrayRecord

from fl_service.records import to_arrays, to_record


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.asarray(3, np.int64),
        np.zeros((0, 4), np.float16),
        np.array([True, False]),
        np.arange(4, dtype=">f8"),
    ],
    ids=["float32", "fortran", "scalar", "empty", "bool", "big endian"],
)
def test_arrays_come_back_as_flower_itself_reads_them(array):
    record = to_record({"x": array})
    ours, theirs = to_arrays(record)["x"], record["x"].numpy()
    assert (ours == array).all()
    assert (ours.dtype, ours.shape, ours.flags.f_contiguous) == (theirs.dtype, theirs.shape, theirs.flags.f_contiguous)
    assert ours.flags.writeable


def test_other_serialisations_are_flowers_to_refuse():
    record = ArrayRecord({"x": Array(dtype="float32", shape=(1,), stype="other", data=b"1234")})
    with pytest.raises(TypeError, match="other"):
        to_arrays(record)
