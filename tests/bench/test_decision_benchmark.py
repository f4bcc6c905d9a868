import json

import pytest

from aiotwin_nb.bench import decisions, recorded
from aiotwin_nb.bench.branches import Case, from_json, is_held_out, run_case, to_json
from aiotwin_nb.bench.population import DATA_SETS, HARD_FROM, is_hard, scenario
from aiotwin_nb.bench.scoring import METHODS, Method, decide, interpolated, summary
from aiotwin_nb.decision import Judgement, policies


def test_a_scenario_is_a_function_of_its_number():
    assert scenario("digits", 5) == scenario("digits", 5)
    assert scenario("digits", 5) != scenario("digits", 7)


def test_the_population_has_every_kind_of_event_and_only_valid_scenarios():
    names = {scenario(data_set, n).name.rpartition("-")[0] for data_set in DATA_SETS for n in range(80)}
    assert names == {
        "join-useful", "join-rich", "join-redundant", "join-mislabelled", "join-mixed", "join-tiny", "leave", "move",
    }  # fmt: skip


@pytest.mark.parametrize("data_set", DATA_SETS)
def test_a_part_of_the_later_scenarios_is_hard(data_set):
    first = HARD_FROM[data_set]
    assert not any(is_hard(data_set, number) for number in range(first))
    hard = [number for number in range(first, first + 200) if is_hard(data_set, number)]
    assert 30 <= len(hard) <= 70
    for number in hard[:20]:
        made = scenario(data_set, number)
        assert made.name.startswith("hard-")
        clients = [node for node in made.nodes if node.role == "client"]
        clients += [node for event in made.events for node in event.add or ()]
        assert all(node.label_noise.share >= 0.15 for node in clients), made.name


def question(extra):
    window = [(r, 50.0 + r, 1.0) for r in range(11, 14 + extra)]
    return {
        "before": [(r, 5.0 * r, 1.0) for r in range(11)], "window": window, "round_cost_before": 100,
        "round_cost_after": 120, "spent": 1500, "budget": 5000, "revert_cost": 0, "objective": "total_budget",
        "target": None, "policy": "rva", "trend": "log", "context": {},
    }  # fmt: skip


CASE = Case("digits", "made-up", 1, 3, {e: question(e) for e in range(4)}, 80.0, {0: 84.0, 3: 81.0})


def method(name):
    return next(m for m in METHODS if m.name == name)


def test_scores():
    kept, reverted = (decide(method(name), CASE, interpolated) for name in ("always_keep", "always_revert"))
    assert (kept.final, kept.regret, reverted.regret) == (80.0, 4.0, 0.0)
    figures = summary([kept])
    assert (figures["right"], figures["mean_regret"], figures["coverage"]) == (0.0, 4.0, None)


def test_undecided_counts_as_what_the_run_then_did():
    @policies.register("waits_for_bench_tests")
    def waits(evidence):
        if evidence.context["extra_rounds_left"]:
            return Judgement("undecided", "wait", extend=True)
        return Judgement("reverted", "now")

    outcome = decide(Method("waits", "waits_for_bench_tests", context=True, extends=True), CASE, interpolated)
    assert (outcome.extra_rounds, outcome.final, outcome.regret) == (3, 81.0, 3.0)


def test_an_unresolved_decision_counts_as_kept():
    case = Case("digits", "short", 1, 3, {0: {**question(0), "window": [(11, 50.0, 1.0)]}}, 80.0, {0: 84.0})
    outcome = decide(method("default, rows alone"), case, interpolated)
    assert (outcome.decision, outcome.final) == ("undecided", 80.0)


def test_a_case_survives_json():
    assert from_json(to_json(CASE, 1)) == from_json(json.dumps(json.loads(to_json(CASE, 1))))
    assert from_json(to_json(CASE, 1)).reverted == CASE.reverted
    assert from_json(to_json(None, 4)) is None


def test_seeds_are_split_by_parity():
    assert [is_held_out(n) for n in range(4)] == [False, True, False, True]


def test_recorded_runs_ask_what_the_original_was_asked(shared):
    asked = recorded.recorded_question(shared / "reference" / "icmlcn" / "1a")
    assert (asked["spent"], asked["round_cost_before"], asked["round_cost_after"]) == (27126, 1716, 1980)
    assert [row[0] for row in asked["window"]] == [11, 12, 13, 14, 15]


def test_without_recorded_runs_there_is_a_sentence(tmp_path):
    assert recorded.forecasts(tmp_path) == []


@pytest.mark.slow
def test_branches_agree_with_compare():
    """What the shared prefix gives is what two separate runs give."""
    from aiotwin_nb.api import training_spec
    from aiotwin_nb.orchestration.compare import compare_branches
    from aiotwin_nb.orchestration.state import Rules
    from aiotwin_nb.runtime.stacked import StackedRuntime
    from aiotwin_nb.tracking import NullTracker

    for number in (1, 7):
        one = scenario("digits", number)
        case = run_case(one)
        (branch,) = compare_branches(Rules.of(one), lambda: StackedRuntime(training_spec(one)), NullTracker())  # noqa: B023
        assert case.kept == branch["kept"]["final_accuracy"]
        if not one.name.startswith("leave"):  # compare lets nodes return on the imposed branch only; so does the bench
            assert case.reverted[0] == branch["reverted"]["final_accuracy"]


@pytest.mark.slow
def test_a_tiny_benchmark_writes_its_results(tmp_path):
    results = decisions.bench_decisions(
        seeds=range(1, 6, 2), data_sets=["digits"], out=tmp_path, processes=1, recorded_runs=tmp_path
    )
    assert set(results["data_sets"]["digits"]) == {m.name for m in METHODS}
    assert "always_keep" in decisions.as_text(results)
    assert {p.name for p in tmp_path.iterdir()} >= {"decisions-summary.csv", "decisions-cases.csv", "decisions.png"}
    again = decisions.bench_decisions(seeds=range(1, 6, 2), data_sets=["digits"], out=tmp_path, recorded_runs=tmp_path)
    assert (
        again["data_sets"]["digits"]["always_keep"]["cases"] == results["data_sets"]["digits"]["always_keep"]["cases"]
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--data-set", "digit"], ["'digit'", "digits"]), (["--seeds", "2,4", "--data-set", "digits"], ["held out"])],
)
def test_bad_questions_are_refused(arguments, words, capsys, monkeypatch):
    from aiotwin_nb.cli import main

    monkeypatch.setattr(decisions, "_cases", lambda *rest: [])
    assert main(["bench", "decisions", *arguments]) == 2
    printed = capsys.readouterr().err
    assert all(word in printed for word in words)
