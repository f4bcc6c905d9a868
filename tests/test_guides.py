"""Each lab has a guide; its numbers come from the committed results, its commands work, its pictures are there."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

from aiotwin_nb import api, plan
from aiotwin_nb.cli import _parser
from aiotwin_nb.scenario import lab_names, parse_override

LABS = Path(__file__).parent.parent / "labs"
sys.path.insert(0, str(LABS))
import expected  # noqa: E402  (a script beside the guides)

RESULTS = json.loads((LABS / "expected.json").read_text())
PARTS = ("## The story", "## Steps", "## What to expect", "## Questions", "## For the host")


def guide(lab):
    return (LABS / f"{lab}.md").read_text(encoding="utf-8")


def test_there_are_labs_and_guides_for_all_of_them():
    assert lab_names() == sorted(lab_names())
    assert set(lab_names()) == set(expected.guides())
    assert set(RESULTS) == set(expected.scenarios())
    handbook = (LABS / "README.md").read_text(encoding="utf-8")
    assert all(f"[{lab}]({lab}.md)" in handbook for lab in lab_names())


@pytest.mark.parametrize("lab", lab_names())
def test_a_guide_has_all_its_parts_and_the_committed_numbers(lab):
    text = guide(lab)
    places = [text.index(part) for part in PARTS]
    assert places == sorted(places)
    for word in ("**In short.**", "*Timing:*", "*Common mistakes:*"):
        assert word in text
    assert expected.with_block(text, expected.block(lab, RESULTS)) == text, "python labs/expected.py --tables"


@pytest.mark.parametrize("lab", lab_names())
def test_pictures_are_there_have_words_and_are_not_blank(lab):
    found = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", guide(lab))
    assert f"img/{lab}-topology.png" in [path for _, path in found]
    for words, path in found:
        assert len(words) > 20
        picture = imread(LABS / path)[..., :3].mean(axis=2)
        assert 0.001 < (picture < 0.6).mean() < 0.5


@pytest.mark.parametrize("name", list(RESULTS))
def test_results_are_of_ten_seeds_and_say_what_the_table_says(name):
    runs = RESULTS[name]["runs"]
    policies = dict.fromkeys(run["policy"] for run in runs)
    for policy in policies:
        assert [run["seed"] for run in runs if run["policy"] == policy] == list(range(1, 11))
    budget = api.resolve(name, {}).objective.budget
    assert all(run["total_cost"] <= 1.03 * float(budget) for run in runs)  # hands-on may go over it by a round
    table = "\n".join(expected.table(name, RESULTS[name]))
    first = [run["final_accuracy"] for run in runs if run["policy"] == next(iter(policies))]
    assert f"| {sum(first) / 10:.1f} | {min(first):.1f} to {max(first):.1f} |" in table


def commands():
    """(lab, command) of every `aiotwin …` in a guide, and `(--set …)` as a change of the guide's own lab."""
    for lab in lab_names():
        for text in re.findall(r"`(aiotwin (?:run|plan|compare|sweep) [^`…]+|--set [^`]+)`", guide(lab)):
            yield lab, f"aiotwin plan {lab} {text}" if text.startswith("--set") else text


@pytest.mark.parametrize(("lab", "command"), list(commands()))
def test_the_commands_of_the_guides_are_understood(lab, command):
    options = _parser().parse_args(shlex.split(command)[1:])
    source = getattr(options, "scenario", None) or options.source
    values = dict(parse_override(text) for text in options.overrides)
    scenario = api.resolve(source, values)
    if options.verb == "sweep":
        for key, chosen in api.read_grid(source, options.grid).items():
            for value in chosen:
                api.resolve(source, {key: value})
    elif "manual" not in command:
        assert plan(scenario)["initial"]["round_cost"] > 0


def test_a_guide_with_other_numbers_would_be_seen():
    text = guide("improvement").replace("| rounds | 53 |", "| rounds | 54 |")
    assert text != guide("improvement")
    assert expected.with_block(text, expected.block("improvement", RESULTS)) != text


@pytest.mark.slow
@pytest.mark.parametrize("lab", ["improvement", "removal"])
def test_running_it_again_gives_the_committed_results(lab, tmp_path):
    """Costs and decisions equal, accuracies within a point."""
    recorded = [run for run in RESULTS[lab]["runs"] if run["policy"] != "default"][:2]
    swept = api.run_sweep(lab, {}, seeds=[run["seed"] for run in recorded], out=tmp_path)
    for before, outcome in zip(recorded, swept.outcomes, strict=True):
        now = outcome.result
        assert now["total_cost"] == before["total_cost"]
        assert [r["decision"] for r in now["reconfigurations"]] == before["decisions"]
        assert abs(now["final_accuracy"] - before["final_accuracy"]) <= 1
