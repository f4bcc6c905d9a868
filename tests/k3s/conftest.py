"""A cluster of two real nodes, with the images of this checkout, for as long as these tests run."""

import fcntl
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from k3s_support import ARCHIVES, HOME, SHARED, TESTBED, Bed, run_testbed

PATIENCE = 900  # seconds for another test session to give the machine's one cluster back
FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Everything here needs a real cluster, in the order of the files."""
    for item in items:
        if FOLDER in Path(item.path).parents:
            item.add_marker(pytest.mark.k3s)
            item.add_marker(pytest.mark.timeout(1500 if item is items[0] else 600))


def make_images():
    """Bring the image archives up to date; a file changes nothing where they are."""
    command = [
        sys.executable,
        FOLDER / "make_images.py",
        HOME / "fl",
        HOME / "img" / "dns-root",
        SHARED / "make_image.py",
    ]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)


def bring_up():
    """Start two nodes; policies are there before the first pod is."""
    up = subprocess.Popen(
        [TESTBED, "up", "2", *ARCHIVES],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TESTBED_ADMISSION": "NodeRestriction,PodSecurityPolicy"},
    )
    written = False
    while up.poll() is None:
        if not written:
            apply = [TESTBED, "kubectl", "apply", "-f", FOLDER / "restricted-psp.yaml", "-f", FOLDER / "policies.yaml"]
            written = subprocess.run(apply, capture_output=True, timeout=60).returncode == 0
        time.sleep(0.5)
    assert up.returncode == 0, up.stderr.read()


@contextmanager
def cluster():
    """(two real nodes, "") while it lasts, or (None, why there are none)."""
    if os.environ.get("TESTBED_UP"):  # they are up already, and stay up
        yield Bed(), ""
    elif reason := lacking():
        yield None, reason
    else:
        make_images()
        with (HOME / "tests.lock").open("w") as lock:  # there can be one cluster per machine
            fcntl.flock(lock, fcntl.LOCK_EX)
            until = time.monotonic() + PATIENCE
            while (HOME / "run").exists() and time.monotonic() < until:
                time.sleep(1)
            if (HOME / "run").exists():
                yield None, "another cluster of the test bed is up; end it with: testbed down"
                return
            try:
                bring_up()
                yield Bed(), ""
            finally:
                run_testbed("down")


def lacking():
    """Why there can be no cluster here; an empty text where there can."""
    if not TESTBED.is_file():
        return "needs the Kubernetes test bed, shared/kubernetes beside the project"
    if os.geteuid() != 0:
        return "the test bed needs root (network namespaces, cgroups)"
    return "" if (HOME / "built").exists() else f"the test bed is not built yet: {TESTBED} build"


@pytest.fixture(scope="session")
def bed():
    """Two real nodes; pods are admitted under a restricted policy only."""
    with cluster() as (found, reason):
        if found is None:
            pytest.skip(reason=reason)
        yield found
