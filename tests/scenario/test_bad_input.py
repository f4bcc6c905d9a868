"""Every mistake gets one clear message: file, line, field, value, what is allowed; nothing is written."""

import re

import pytest

from aiotwin_nb.cli import main
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.scenario import lab_path, load_scenario

HANDS_ON = lab_path("hands-on").read_text()
IMPROVEMENT = lab_path("improvement").read_text()


def edited(tmp_path, old, new, text=IMPROVEMENT):
    assert old in text, f"the lab no longer has {old!r}"
    path = tmp_path / "edited.yaml"
    path.write_text(text.replace(old, new, 1))
    line = path.read_text()[: path.read_text().find(new)].count("\n") + 1 if new else None
    return path, line


CASES = {
    "unknown top field": ("training:", "trainin:", ["trainin", "unknown field", "Did you mean 'training'"]),
    "unknown nested field": (
        "window: 5",
        "widnow: 5",
        ["validation.widnow", "policy, trend, window, arm", "Did you mean 'window'"],
    ),
    "unknown field of a node": ("{id: n1, role", "{id: n1, rool", ["nodes[0].rool", "Did you mean 'role'"]),
    "unknown strategy": (
        "name: min_comm_cost",
        "name: min_com_cost",
        ["strategy.name", "min_com_cost", "flat", "Did you mean 'min_comm_cost'"],
    ),
    "unknown policy": ("policy: rva", "policy: rvaa", ["validation.policy", "'rvaa'", "always_keep"]),
    "unknown trend": ("trend: log", "trend: lgo", ["validation.trend", "'lgo'", "log_original"]),
    "unknown role": (
        "role: global_aggregator",
        "role: globl_aggregator",
        ["nodes[0].role", "globl_aggregator", "Did you mean 'global_aggregator'"],
    ),
    "unknown arm": ("arm: fewer_rounds", "arm: sometimes", ["validation.arm", "sometimes", "always"]),
    "negative cost": ("n2: 20", "n2: -20", ["nodes[3].links.n2", "-20", "greater than or equal to 0"]),
    "cost that is no number": ("n2: 20", "n2: cheap", ["nodes[3].links.n2", "'cheap'"]),
    "infinite cost": ("n2: 20", "n2: .inf", ["nodes[3].links.n2"]),
    "negative window": ("window: 5", "window: 0", ["validation.window", "0", "greater than or equal to 1"]),
    "no budget": ("budget: 100000", "budget: -3", ["objective.budget", "-3", "greater than 0"]),
    "node twice": ("{id: n5,", "{id: n4,", ["node 'n4'", "twice", "line"]),
    "link to an unknown node": ("links: {n1: 120, n2: 20, n3: 60}", "links: {n1: 120, n2: 20, n33: 60}", ["n33", "n3"]),
    "no GA": ("role: global_aggregator", "role: local_aggregator", ["global_aggregator"]),
    "two GAs": ("{id: n2, role: local_aggregator", "{id: n2, role: global_aggregator", ["n1", "n2"]),
    "no path to any LA": ("links: {n1: 120, n2: 20, n3: 60}, data: {0", "links: {n1: 120}, data: {0", ["n4"]),
    "event on an unknown node": (
        "add: [{id: n9",
        "remove: [n99]\n    add: [{id: n9",
        ["events[0]", "'n99'", "known are n1"],
    ),
    "event after the last round": (
        "max_rounds: 100",
        "max_rounds: 10",
        ["events[0].after_round", "10", "training.max_rounds"],
    ),
    "event adds a node that is there": ("add: [{id: n9", "add: [{id: n4", ["events[0]", "n4", "already"]),
    "event that does nothing": ("add: [{id: n9", "after_round: 12\n  - add_: [{id: n9", ["events"]),
    "the GA leaves": (
        "add: [{id: n9",
        "remove: [n1]\n    add: [{id: n9",
        ["events[0].remove[0]", "global aggregator cannot leave"],
    ),
    "a date that is none": ("name: improvement", "name: 2024-13-45", ["not valid YAML"]),
    "a number that is none": ("seed: 1", "seed: 0x_", ["not valid YAML"]),
    "control characters": ("name: improvement", "name: a\x01b", ["not valid YAML"]),
    "no nodes": ("nodes:", "seed_: 1\nnode_:", ["nodes: is missing"]),
    "not YAML": ("nodes:", "nodes: [", ["not valid YAML"]),
    "key twice": ("seed: 1", "seed: 1\nseed: 2", ["seed", "twice"]),
    "seed that is a word": ("seed: 1", "seed: one", ["seed", "'one'"]),
    "model size that is a word": ("model_size_mb: 3.3", "model_size_mb: big", ["model_size_mb", "auto"]),
    "cost_min without target": ("type: total_budget", "type: cost_min", ["objective", "target_accuracy"]),
    "task from two sources": ("name: digits", "name: digits, file: task.py", ["task", "not both"]),
}


@pytest.mark.parametrize(("old", "new", "words"), CASES.values(), ids=CASES.keys())
def test_a_mistake_in_the_file_is_named_with_its_line(tmp_path, old, new, words):
    path, _ = edited(tmp_path, old, new)
    with pytest.raises(InvalidInput) as error:
        load_scenario(path)
    message = str(error.value)
    for word in words:
        assert word in message, message
    assert re.search(rf"{re.escape(str(path))}(:\d+)?:", message), message


