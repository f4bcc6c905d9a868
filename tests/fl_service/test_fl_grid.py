import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fl_service.grid import InProcessGrid, Registry, node_id


def echo(message: Message, context: Context) -> Message:
    return Message(message.content, reply_to=message)


def grid_of(apps, seed=1):
    registry = Registry(7)
    for name, app in apps.items():
        registry.put(name, app, {"name": name})
    grid = InProcessGrid("ga", registry, seed)
    grid.begin_round(list(apps), 1, 1)
    return grid


def ask(grid, names):
    content = RecordDict({"arrays": ArrayRecord([np.zeros(2)]), "config": ConfigRecord({"round": 1})})
    return grid.send_and_receive([Message(content, node_id(name), "train") for name in names])


def test_replies_are_sorted_by_name_whatever_the_order_of_asking():
    grid = grid_of({"b": echo, "a": echo, "c": echo})
    assert [grid.name_of(r.metadata.src_node_id) for r in ask(grid, "cba")] == ["a", "b", "c"]


def test_an_app_that_raises_is_an_error_reply():
    def broken(message, context):
        raise ZeroDivisionError("no data")

    reply_a, reply_b = ask(grid_of({"a": broken, "b": echo}), "ab")
    assert reply_a.error.reason == "ZeroDivisionError: no data"
    assert reply_b.has_content()


@pytest.mark.parametrize("answer", [None, 3])
def test_an_app_that_returns_no_message_is_an_error_reply(answer):
    (reply,) = ask(grid_of({"a": lambda m, c: answer}), "a")
    assert "not a Flower Message" in reply.error.reason


def test_a_node_that_is_no_member_is_an_error_reply():
    grid = grid_of({"a": echo, "b": echo})
    messages = [Message(RecordDict(), node_id("b"), "train")]
    grid.begin_round(["a"], 2, 1)
    assert grid.get_node_ids() == [node_id("a")]
    (reply,) = grid.send_and_receive(messages)
    assert "not a member" in reply.error.reason


def test_apps_cannot_take_each_others_arrays_apart():
    def greedy(message, context):
        message.content.array_records["arrays"].clear()
        del message.content["config"]
        return Message(RecordDict({"m": MetricRecord({"n": 1})}), reply_to=message)

    _, reply = ask(grid_of({"a": greedy, "b": echo}), "ab")
    assert set(reply.content) == {"arrays", "config"}
    assert len(reply.content.array_records["arrays"]) == 1


def test_state_survives_a_move_to_another_aggregator():
    app = ClientApp()

    @app.train()
    def train(message, context):
        count = int(context.state.config_records["seen"]["n"]) if "seen" in context.state else 0
        context.state["seen"] = ConfigRecord({"n": count + 1})
        return Message(RecordDict({"m": MetricRecord({"count": count + 1})}), reply_to=message)

    first = grid_of({"a": app})
    ask(first, "a")
    second = InProcessGrid("la2", first._registry, 1)
    second.begin_round(["a"], 2, 1)
    (reply,) = ask(second, "a")
    assert reply.content.metric_records["m"]["count"] == 2


def test_generators_are_seeded_by_node_and_round_not_by_the_company():
    import random

    def draws(message, context):
        return Message(
            RecordDict({"m": MetricRecord({"x": random.random(), "y": float(np.random.random())})}), reply_to=message
        )

    alone = ask(grid_of({"b": draws}), "b")[0].content
    beside = ask(grid_of({"a": draws, "b": draws}), "ab")
    assert beside[1].content == alone != beside[0].content
    later = grid_of({"b": draws})
    later.begin_round(["b"], 2, 1)
    assert ask(later, "b")[0].content != alone


def test_pushed_replies_wait_until_they_are_pulled():
    grid = grid_of({"a": echo})
    ids = grid.push_messages([grid.create_message(RecordDict(), "train", node_id("a"), "1")])
    assert len(grid.pull_messages(ids)) == 1
    assert grid.pull_messages(ids) == []
