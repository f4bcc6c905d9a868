"""The touches of Flower that are not public API; if one fails, look at fl_service/flower_internals.py first."""

import inspect
import logging
import subprocess
import sys

import flwr
import pytest
from flwr.app import ConfigRecord, Message, Metadata, RecordDict
from flwr.serverapp import strategy as flower

from fl_service import flower_internals
from fl_service.aggregation import SUPPORTED

CONTENT = RecordDict({"config": ConfigRecord({"a": 1})})


def test_version_is_the_pinned_one():
    assert flwr.__version__.startswith("1.41.")


def test_speak_as_sets_the_source_of_new_messages():
    flower_internals.speak_as(run_id=5, node_id=77)
    message = Message(CONTENT, 9, "train")
    assert (message.metadata.run_id, message.metadata.src_node_id) == (5, 77)


def test_stamp_gives_the_id_that_a_reply_refers_to():
    flower_internals.speak_as(1, 1)
    message = Message(CONTENT, 9, "train")
    flower_internals.stamp(message, "m-1")
    assert message.metadata.message_id == "m-1"
    assert Message(CONTENT, reply_to=message).metadata.reply_to_message_id == "m-1"


def test_a_delivered_message_is_replied_to_as_if_it_had_been_sent_here():
    flower_internals.speak_as(1, 9)
    metadata = Metadata(1, "m-1", 5, 9, "", "g", 1.0, 3600.0, "train")
    message = flower_internals.delivered(CONTENT, metadata)
    assert message.metadata.created_at == 1.0
    reply = Message(CONTENT, reply_to=message).metadata
    assert (reply.src_node_id, reply.dst_node_id, reply.reply_to_message_id, reply.group_id) == (9, 5, "m-1", "g")


def test_empty_run_has_the_id():
    assert flower_internals.empty_run(12).run_id == 12


def test_flower_is_quiet_but_warns():
    assert logging.getLogger("flwr").getEffectiveLevel() == logging.WARNING


@pytest.mark.parametrize("name", SUPPORTED)
def test_strategies_take_the_arguments_that_we_manage(name):
    parameters = inspect.signature(getattr(flower, name)).parameters
    assert {"fraction_train", "min_train_nodes", "min_available_nodes"} <= parameters.keys()


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("fl_service", ["torch", "flwr", "numpy"]),
        ("fl_service.hierarchy", ["torch"]),
        ("fl_service.grid", ["torch"]),
        ("fl_service.aggregation", ["torch"]),
        ("fl_service.checkpoint", ["torch"]),
        ("fl_service.roles.global_aggregator", ["torch", "sklearn", "scipy", "pandas"]),
        ("fl_service.roles.local_aggregator", ["torch", "sklearn", "scipy", "pandas"]),
        ("fl_service.roles.client", ["torch"]),
        ("fl_service.tasks", ["torch", "flwr", "sklearn", "torchvision"]),
    ],
)
def test_imports_stay_light(module, absent):
    code = f"import sys, {module}; sys.exit(','.join(m for m in {absent} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_telemetry_and_update_checks_are_off():
    code = "import os, fl_service; print(os.environ['FLWR_TELEMETRY_ENABLED'], os.environ['FLWR_DISABLE_UPDATE_CHECK'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1"]


def test_only_one_module_touches_internals():
    from pathlib import Path

    root = Path(flower_internals.__file__).parent
    for file in root.rglob("*.py"):
        text = file.read_text()
        if file.name != "flower_internals.py":
            assert "flwr.supercore" not in text, file
            assert '"_message_id"' not in text, file