def test_the_line_is_the_right_one(tmp_path):
    path, line = edited(tmp_path, "widnow", "widnow", IMPROVEMENT.replace("window: 5", "widnow: 5"))
    with pytest.raises(InvalidInput, match=rf":{line}: validation\.widnow"):
        load_scenario(path)


def test_several_mistakes_are_reported_together(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(IMPROVEMENT.replace("window: 5", "window: 0").replace("batch_size: 32", "batch_size: 0"))
    with pytest.raises(InvalidInput) as error:
        load_scenario(path)
    assert "task.batch_size" in str(error.value)
    assert "validation.window" in str(error.value)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("validation.widnow=3", ["--set validation.widnow", "Did you mean 'window'"]),
        ("nodes[99].links=3", ["--set nodes[99].links", "no place in a list of 8"]),
        ("seed", ["must look like PATH=VALUE"]),
        ("..=3", ["names no field"]),
        ("name=2024-13-45", ["not valid YAML"]),
        ("training.epochs=none", ["--set training.epochs", "'none'"]),
        ("name.first=a", ["name is 'improvement', which has no fields"]),
    ],
)
def test_mistakes_in_overrides_name_the_override(capsys, setting, words):
    assert main(["plan", "improvement", "--set", setting]) == 2
    message = capsys.readouterr().err
    for word in words:
        assert word in message


RUN_CASES = {
    "budget below one round": (["--set", "objective.budget=1000"], ["objective.budget", "1000", "1320"]),
    "label not in the data set": (["--set", "nodes[3].data={12: 40}"], ["n4", "12"]),
    "a label in a later change of data": (["--set", "events=[{after_round: 2, data: {n5: {99: 10}}}]"], ["n5", "99"]),
    "more samples than exist": (["--set", "nodes[3].data={0: 4000}"], ["n4", "4000"]),
    "a joining node's label": (["--set", "events[0].add[0].data={17: 40}"], ["n9", "17"]),
    "unknown task": (["--set", "task.name=digitz"], ["digitz", "digits"]),
    "unknown Flower strategy": (["--set", "aggregation.global.name=FedAvgg"], ["FedAvgg", "FedAvg"]),
    "unknown Flower argument": (["--set", "aggregation.local={name: FedProx, args: {my: 1}}"], ["my", "proximal_mu"]),
    "missing task.py": (["--set", "task={file: nowhere.py}"], ["nowhere.py"]),
    "unknown runtime": (["--runtime", "kubernets"], ["kubernets", "embedded"]),
    "unknown strategy argument": (["--set", "strategy.args={gamma: 1}"], ["gamma", "min_comm_cost"]),
    "links that cost nothing": (
        ["--set", "strategy.name=flat"] + [f"--set=nodes[{i}].links={{n1: 0, n2: 0, n3: 0}}" for i in range(3, 8)],
        ["costs 0"],
    ),
}


@pytest.mark.parametrize(("arguments", "words"), RUN_CASES.values(), ids=RUN_CASES.keys())
def test_a_run_refuses_before_anything_is_written(tmp_path, capsys, arguments, words):
    out = tmp_path / "run"
    assert main(["run", "improvement", "--out", str(out), *arguments]) == 2
    captured = capsys.readouterr()
    for word in words:
        assert word in captured.err, captured.err
    assert "Traceback" not in captured.err
    assert not captured.out
    assert not out.exists()


def test_an_unknown_scenario_lists_the_labs(capsys):
    assert main(["run", "improvemnt"]) == 2
    message = capsys.readouterr().err
    assert "improvement" in message
    assert "Did you mean 'improvement'?" in message


def test_a_run_directory_that_is_not_empty_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("keep")
    assert main(["run", "improvement", "--out", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_binary_and_endless_files_are_refused(tmp_path, capsys):
    for name, content in {
        "binary": bytes(range(256)),
        "loop": b"nodes: &a [*a]",
        "deep": b"[" * 5000,
        "list": b"- 1",
        "empty": b"",
    }.items():
        path = tmp_path / f"{name}.yaml"
        path.write_bytes(content)
        assert main(["plan", str(path)]) == 2, name
        message = capsys.readouterr().err
        assert str(path) in message
        assert "Traceback" not in message


def test_merge_keys_can_be_overridden(tmp_path):
    text = IMPROVEMENT.replace("- {id: n4, role: client, links", "- &client {id: n4, role: client, links")
    path = tmp_path / "merged.yaml"
    start = text.index("  - {id: n8")
    end = text.index("\n", start)
    path.write_text(text[:start] + "  - {<<: *client, id: n8}" + text[end:])
    nodes = {node.id: node for node in load_scenario(path).nodes}
    assert nodes["n8"].data == nodes["n4"].data


def test_names_that_are_too_long_are_refused(capsys):
    for arguments in (["plan", "x" * 300], ["status", "x" * 300], ["run", "improvement", "--out", "x" * 300]):
        assert main(arguments) in (1, 2)
        assert "Traceback" not in capsys.readouterr().err
