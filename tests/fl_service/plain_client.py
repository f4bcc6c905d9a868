"""A user's Flower ClientApp without PyTorch: its update is tiny, it counts its calls in Context.state, and it can be bad.

The file NAME.mode in the folder PLAIN_FOLDER says how: `sleep SECONDS`, `nan`, `shape`, `oversize`, `fail`.
"""

import os
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    name = str(context.node_config["name"])
    file = Path(os.environ.get("PLAIN_FOLDER", "/nonexistent")) / f"{name}.mode"
    mode, *arguments = file.read_text().split() if file.exists() else [""]
    calls = int(context.state.config_records["calls"]["count"]) if "calls" in context.state else 0
    if "PLAIN_FOLDER" in os.environ:
        context.state["calls"] = ConfigRecord({"count": calls + 1})
    arrays = {k: v.numpy() + np.float32(1e-6 * (calls + 1)) for k, v in message.content.array_records["arrays"].items()}
    if mode == "sleep":
        time.sleep(float(arguments[0]))
    if mode == "fail":
        raise ValueError("I do not want to")
    if mode == "nan":
        arrays = {key: array * np.float32("nan") for key, array in arrays.items()}
    if mode == "shape":
        arrays = {key: array.ravel()[:3] for key, array in arrays.items()}
    if mode == "oversize":
        arrays["more"] = np.zeros(3_000_000, np.float32)
    content = {
        "arrays": ArrayRecord({key: Array(array) for key, array in arrays.items()}),
        "metrics": MetricRecord({"num-examples": 10 + len(name), "update_norm": 0.0}),
    }
    return Message(RecordDict(content), reply_to=message)
