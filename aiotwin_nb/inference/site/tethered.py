"""Runs `aiotwin` so that it ends with the process that started it: `python -m aiotwin_nb.inference.site.tethered …`.

Its standard input is a pipe from that process; when the pipe ends, nobody is there any more, however that came.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _watch() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_watch, daemon=True).start()
    sys.argv[0] = "aiotwin"
    runpy.run_module("aiotwin_nb", run_name="__main__")
