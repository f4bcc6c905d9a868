"""A cluster of real nodes, with the images of this checkout, for as long as these tests run."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from k3s_support import ARCHIVES, INFERENCE, SPARE, Bed, archives
from testbed_support import ADMISSION, HOME, SHARED, TESTBED, run_testbed, turn, unavailable

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Everything here needs a real cluster, in the order of the files."""
    for item in items:
        if FOLDER in Path(item.path).parents:
            item.add_marker(pytest.mark.k3s)
            item.add_marker(pytest.mark.timeout(1500 if item is items[0] else 600))


def make_images(names):
    """Bring image archives up to date; a file changes nothing where they are."""
    places = [HOME / "fl", HOME / "img" / "dns-root", SHARED / "make_image.py"]
    command = [sys.executable, FOLDER / "make_images.py", *places, *names]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)


def bring_up(names):
    """Start two nodes and a spare one, which is cordoned; policies are there before the first pod is."""
    up = subprocess.Popen(
        [TESTBED, "up", "3", *archives(names)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **ADMISSION},
    )
    written = False
    while up.poll() is None:
        if not written:
            apply = [TESTBED, "kubectl", "apply", "-f", FOLDER / "restricted-psp.yaml", "-f", FOLDER / "policies.yaml"]
            written = subprocess.run(apply, capture_output=True, timeout=60).returncode == 0
        time.sleep(0.5)
    assert up.returncode == 0, up.stderr.read()
    run_testbed("kubectl", "cordon", SPARE)


@contextmanager
def cluster(names=ARCHIVES):
    """(real nodes with these images, "") while it lasts, or (None, why there are none)."""
    if os.environ.get("TESTBED_UP"):  # they are up already, and stay up
        yield Bed(), ""
        return
    with turn() as reason:
        if reason:
            yield None, reason
            return
        make_images(names)
        bring_up(names)
        yield Bed(), ""


def images_for(items):
    """The archives that tests need: loading one takes every node about half a minute."""
    files = {Path(item.path).name for item in items if "bed" in getattr(item, "fixturenames", ())}
    of_runs = ARCHIVES if files - {"test_inference.py"} else ()
    return (*of_runs, *(INFERENCE if "test_inference.py" in files else ()))


@pytest.fixture(scope="session")
def bed(request):
    """Two real nodes, and a third that is cordoned; pods are admitted under a restricted policy only."""
    with cluster(images_for(request.session.items)) as (found, reason):
        if found is None:
            unavailable(reason)
        yield found
