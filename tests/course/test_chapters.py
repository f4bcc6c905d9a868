"""Every chapter executed headless in smoke mode, as a learner gets it and with the solutions (`make course`)."""

from pathlib import Path

import nbformat
import pytest

from aiotwin_nb.course.document import cleared, exercises, read, solved, tags
from aiotwin_nb.course.headless import check_results, failures, run_chapter
from aiotwin_nb.notebook.results import MIME

from .compare import differences
from .conftest import ROOT

pytestmark = [pytest.mark.course, pytest.mark.timeout(600)]
NEEDS_A_CLUSTER = {"10-on-k3s"}
CHAPTERS = sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb") if p.stem not in NEEDS_A_CLUSTER)
WITH_EXERCISES = [name for name in CHAPTERS if exercises(read(ROOT / "notebooks" / f"{name}.ipynb"))]

# Every slider that the notebook has shown is moved to both of its ends. What a slider sets off may fail in three ways:
# by an exception here, in another thread, or by an error that a panel shows; the first two end up in `failed`.
TO_THE_EXTREMES = """
import threading, time, warnings
import ipywidgets
failed = []
threading.excepthook = lambda hooked: failed.append(repr(hooked.exc_value))
moved = 0
from ipywidgets.widgets.widget import _instances
for slider in [w for w in list(_instances.values()) if "Slider" in type(w).__name__ and hasattr(w, "min")]:
    ends = [slider.min, slider.max]
    if "Log" in type(slider).__name__:
        ends = [slider.base ** end for end in ends]
    for end in [*ends, slider.value]:
        slider.value = (end, end) if "Range" in type(slider).__name__ and not isinstance(end, tuple) else end
        moved += 1
time.sleep(1)
assert not failed, failed
print(f"sliders moved {moved} times")
"""


def chapter(name):
    return read(ROOT / "notebooks" / f"{name}.ipynb")


@pytest.mark.parametrize("name", WITH_EXERCISES)
def test_what_a_learner_gets_fails_only_where_something_is_left_to_do(name, here):
    executed = run_chapter(cleared(chapter(name)), here, {})
    found = failures(executed)
    assert [failure for failure in found if not failure.unfinished] == []
    assert all(failure.message.startswith("Exercise ") for failure in found)
    results = check_results(executed)
    assert list(results) == exercises(chapter(name))
    assert {result.status for result in results.values()} == {"open"}
    assert all(result.message.startswith(f"Exercise {exercise}: ") for exercise, result in results.items())


@pytest.mark.parametrize("name", CHAPTERS)
def test_solutions_pass_and_the_committed_numbers_come_out(name, here):
    committed = chapter(name)
    source = solved(cleared(committed))
    with_sliders = nbformat.v4.new_code_cell(TO_THE_EXTREMES)
    source.cells.append(with_sliders)
    executed = run_chapter(source, here, {})
    assert failures(executed) == []
    assert {n: r.message for n, r in check_results(executed).items() if r.status != "passed"} == {}
    assert list(check_results(executed)) == exercises(committed)
    assert "sliders moved" in executed.cells.pop().outputs[-1].text
    assert list(differences(committed, _without_learners_outputs(executed))) == []
    assert any(MIME in o.get("data", {}) for c in executed.cells for o in c.get("outputs", ())), "nothing is recorded"


def _without_learners_outputs(notebook):
    for cell in notebook.cells:
        if {"exercise", "check", "prediction"}.intersection(tags(cell)):
            cell.outputs = []
    return notebook


def test_sliders_that_fail_are_noticed(here):
    source = nbformat.v4.new_notebook()
    source.cells = [
        nbformat.v4.new_code_cell(
            "import ipywidgets\n"
            "from aiotwin_nb.course import explore\n"
            "explore(ipywidgets.IntSlider(value=3, min=0, max=9), lambda value: 1 / value)"
        ),
        nbformat.v4.new_code_cell(TO_THE_EXTREMES),
    ]
    (failure,) = failures(run_chapter(source, Path(here), {}))
    assert (failure.cell, failure.name) == (1, "ZeroDivisionError")
