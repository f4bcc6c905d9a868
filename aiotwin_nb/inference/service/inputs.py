"""What a request may hold: every input is checked, and what is wrong with it is said."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import numpy as np

from fl_service.tasks.classifier import InputForm

_SHOWN = 60  # characters of a wrong value that an answer repeats


class Refusal(Exception):
    """Why a request is not answered: `field` has `value`, `allowed` is what it may be."""

    def __init__(
        self,
        status: int,
        message: str,
        field: str = "",
        value: str = "",
        allowed: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})
        self.field, self.value, self.allowed = field, value, allowed

    @property
    def shown(self) -> dict[str, Any]:
        """The answer's body."""
        details = {"field": self.field, "value": self.value, "allowed": self.allowed}
        return {"error": {"message": self.message, **({} if not self.field else details)}}


def wrong(place: str, text: str, allowed: str, status: int = 400) -> Refusal:
    """A refusal that names a field, says what it is (see `told`) and what is allowed."""
    return Refusal(status, f"{place}: {text} is not allowed; it must be {allowed}", place, text, allowed)


def read_json(body: bytes, what: str) -> dict[str, Any]:
    """Return a body's JSON object; raises Refusal. `what`: what the object should look like."""
    try:
        value = json.loads(body)
    except RecursionError:
        raise wrong("body", "JSON that is nested too deeply", f"a JSON object: {what}") from None
    except ValueError as error:
        raise Refusal(400, f"body: is no JSON ({error}); send {what}", "body", told(body), what) from None
    if not isinstance(value, dict):
        raise wrong("body", told(value), f"a JSON object: {what}")
    return value


def read_inputs(body: bytes, form: InputForm, most: int) -> np.ndarray:
    """Return the inputs of a request's body: (n, *form.shape) in the form's type; raises Refusal.

    Each is a list nested like the form's shape (without its leading 1 too), a flat list, or base64 of raw numbers.
    """
    request = read_json(body, '{"inputs": [...]}')
    if unknown := [key for key in request if key != "inputs"]:
        raise wrong(unknown[0][:_SHOWN], told(request[unknown[0]]), 'left out: a request has "inputs" only')
    if "inputs" not in request:
        raise wrong("inputs", "nothing", "a list of inputs")
    inputs = request["inputs"]
    if not isinstance(inputs, list):
        raise wrong("inputs", told(inputs), "a list of inputs")
    if not 1 <= len(inputs) <= most:
        raise wrong("inputs", told(inputs), f"a list of 1 to {most} inputs")
    suspicious = b"true" in body or b"false" in body  # numpy takes a truth value among numbers for a number
    return np.stack([_input(value, f"inputs[{i}]", form, suspicious) for i, value in enumerate(inputs)])


def _input(value: object, place: str, form: InputForm, suspicious: bool) -> np.ndarray:
    if isinstance(value, str):
        array = _raw(value, place, form)
    elif isinstance(value, list):
        array = _listed(value, place, form, suspicious)
    else:
        raise wrong(place, told(value), described(form))
    _check_numbers(array, place, form)
    with np.errstate(over="ignore"):
        return array.reshape(form.shape).astype(form.dtype)


def _raw(text: str, place: str, form: InputForm) -> np.ndarray:
    count = math.prod(form.shape) * form.raw.itemsize
    allowed = f"base64 of {count} bytes: {form.raw.name} of shape {shown_shape(form.shape)}"
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise wrong(place, told(text), allowed) from None
    if len(content) != count:
        raise wrong(place, f"base64 of {len(content)} bytes", allowed)
    return np.frombuffer(content, form.raw).reshape(form.shape)


def _listed(value: list[Any], place: str, form: InputForm, suspicious: bool) -> np.ndarray:
    array: np.ndarray | None = None
    with suppress(ValueError, OverflowError):  # ragged, nested too deeply, or a whole number beyond all types
        array = np.asarray(value)
    if suspicious or array is None or array.dtype.kind not in "iuf" or array.shape not in shapes(form):
        _find_fault(value, _nearest(value, form), place, form)
        array = np.asarray(value, np.float64)
    return array


def _find_fault(value: object, shape: Sequence[int], place: str, form: InputForm) -> None:
    """Raise the refusal for the first thing that is wrong in a list; nothing where nothing is."""
    if not shape:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong(place, told(value), "a number")
        if isinstance(value, int) and abs(value) > 2**63:
            raise wrong(place, told(value), _numbers(form))
        return
    if not isinstance(value, list):
        raise wrong(place, told(value), f"a list; an input is {described(form)}")
    if len(value) != shape[0]:
        raise wrong(place, told(value), f"a list of {shape[0]}; an input is {described(form)}")
    for index, element in enumerate(value):
        _find_fault(element, shape[1:], f"{place}[{index}]", form)


def _nearest(value: list[Any], form: InputForm) -> tuple[int, ...]:
    """Of the allowed shapes the one that a list was probably meant to have: as deep, else the full one."""
    depth, element = 0, cast(Any, value)
    while isinstance(element, list) and depth <= len(form.shape):
        depth, element = depth + 1, element[0] if element else None
    return next((shape for shape in shapes(form) if len(shape) == depth), form.shape)


def _check_numbers(array: np.ndarray, place: str, form: InputForm) -> None:
    low, high = form.bounds or _limits(form.dtype)
    fits = (array >= low) & (array <= high)  # NaN does neither
    if form.dtype.kind == "i":
        fits &= array == np.floor(array)
    if not fits.all():
        where = np.argwhere(~fits)[0]
        place += "".join(f"[{index}]" for index in where)
        raise wrong(place, told(float(array[tuple(where)])), _numbers(form))


def shapes(form: InputForm) -> list[tuple[int, ...]]:
    """The shapes that a list may have: the form's, without a leading 1, and flat."""
    flat = (math.prod(form.shape),)
    inner = [form.shape[1:]] if form.shape[0] == 1 and len(form.shape) > 1 else []
    return list(dict.fromkeys([form.shape, *inner, flat]))


def described(form: InputForm) -> str:
    """What an input may be, in words."""
    lists = " or ".join(shown_shape(shape) for shape in shapes(form))
    return f"a list of shape {lists}, or base64 of its {form.raw.name} bytes"


def shown_shape(shape: Sequence[int]) -> str:
    """A shape as people write it: 1×8×8."""
    return "×".join(map(str, shape))


def _numbers(form: InputForm) -> str:
    kind = "a whole number" if form.dtype.kind == "i" else "a finite number"
    return f"{kind} from {form.bounds[0]:g} to {form.bounds[1]:g}" if form.bounds else f"{kind} that {form.dtype} holds"


def _limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    return (-(2.0**53), 2.0**53) if dtype.kind == "i" else (-3.4e38, 3.4e38)


def told(value: object) -> str:
    """A value for a message, as in JSON; a large one is cut, and not even written out in full."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object of {len(value)}"
    if isinstance(value, bytes):
        value = value[: _SHOWN + 1].decode(errors="replace")
    text = json.dumps(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
