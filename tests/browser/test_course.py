"""A chapter of the course as a learner meets it: commit a prediction, solve an exercise, move a slider."""

import json

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell
from playwright.sync_api import expect

from aiotwin_nb.course.document import chapter_file, read, tags

SETUP = """
from aiotwin_nb.course import Chapter
chapter = Chapter("01-first-run")
"""
ASK = 'chapter.predict("decision", None, question="Will the change be kept?", choices=("kept", "reverted"))'
TELL = 'chapter.reveal("decision", "reverted")'
SLIDER = """
import ipywidgets
from aiotwin_nb.course import explore
explore(ipywidgets.IntSlider(value=5, min=0, max=9, description="rounds"), lambda n: f"{n} rounds cost {1320 * n:,}")
"""


@pytest.fixture
def solution():
    """The first solution of the course, as its Markdown cell has it."""
    return next(cell.source for cell in read(chapter_file("01-first-run")).cells if "solution" in tags(cell))


def test_a_prediction_is_committed_by_a_form_and_scored(open_notebook):
    notebook = open_notebook([SETUP, ASK, TELL, ASK])
    notebook.run(0)
    asked = notebook.run(1)
    expect(asked.get_by_text("Predict first.")).to_be_visible()
    notebook.screenshot("course-predict", 1)
    asked.get_by_role("button", name="Commit").click()
    expect(asked.get_by_text("Choose first.")).to_be_visible()
    asked.get_by_label("kept", exact=True).check()
    asked.get_by_role("button", name="Commit").click()
    expect(asked.get_by_text("You predict kept.")).to_be_visible()
    told = notebook.run(2)
    expect(told.get_by_text("You had predicted kept")).to_be_visible()
    expect(notebook.run(3).get_by_text("What happens: reverted")).to_be_visible()
    notebook.screenshot("course-scored", 3)
    noted = json.loads((notebook.folder / "course-progress.json").read_text())
    assert noted["chapters"]["01-first-run"]["predictions"]["decision"]["answer"] == "kept"


def test_a_solution_is_folded_until_it_is_asked_for_and_solves_the_exercise(open_notebook, solution):
    code = solution.split("```python\n")[1].split("\n```")[0]
    stub = new_code_cell("def rounds(budget, cost):\n    raise NotImplementedError('Exercise rounds: begin.')")
    check = 'chapter.check("rounds", rounds)'
    notebook = open_notebook([SETUP, stub, new_markdown_cell(solution), check, code, check])
    notebook.run(0)
    notebook.run(1)
    folded = notebook.cell(2).locator(".jp-RenderedMarkdown").get_by_text("return budget // round_cost")
    expect(notebook.cell(2).get_by_text("Solution", exact=True)).to_be_visible()
    expect(folded).not_to_be_visible()
    expect(notebook.run(3).get_by_text("not done yet. Exercise rounds: begin.")).to_be_visible()
    notebook.cell(2).get_by_text("Solution", exact=True).click()
    expect(folded).to_be_visible()
    notebook.screenshot("course-solution", 3)
    notebook.run(4)
    expect(notebook.run(5).get_by_text("right, well done")).to_be_visible()


def test_a_slider_is_followed_to_its_ends(open_notebook):
    notebook = open_notebook([SLIDER])
    shown = notebook.run(0)
    slider = shown.get_by_role("slider")
    for key, words in (("End", "9 rounds cost 11,880"), ("Home", "0 rounds cost 0")):
        slider.press(key)
        expect(shown.get_by_text(words)).to_be_visible()
    notebook.screenshot("course-slider", 0)
