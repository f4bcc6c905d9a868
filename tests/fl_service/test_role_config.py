import json
import subprocess
import sys
from pathlib import Path

import pytest

from fl_service.errors import ConfigError
from fl_service.roles import CLIENT, GLOBAL_AGGREGATOR, LOCAL_AGGREGATOR
from fl_service.roles.config import RoleConfig, spec_for
from fl_service.spec import TrainingSpec
from fl_service.transport.link import Address

GOOD = {
    "name": "n5",
    "spec": {
        "seed": 1,
        "task": {"file": "task.py"},
        "aggregation_global": ["FedAdam", {}],
        "aggregation_local": ["FedAvg", {}],
    },
    "certificates": "certificates",
    "parent": {"name": "n2", "at": "n2.fl:9000"},
    "timings": {"late": 8},
}


def test_paths_are_relative_to_the_file_and_all_goes_round_through_json(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(GOOD))
    config = RoleConfig.load(tmp_path / "c.json", CLIENT)
    assert config.certificates == tmp_path / "certificates"
    assert config.spec.task["file"] == str(tmp_path / "task.py")
    assert config.parent == Address("n2", "n2.fl:9000")
    assert (config.timings.late, config.timings.beat) == (8, 1.0)
    assert RoleConfig.of(json.loads(config.to_json()), Path("/")) == config


@pytest.mark.parametrize(
    ("change", "role", "words"),
    [
        ({"nmae": 1}, CLIENT, "Did you mean 'name'"),
        ({"parent": None}, CLIENT, "parent: is missing"),
        ({"parent": {"name": "n2", "at": "n2"}}, CLIENT, "parent.at: 'n2' is not HOST:PORT"),
        ({"parent": {"name": "n2"}}, CLIENT, "parent: "),
        ({"listen": "9000"}, GLOBAL_AGGREGATOR, "listen: '9000' is not HOST:PORT"),
        ({}, LOCAL_AGGREGATOR, "listen: is missing"),
        ({"spec": {"task": {}}}, CLIENT, "spec: "),
        ({"spec": 3}, CLIENT, "spec: "),
        ({"timings": {"beat": -1}}, CLIENT, "timings.beat"),
        ({"name": ""}, CLIENT, "name: ''"),
        ({"client_app": {"file": "a.py"}}, CLIENT, "client_app: "),
    ],
)
def test_bad_configurations_are_told_with_file_and_field(tmp_path, change, role, words):
    file = tmp_path / "c.json"
    file.write_text(json.dumps({key: value for key, value in {**GOOD, **change}.items() if value is not None}))
    with pytest.raises(ConfigError, match=r"c\.json") as told:
        RoleConfig.load(file, role)
    assert words in str(told.value)


def test_aggregators_are_not_given_the_users_task():
    training = TrainingSpec(1, {"file": "/home/me/task.py", "learning_rate": 0.1})
    assert spec_for(GLOBAL_AGGREGATOR, training, "task.py").task == {"learning_rate": 0.1}
    assert spec_for(CLIENT, training, "task.py").task == {"learning_rate": 0.1, "file": "task.py"}


def fl_service(*arguments):
    command = [sys.executable, "-m", "fl_service", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["clinet"], "Did you mean 'client'"),
        (["client"], "--config: is missing"),
        (["client", "--config", "/nowhere.json"], "/nowhere.json: cannot be read"),
    ],
)
def test_mistakes_on_the_command_line_end_with_2(arguments, words):
    done = fl_service(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_certificates_end_with_2(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(GOOD))
    done = fl_service("client", "--config", str(tmp_path / "c.json"))
    assert done.returncode == 2
    assert "ca.crt" in done.stderr
    assert "Traceback" not in done.stderr
