"""The test bed, a real Kubernetes on this machine: what it needs, and taking turns with it."""

import fcntl
import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "kubernetes"
TESTBED = SHARED / "testbed"
HOME = Path(os.environ.get("TESTBED_HOME", "/var/tmp/kube-testbed"))
ADMISSION = {"TESTBED_ADMISSION": "NodeRestriction,PodSecurityPolicy"}
PATIENCE = 900  # seconds for somebody else to give the machine's one cluster back


def run_testbed(*arguments, **environment):
    """Run the test bed's program."""
    command = [str(TESTBED), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env={**os.environ, **environment})
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def lacking():
    """Why there can be no cluster here; an empty text where there can."""
    if not TESTBED.is_file():
        return "needs the Kubernetes test bed, shared/kubernetes beside the project"
    if os.geteuid() != 0:
        return "the test bed needs root (network namespaces, cgroups)"
    return "" if (HOME / "built").exists() else f"the test bed is not built yet: {TESTBED} build"


def unavailable(reason):
    """Skip, or fail where somebody relies on these tests."""
    if os.environ.get("AIOTWIN_REQUIRE_K3S"):
        pytest.fail(reason)
    pytest.skip(reason=reason)


@contextmanager
def turn():
    """Have the machine for one cluster, which is taken down at the end: "" while it lasts, or why it cannot be had."""
    if reason := lacking():
        yield reason
        return
    with (HOME / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        until = time.monotonic() + PATIENCE
        while is_up() and time.monotonic() < until:
            time.sleep(1)
        if is_up():
            yield "another cluster of the test bed is up; end it with: testbed down"
            return
        run_testbed("down")  # what a killed session left
        try:
            yield ""
        finally:
            run_testbed("down")


def is_up():
    """Whether a cluster lives or is being started; what is left of one whose processes were killed does not count."""
    run = HOME / "run"
    if not run.exists():
        return False
    pids = [file.read_text().strip() for file in run.glob("*.pid")]
    alive = any(pid and Path(f"/proc/{pid}").exists() for pid in pids)
    return alive or time.time() - run.stat().st_mtime < 60
