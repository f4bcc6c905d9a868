"""The checks of the exercises: they know usual mistakes, name them, and never give the solution away."""

import inspect
import math
from importlib import import_module

import numpy as np
import pytest

from aiotwin_nb.course.document import chapter_file, chapter_names, exercises, read, solved, tags
from aiotwin_nb.course.examine import checks, examine
from aiotwin_nb.errors import InvalidInput

from .conftest import ROOT

import_module("aiotwin_nb.course.checks")
ALL = checks.names()


def said(exercise, attempt):
    result = examine(exercise, attempt)
    return result.status, result.message


def test_every_exercise_of_the_notebooks_has_a_check_and_the_other_way_round():
    asked = [f"{name}/{exercise}" for name in chapter_names() for exercise in exercises(read(chapter_file(name)))]
    assert sorted(asked) == sorted(ALL)
    assert len(asked) == len(set(asked)) > 15


def test_an_exercise_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(InvalidInput, match="Did you mean '02-hfl-from-scratch/average'"):
        examine("02-hfl-from-scratch/averages", None)


def test_a_stub_is_open_and_says_its_own_message():
    def average(models, samples):
        raise NotImplementedError("Exercise average: write it.")

    assert said("02-hfl-from-scratch/average", average) == ("open", "Exercise average: write it.")


@pytest.mark.parametrize(
    "attempt", [None, 3, "average", lambda: 1, lambda *a: None, lambda *a: 7, lambda *a: {}, lambda *a: 1 / 0]
)
@pytest.mark.parametrize("exercise", ALL)
def test_nonsense_is_wrong_and_told_in_a_sentence(exercise, attempt):
    status, message = said(exercise, attempt)
    assert status == "wrong"
    assert message
    assert "\n" not in message
    assert len(message) < 400


def average(weights):
    return lambda models, samples: {
        name: sum(w * m[name] for w, m in zip(weights(samples), models, strict=True)) for name in models[0]
    }


@pytest.mark.parametrize(
    ("exercise", "attempt", "words"),
    [
        ("01-first-run/rounds", lambda b, c: b / c, "the last one is not paid for"),
        ("01-first-run/rounds", lambda b, c: math.ceil(b / c), "rounded up"),
        ("02-hfl-from-scratch/average", average(lambda n: [1 / len(n)] * len(n)), "same weight"),
        ("02-hfl-from-scratch/average", average(lambda n: n), "not divided"),
        ("02-hfl-from-scratch/average", average(lambda n: [x / sum(n) for x in reversed(n)]), "wrong way round"),
        ("02-hfl-from-scratch/round-cost", lambda c, ga, link, L, s: s * (sum(link(a, ga) for a in c) + sum(link(x, a) for a in c for x in c[a])), "L times, not once"),
        ("02-hfl-from-scratch/round-cost", lambda c, ga, link, L, s: L * s * (sum(link(a, ga) for a in c) + sum(link(x, a) for a in c for x in c[a])), "not L times"),
        ("03-strategies/divergence", lambda p, q: sum(a / sum(p) * math.log2(a / sum(p) / (b / sum(q))) for a, b in zip(p, q, strict=True) if a), "bits"),
        ("03-strategies/divergence", lambda p, q: sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a), "shares, not counts"),
        ("04-budgets/rounds-bought", lambda b, c, r, x, d: b // c, "two prices"),
        ("04-budgets/cost-of-target", lambda h, t: next((c for c, a in h if a > t), None), "exactly"),
        ("05-reconfiguration-helps/change-cost", lambda o, n, link, s: sum(s * link(c, a) / 2 for a in n for c in n[a]), "nobody is new"),
        ("05-reconfiguration-helps/decide", lambda o, n, now, m, r, co, cn: "keep" if n(now + 9) >= o(now + 9) else "revert", "alike"),
        ("06-reconfiguration-hurts/suspects", lambda found, f: [c for c in found if found[c] > f * np.mean(list(found.values()))], "raise what you compare with"),
        ("07-when-to-revert/fit", lambda x, y: np.polyfit(np.log(np.array(x) + 1), y, 1), "changed places"),
        ("07-when-to-revert/fit", lambda x, y: np.polyfit(np.log(x), y, 1)[::-1], "round + 1"),
        ("07-when-to-revert/policy", lambda e: ("kept", "always"), "keeps it"),
        ("07-when-to-revert/policy", lambda e: "kept", "pair"),
        ("08-proactive/coverage", lambda m, d: len({k for c in m for k in d[c]}) / 3, "a half"),
        ("08-proactive/forecast", lambda x, h: x[-1], "present load"),
        ("08-proactive/forecast", lambda x, h: min(max(x[-1] + h * (x[-1] - x[0]) / (len(x) - 1), 0), 1), "all the points"),
        ("09-papermill/reproduced", lambda a, b: a == b, "other versions"),
        ("09-papermill/reproduced", lambda a, b: a["results"] == b["results"], "within half a point"),
        ("13-own-task/clip", lambda b, a, x: a, "as long as before"),
    ],
)  # fmt: skip
def test_usual_mistakes_are_named(exercise, attempt, words):
    status, message = said(exercise, attempt)
    assert status == "wrong"
    assert words in message


def test_a_restart_from_the_global_model_is_noticed():
    """The mistake of chapter 02: clusters that begin every local round anew."""
    source = solved(read(chapter_file("02-hfl-from-scratch")))
    names = {}
    for cell in (cell for cell in source.cells if "exercise" in tags(cell)):
        exec(cell.source.replace("train(cluster_model, ", "train(model, "), names)
    status, message = said("02-hfl-from-scratch/global-round", names["global_round"])
    assert status == "wrong"
    assert "cluster's own average" in message


def solutions():
    for name in chapter_names():
        for cell in solved(read(chapter_file(name))).cells:
            if "exercise" in tags(cell):
                yield name, cell.source


def test_checks_and_stubs_do_not_contain_the_solutions():
    """No line of a solution's body of some length is told by a check, or stands in the stub before it."""
    told = "".join(
        inspect.getsource(import_module(f"aiotwin_nb.course.checks.{p.stem}"))
        for p in (ROOT / "aiotwin_nb/course/checks").glob("[a-z]*.py")
    )
    messages = "\n".join(line for line in told.splitlines() if '"' in line)
    for name, solution in solutions():
        body = [line.strip() for line in solution.splitlines()[1:] if len(line.strip()) > 30 and '"""' not in line]
        assert not [line for line in body if line in messages], name


def test_every_stub_raises_its_own_message_and_has_a_docstring():
    for name in chapter_names():
        for cell in read(chapter_file(name)).cells:
            if "exercise" in tags(cell):
                assert 'raise NotImplementedError("Exercise ' in cell.source, name
                assert '"""' in cell.source, name
