"""The worker process of a sweep: one JSON request a line on standard input, one JSON answer a line on standard output.

A request is {"scenario": YAML, "runtime": name} or {"notebook": path, "parameters": {…}, "output": path}; an answer is
{"result": the summary, or the content of results.json} or {"error": one line}.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiotwin_nb.errors import AIoTwinError


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run one cell."""
    try:
        if "notebook" in request:
            return {"result": _notebook(request)}
        return {"result": _scenario(request)}
    except AIoTwinError as error:
        return {"error": str(error)}
    except Exception as error:  # one cell's trouble must not end the others
        return {"error": f"{type(error).__name__}: {error}"}


def _scenario(request: Mapping[str, Any]) -> dict[str, Any]:
    from aiotwin_nb import api
    from aiotwin_nb.orchestration.summary import summarise
    from aiotwin_nb.scenario.load import build_scenario
    from aiotwin_nb.scenario.located import parse_yaml

    scenario = build_scenario(parse_yaml(request["scenario"], "scenario"), Path.cwd())
    summary = summarise(api.simulate(scenario, request["runtime"]))
    for row in summary["history"]:
        del row["seconds"]  # the same cell gives the same file
    return summary


def _notebook(request: Mapping[str, Any]) -> dict[str, Any]:
    from aiotwin_nb.notebook import execute_notebook, results_path

    output = execute_notebook(Path(request["notebook"]), request["parameters"], Path(request["output"]))
    return dict(json.loads(results_path(output).read_text(encoding="utf-8")))


def main() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what anything prints is no answer
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line)), allow_nan=False), file=answers, flush=True)


if __name__ == "__main__":
    main()
