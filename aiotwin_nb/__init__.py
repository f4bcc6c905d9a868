"""Adaptive orchestration of hierarchical federated learning, in a notebook."""

__version__ = "0.1.0"
