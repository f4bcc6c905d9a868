import base64
import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from aiotwin_nb.inference.service.inputs import Refusal, read_inputs, shapes
from fl_service.tasks.classifier import InputForm

DIGITS = InputForm((1, 8, 8), np.dtype(np.float32), np.dtype(np.uint8), (0.0, 16.0))
COLOURS = InputForm((3, 2, 4), np.dtype(np.float32), np.dtype("<f4"))
TOKENS = InputForm((5,), np.dtype(np.int64), np.dtype("<i8"))
FORMS = (DIGITS, COLOURS, TOKENS)


def body(inputs):
    return json.dumps({"inputs": inputs}).encode()


def refused(content, form=DIGITS, most=4):
    with pytest.raises(Refusal) as caught:
        read_inputs(content, form, most)
    assert caught.value.status == 400
    return caught.value


def numbers(form):
    low, high = form.bounds or (-1e6, 1e6)
    if form.dtype.kind == "i":
        return st.integers(int(low), int(high))
    return st.floats(low, high, width=32)


@given(st.data(), st.sampled_from(FORMS))
def test_every_form_of_an_input_gives_the_same_numbers(data, form):
    image = data.draw(arrays.arrays(form.dtype, form.shape, elements=numbers(form)))
    written = [image.reshape(shape).tolist() for shape in shapes(form)]
    if form is not DIGITS:
        written.append(base64.b64encode(image.astype(form.raw).tobytes()).decode())
    read = read_inputs(body(written), form, len(written))
    assert read.dtype == form.dtype
    assert read.shape == (len(written), *form.shape)
    assert all(np.array_equal(each, image) for each in read)


@given(arrays.arrays(np.uint8, (1, 8, 8), elements=st.integers(0, 16)))
def test_raw_bytes_are_pixels(image):
    read = read_inputs(body([base64.b64encode(image.tobytes()).decode()]), DIGITS, 1)
    assert np.array_equal(read[0], image)


@given(st.data(), st.sampled_from([None, True, "7", [], {}, -0.5, 16.5, float("nan"), float("inf"), 10**400, 2**63]))
def test_one_wrong_number_is_found_wherever_it_is(data, bad):
    shape = data.draw(st.sampled_from(shapes(DIGITS)))
    place = tuple(data.draw(st.integers(0, side - 1)) for side in shape)
    assume(bad != [] or any(place))  # a list that begins with an empty one is taken for a wrong shape
    image = np.zeros(shape).tolist()
    row = image
    for index in place[:-1]:
        row = row[index]
    row[place[-1]] = bad
    refusal = refused(body([np.zeros(64).tolist(), image]))
    assert refusal.field == "inputs[1]" + "".join(f"[{i}]" for i in place)
    assert refusal.field in refusal.message
    assert "number" in refusal.allowed


@given(st.sampled_from(FORMS), st.lists(st.integers(0, 6), min_size=1, max_size=4).map(tuple))
def test_a_wrong_shape_is_refused_with_the_right_one(form, shape):
    if shape in shapes(form):
        return
    refusal = refused(body([np.zeros(shape).tolist()]), form)
    assert refusal.field.startswith("inputs[0]")
    assert refusal.allowed


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=30,
)


@settings(max_examples=150)
@given(JSON | JSON.map(lambda value: {"inputs": value}) | st.lists(JSON).map(lambda value: {"inputs": value}))
def test_whatever_is_no_input_is_refused(value):
    refusal = refused(json.dumps(value).encode())
    assert len(refusal.message) < 1000
    json.dumps(refusal.shown)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_whatever_is_no_json_is_refused(content):
    refused(content)


@pytest.mark.parametrize(
    ("content", "field", "words"),
    [
        (b"[" * 100_000, "body", "nested"),
        (b'{"inputs": ' + b"[" * 900 + b"]" * 900 + b"}", "inputs[0]", "list"),
        (b'{"inputs": [[' + b"9" * 5000 + b"]]}", "body", "JSON"),
        (b'{"inputs": []}', "inputs", "1 to 4"),
        (json.dumps({"inputs": [[0] * 64] * 5}).encode(), "inputs", "1 to 4"),
        (b'{"input": [1]}', "input", "left out"),
        (b"{}", "inputs", "list"),
        (b'{"inputs": ["!"]}', "inputs[0]", "64 bytes"),
        (b'{"inputs": ["AAAA"]}', "inputs[0]", "64 bytes"),
        (b'{"inputs": [{"a": 1}]}', "inputs[0]", "1×8×8"),
        (b'{"inputs": ["\\ud800"]}', "inputs[0]", "base64"),
    ],
)
def test_a_refusal_names_the_field_and_what_is_allowed(content, field, words):
    refusal = refused(content)
    assert (refusal.field.startswith(field), words in refusal.message) == (True, True), refusal.message


def test_numbers_that_a_type_cannot_hold_are_refused():
    assert refused(body([[1e300] * 24]), COLOURS).field == "inputs[0][0]"
    assert "whole" in refused(body([[0.5] * 5]), TOKENS).allowed
