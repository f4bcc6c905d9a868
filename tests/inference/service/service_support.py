"""Services in threads of their own, questions to them, and the images that they classify."""

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import numpy as np

from aiotwin_nb.inference.service import InferenceService
from fl_service.tasks import datasets

DIGITS = datasets.load("digits")
IMAGES, LABELS = DIGITS.test_images, DIGITS.test_labels


def useless(arrays):
    """The opposite of what was learned."""
    return {name: -array for name, array in arrays.items()}


@contextmanager
def serving(source, settings=None, **options):
    """A service in a thread of its own; gives it, and its `loop`."""
    started, box = threading.Event(), {}

    async def main():
        box["loop"], box["end"] = asyncio.get_running_loop(), asyncio.Event()
        try:
            box["service"] = await InferenceService(source, settings, **options).start()
        except BaseException as error:
            box["error"] = error
            return
        finally:
            started.set()
        await box["end"].wait()
        await box["service"].stop(at_once=True)

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    started.wait()
    if "error" in box:
        raise box["error"]
    try:
        yield box["service"]
    finally:
        box["loop"].call_soon_threadsafe(box["end"].set)
        thread.join()


def ask(url, value=None, *, data=None, kind="application/json", method=None, headers=None):
    """Status, JSON (or text) and headers of an answer."""
    body = json.dumps(value).encode() if value is not None else data
    request = urllib.request.Request(url, body, {"Content-Type": kind, **(headers or {})}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, content, given = answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        status, content, given = error.code, error.read(), error.headers
    return status, json.loads(content) if "json" in given["Content-Type"] else content.decode(), given


def eventually(condition, seconds=30.0):
    """Wait for a condition; gives its value."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.01)
    return value


def accuracy(answer, labels):
    return float(np.mean([p["label"] == label for p, label in zip(answer["predictions"], labels, strict=True)]))
