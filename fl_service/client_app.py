"""The Flower ClientApp of the FL service: trains a task on one client's data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fl_service.records import to_arrays, to_record
from fl_service.spec import ClientNode
from fl_service.tasks.base import Arrays, FitConfig, Task


def make_client_app(task: Task) -> ClientApp:
    """Return a ClientApp whose train function fits the task.

    The client is described by the Context's node configuration (`ClientNode.to_config`), the training by the config in
    the message: ``epochs``, ``lr``, ``batch-size``, ``momentum``, ``optimizer``, ``proximal-mu``, ``round``,
    ``local-round``.
    The reply has arrays and the metrics num-examples, train_loss, seconds and update_norm (‖w_after − w_before‖₂).
    """
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        began = time.perf_counter()
        before = to_arrays(message.content.array_records["arrays"])
        config = fit_config(message.content.config_records["config"])
        result = task.fit(before, ClientNode.from_config(context.node_config), config)
        metrics: dict[str, Any] = {
            "num-examples": result.samples,
            "update_norm": update_norm(before, result.arrays),
            "seconds": time.perf_counter() - began,
        }
        if result.train_loss is not None:
            metrics["train_loss"] = result.train_loss
        content = RecordDict({"arrays": to_record(result.arrays), "metrics": MetricRecord(metrics)})
        return Message(content, reply_to=message)

    return app


def fit_config(config: Mapping[str, Any]) -> FitConfig:
    """Read a training configuration from a message's ConfigRecord."""
    return FitConfig(
        epochs=int(config["epochs"]),
        learning_rate=float(config["lr"]),
        batch_size=int(config["batch-size"]),
        momentum=float(config.get("momentum", 0.0)),
        optimizer=str(config.get("optimizer", "sgd")),
        proximal_mu=float(config.get("proximal-mu", 0.0)),
        round=int(config.get("round", 0)),
        local_round=int(config.get("local-round", 1)),
    )


def update_norm(before: Arrays, after: Arrays) -> float:
    """Return ‖w_after − w_before‖₂ over all arrays of a model."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = (float(np.square(after[key] - before[key], dtype=np.float64).sum()) for key in before)
        return float(np.sqrt(sum(squares)))
