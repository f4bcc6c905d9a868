"""Predictions and results of a learner: noted, scored, summed up, and put back; the folder of the course."""

import json

import nbformat
import pytest

from aiotwin_nb.cli import main
from aiotwin_nb.course import Chapter, document, lab_on
from aiotwin_nb.course import chapter as chapter_module
from aiotwin_nb.course.document import chapter_file, cleared, exercises, read, solved
from aiotwin_nb.course.folder import copy_course, reset
from aiotwin_nb.course.form import explore, prediction_form
from aiotwin_nb.course.progress import FILE, Guess, read_progress
from aiotwin_nb.errors import InvalidInput

from .compare import differences

NAME = "01-first-run"
QUESTION = {"question": "Kept?", "choices": ("kept", "reverted")}


@pytest.fixture
def told(monkeypatch):
    """What a chapter shows, as text."""
    shown = []
    monkeypatch.setattr(chapter_module, "display", lambda what: shown.append(repr(what)))
    return shown


def test_a_prediction_is_noted_scored_and_sealed(here, told):
    chapter = Chapter(NAME)
    chapter.predict("decision", None, **QUESTION)
    assert "Predict first. Kept?" in told[-1]
    chapter.predict("decision", "reverted", **QUESTION)
    chapter.predict("decision", "kept", **QUESTION)  # before the truth is known it may be changed
    assert "You predict kept" in told[-1]
    chapter.reveal("decision", "kept")
    assert told[-1] == "✔ What happens: kept. You had predicted kept."
    chapter.predict("decision", "reverted", **QUESTION)
    assert "it stays" in told[-1]
    assert Chapter(NAME).notes.predictions["decision"].answer == "kept"


def test_a_number_may_be_close(here, told):
    chapter = Chapter(NAME)
    chapter.predict("final", 90, question="How accurate?", unit="%")
    chapter.reveal("final", 94.0, close=3)
    assert told[-1] == "✗ What happens: 94.0 %. You had predicted 90 %, 4.0 % off."
    chapter.reveal("final", 92.5, close=3)
    assert told[-1].startswith("✔")


@pytest.mark.parametrize(
    ("answer", "choices", "words"),
    [("kep", ("kept", "reverted"), "Did you mean 'kept'?"), ("many", (), "no number"), (True, (), "no number")],
)
def test_an_answer_that_is_none_is_refused_in_words(here, told, answer, choices, words):
    Chapter(NAME).predict("q", answer, question="?", choices=choices)
    assert words in told[-1]
    assert Chapter(NAME).notes.predictions == {}


def test_without_a_prediction_the_truth_is_told_all_the_same(here, told):
    Chapter(NAME).reveal("decision", "kept")
    assert told[-1] == "What happens: kept. You had not predicted anything."


def test_guesses_are_right_or_not_or_unknown():
    assert Guess(question="?", answer=3).right is None
    assert Guess(question="?", truth=3).right is None
    assert Guess(question="?", answer=3, truth=3.4, close=0.5).right is True
    assert Guess(question="?", answer="kept", truth=3).right is False


