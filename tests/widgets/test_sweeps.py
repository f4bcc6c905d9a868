"""Pictures of sweeps: what is drawn, and what is said to those who do not see it."""

from pathlib import Path

import pytest

from aiotwin_nb.sweep import Cell, Outcome, Sweep
from aiotwin_nb.widgets.figures import png
from aiotwin_nb.widgets.sweeps import draw_curves, draw_sweep


def outcome(values, accuracy, decision="kept"):
    history = [{"round": r, "accuracy": accuracy * r / 10, "total_cost": 100 * r} for r in range(11)]
    result = {
        "status": "finished", "rounds": 10, "final_accuracy": accuracy, "best_accuracy": accuracy, "final_loss": 0.1,
        "total_cost": 1000, "budget": 1000, "stop_reason": "budget", "history": history,
        "reconfigurations": [{"after_round": 4, "decision": decision}] if decision else [],
    }  # fmt: skip
    return Outcome(Cell(values, {}, ""), result)


def sweep(keys, outcomes, runtime="stacked"):
    return Sweep("improvement", keys, runtime, Path("out"), outcomes)


@pytest.fixture
def two_keys():
    return sweep(
        ("window", "strategy"),
        [
            outcome({"window": w, "strategy": s, "seed": seed}, 80 + w + seed, "kept" if seed == 1 else "reverted")
            for w in (3, 8)
            for s in ("flat", "share", "shape")
            for seed in (1, 2)
        ],
    )


def test_columns_are_the_second_key_and_rows_the_measures(two_keys):
    figure = draw_sweep(two_keys)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["strategy = flat", "strategy = share", "strategy = shape"]
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert labels == ["final accuracy (%)", "rounds", "spent (cost units)", "decisions"]
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == ["3", "8"]
    means = next(line for line in figure.axes[0].lines if line.get_marker() == "D")
    assert list(means.get_ydata()) == [84.5, 89.5]
    words = [text.get_text() for text in figure.axes[-1].texts]
    assert words == ["1 kept", "1 reverted"] * 2


def test_the_label_says_it_in_words(two_keys):
    label = draw_sweep(two_keys).get_label()
    assert "window 3, strategy flat: mean 84.5, 84 to 85, 1 kept, 1 reverted" in label


def test_a_curve_for_each_run(two_keys):
    figure = draw_curves(two_keys)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == 6
    assert [len([line for line in axes.lines if len(line.get_xdata()) > 1]) for axes in panels] == [2] * 6
    assert {line.get_linestyle() for line in panels[0].lines if len(line.get_xdata()) > 1} == {"-", "--"}


@pytest.mark.parametrize(
    ("keys", "values"),
    [((), [{"seed": 1}, {"seed": 2}]), (("name",), [{"name": n, "seed": 1} for n in ("a", "b")])],
)
def test_few_keys_and_words_as_values_are_drawn(keys, values):
    outcomes = [outcome(v, 80, None) for v in values]
    swept = sweep(keys, outcomes)
    for figure in (draw_sweep(swept), draw_curves(swept)):
        assert png(figure).startswith(b"\x89PNG")


def test_what_failed_and_what_is_too_much_is_said():
    many = [outcome({"a": 1, "b": b, "seed": 1}, 80) for b in range(14)]
    many[0] = Outcome(many[0].cell, None, "it failed")
    swept = sweep(("a", "b"), many)
    figure = draw_sweep(swept)
    assert "no result" in [text.get_text() for text in figure.axes[0].texts]
    assert "9 more are in results.csv" in figure._suptitle.get_text()
    assert "2 more are in results.csv" in draw_curves(swept)._suptitle.get_text()


def test_a_notebooks_numbers_are_its_measures():
    results = [{"results": {"score": 1.5 * seed, "word": "x", "parts": {"n": seed}}} for seed in (1, 2)]
    outcomes = [Outcome(Cell({"seed": seed}, {}, ""), result) for seed, result in zip((1, 2), results, strict=True)]
    swept = sweep((), outcomes, runtime=None)
    assert swept.measures() == ["score", "parts.n"]
    assert [axes.get_ylabel() for axes in draw_sweep(swept).axes] == ["score", "parts.n"]
    assert swept.summary() == [
        {
            "runs": 2,
            "score": {"mean": 2.25, "least": 1.5, "most": 3.0},
            "parts.n": {"mean": 1.5, "least": 1.0, "most": 2.0},
        }
    ]
