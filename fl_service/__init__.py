"""The federated learning service: what runs in a process, or inside a pod, of a hierarchical Flower pipeline.

It knows nothing of the notebook package. Importing it is cheap: neither torch nor flwr is loaded until a module that
needs one of them is imported; the aggregators' modules never load torch.
"""

import os

__version__ = "0.1.0"

# Flower reads both when it is imported: no message leaves the machine unless the user asked for it.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