def test_a_check_is_noted_and_what_needs_it_waits_for_it(here, told):
    chapter = Chapter(NAME)
    with pytest.raises(NotImplementedError, match="Exercise rounds comes first: run its check"):
        chapter.needs("rounds")
    chapter.check("rounds", lambda budget, cost: budget / cost)
    assert "not paid for" in told[-1]
    with pytest.raises(NotImplementedError, match="not paid for"):
        chapter.needs("rounds")
    chapter.check("rounds", lambda budget, cost: budget // cost)
    chapter.needs("rounds")
    chapter.summary()
    assert "all 1 are solved" in told[-1]
    chapter.certificate()
    assert "02-hfl-from-scratch: average" in told[-1]


def test_wrong_names_and_modes_are_refused(here):
    with pytest.raises(InvalidInput, match="Did you mean '01-first-run'"):
        Chapter("01-first-rn")
    with pytest.raises(InvalidInput, match=r"mode: 'ful' must be one of smoke, full\. Did you mean 'full'"):
        Chapter(NAME, mode="ful")
    (here / FILE).write_text("{")
    with pytest.raises(InvalidInput, match="is damaged"):
        Chapter(NAME).notes  # noqa: B018


def test_the_form_commits_what_was_chosen():
    given = []
    form = prediction_form(("kept", "reverted"), "", lambda answer: given.append(answer) or "noted")
    row, said = form.children
    field, button = row.children
    button.click()
    assert (given, said.value) == ([], "Choose first.")
    field.value = "reverted"
    button.click()
    assert (given, said.value) == (["reverted"], "noted")


def test_a_slider_is_followed():
    import ipywidgets

    slider, view = explore(ipywidgets.IntSlider(value=1, min=0, max=3), lambda n: f"<{n}>").children
    slider.value = 3
    assert view.value == "<p>&lt;3&gt;</p>"


def test_labs_are_there_on_both_data_sets():
    assert lab_on("improvement", "fashion_mnist").task.name == "fashion_mnist"
    assert lab_on("improvement", seed=4, **{"validation.window": 7}).validation.window == 7
    mislabelled = lab_on("degradation-mislabelled", "fashion_mnist", seed=4)
    assert (mislabelled.task.name, mislabelled.seed, mislabelled.objective.budget) == ("fashion_mnist", 4, 60000)
    assert mislabelled.events[0].add[0].data == {0: 100, 1: 100, 2: 100}
    assert mislabelled.events[0].add[0].label_noise.kind == "shift"
    with pytest.raises(InvalidInput, match="Did you mean 'digits'"):
        lab_on("improvement", "digit")


# The notebook as a document.


def notebook(*cells):
    found = nbformat.v4.new_notebook()
    for kind, tag, source in cells:
        cell = (nbformat.v4.new_markdown_cell if kind == "md" else nbformat.v4.new_code_cell)(source)
        cell.metadata["tags"] = [tag]
        found.cells.append(cell)
    return found


def test_an_exercise_is_replaced_by_the_solution_after_it():
    source = notebook(
        ("code", "exercise", "stub"), ("md", "solution", "<details>\n\n```python\nx = 1\n```\n</details>")
    )
    assert solved(source).cells[0].source == "x = 1"
    assert source.cells[0].source == "stub"


@pytest.mark.parametrize("after", [[], [("md", "x", "```python\nx\n```")], [("md", "solution", "no code")]])
def test_an_exercise_without_a_solution_is_named(after):
    with pytest.raises(InvalidInput, match="cell 0: is tagged 'exercise'"):
        solved(notebook(("code", "exercise", "stub"), *after))


def test_exercises_are_read_off_the_checks():
    source = notebook(
        ("code", "check", 'chapter.check("a", f)'), ("code", "check", "%magic"), ("code", "x", 'c.check("b", f)')
    )
    assert exercises(source) == ["a"]


def test_all_chapters_name_time_goal_and_needs():
    for name in document.chapter_names():
        first = read(chapter_file(name)).cells[0].source
        for word in ("**Goal.**", "**Time.**", "**You need**"):
            assert word in first, f"{name}: {word}"


# The folder of the course.


@pytest.fixture
def course(here):
    copy_course(here)
    return here


def test_a_learners_copy_shows_nothing_yet(course):
    files = sorted(course.glob("*.ipynb"))
    assert [file.stem for file in files] == document.chapter_names()
    for file in files:
        cells = [cell for cell in read(file).cells if cell.cell_type == "code"]
        assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert (course / "labs" / "improvement.yaml").is_file()
    assert copy_course(course).lines(course) == []


def test_reset_keeps_what_was_there_and_is_idempotent(course, told, capsys):
    file = course / f"{NAME}.ipynb"
    handed_out = file.read_bytes()
    work = read(file)
    work.cells[0].source = "my work"
    nbformat.write(work, file)
    mine = file.read_bytes()
    Chapter(NAME).predict("final", 90, question="?")
    Chapter("03-strategies").predict("greedy", 5, question="?")
    assert main(["reset", str(file)]) == 0
    assert "what was there is kept in" in capsys.readouterr().out
    assert file.read_bytes() == handed_out
    assert (course / "backups" / f"{NAME}-1.ipynb").read_bytes() == mine
    assert json.loads((course / "backups" / f"{NAME}-1.json").read_text())["predictions"]["final"]["answer"] == 90
    assert list(read_progress(course).chapters) == ["03-strategies"]
    before = {path: path.stat().st_mtime_ns for path in (course / "backups").iterdir()}
    assert main(["reset", str(file)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (course / "backups").iterdir()} == before


def test_reset_brings_a_deleted_chapter_back_and_never_overwrites_a_backup(course):
    file = course / f"{NAME}.ipynb"
    for text in ("first", "second"):
        file.write_text(text)
        reset(file)
    assert [(course / "backups" / f"{NAME}-{n}.ipynb").read_text() for n in (1, 2)] == ["first", "second"]
    file.unlink()
    assert "as it was handed out" in reset(file)
    assert file.is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reset", "01-first-rn.ipynb"], "Did you mean '01-first-run'?"),
        (["reset", "nowhere/01-first-run.ipynb"], "No such file"),
        (["check", "none.ipynb"], "there is no such file"),
        (["check", "text.ipynb"], "is not a notebook"),
        (["check", "00-lab.ipynb"], "has no exercises; chapters with exercises are 01-first-run"),
        (["check"], "there is no course-progress.json here"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(here, capsys, arguments, words):
    (here / "text.ipynb").write_text("no notebook")
    (here / "00-lab.ipynb").write_bytes(chapter_file("00-lab").read_bytes())
    before = sorted(here.rglob("*"))
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""
    assert sorted(here.rglob("*")) == before


def test_the_summary_of_the_course_on_the_command_line(here, told, capsys):
    chapter = Chapter(NAME)
    chapter.predict("final", 90, question="How accurate?", unit="%")
    chapter.reveal("final", 94.0, close=3)
    chapter.check("rounds", lambda budget, cost: budget // cost)
    assert main(["check"]) == 1
    said = capsys.readouterr().out
    assert "01-first-run: 1 of 1 exercises" in said
    assert "✗ How accurate? You said 90 %; it was 94.0 %." in said
    assert "02-hfl-from-scratch: average" in said


def small_chapter(here, body):
    """A chapter of the name 01-first-run that runs nothing but the exercise."""
    source = cleared(read(chapter_file(NAME)))
    source.cells = [
        nbformat.v4.new_code_cell('mode = "full"', metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "from aiotwin_nb.course import Chapter\nchapter = Chapter('01-first-run', mode)\nassert mode == 'smoke'"
        ),
        nbformat.v4.new_code_cell(body),
        nbformat.v4.new_code_cell('chapter.check("rounds", rounds)', metadata={"tags": ["check"]}),
    ]
    path = here / f"{NAME}.ipynb"
    nbformat.write(source, path)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("def rounds(b, c): return b // c", 0, "01-first-run: 1 of 1 exercises done\n  ✔ rounds\n"),
        (
            "def rounds(b, c): raise NotImplementedError('Exercise rounds: begin.')",
            1,
            "○ rounds: Exercise rounds: begin.",
        ),
        ("def rounds(b, c): return b / c", 1, "✗ rounds: 75.76 rounds"),
        ("rounds = undefined", 1, "✗ cell 3 fails: NameError"),
    ],
)
def test_check_runs_the_notebook_and_says_what_is_left(here, capsys, body, code, words):
    path = small_chapter(here, body)
    assert main(["check", path]) == code
    assert words in capsys.readouterr().out
    assert not (here / FILE).exists(), "a check changes nothing"


# What `make course` compares.


def shown(values, picture=None):
    cell = nbformat.v4.new_code_cell("x")
    cell.outputs = [nbformat.v4.new_output("display_data", {"application/vnd.aiotwin.results+json": values})]
    if picture:
        cell.outputs.append(
            nbformat.v4.new_output("display_data", {"image/png": picture}, metadata={"image/png": {"alt": "a"}})
        )
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("m"), cell])


def png(blank):
    import base64

    from matplotlib.figure import Figure

    from aiotwin_nb.widgets.figures import png as as_png

    figure = Figure(figsize=(2, 2))
    if not blank:
        figure.subplots().plot([1, 2])
    return base64.b64encode(as_png(figure)).decode()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ({"final_accuracy": 94.0}, {"final_accuracy": 94.9}, None),
        (
            {"final_accuracy": 94.0},
            {"final_accuracy": 95.1},
            "cell 2: final_accuracy: 94.0 is committed, 95.1 comes out",
        ),
        ({"rounds": 53}, {"rounds": 54}, "cell 2: rounds: 53 is committed"),
        ({"a": [{"decision": "kept"}]}, {"a": [{"decision": "reverted"}]}, "cell 2: a[0].decision"),
        ({"accuracy": {"flat": 50}}, {"accuracy": {"flat": 50.5}}, None),
        ({"a": 1}, {"b": 1}, "a: is recorded only in the committed outputs"),
    ],
)
def test_differences_are_told_with_their_cell(old, new, words):
    found = list(differences(shown(old), shown(new)))
    assert (words is None and not found) or words in found[0]


def test_missing_and_blank_pictures_are_told():
    good, bad = png(blank=False), png(blank=True)
    assert list(differences(shown({}, good), shown({}, good))) == []
    assert list(differences(shown({}, good), shown({}))) == ["cell 2: 1 pictures are committed, 0 come out"]
    assert "cell 2: a picture (executed) is blank" in next(differences(shown({}, good), shown({}, bad)))
