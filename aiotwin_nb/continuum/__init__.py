"""What exists: the computing continuum's nodes, links and data (pure)."""

from aiotwin_nb.continuum.checks import Problem, check_infrastructure
from aiotwin_nb.continuum.model import (
    Change,
    Infrastructure,
    LabelNoise,
    Node,
    Role,
    exact,
    natural_key,
    natural_sorted,
)
from aiotwin_nb.continuum.original_csv import read_nodes_csv, write_nodes_csv

__all__ = [
    "Change",
    "Infrastructure",
    "LabelNoise",
    "Node",
    "Problem",
    "Role",
    "check_infrastructure",
    "exact",
    "natural_key",
    "natural_sorted",
    "read_nodes_csv",
    "write_nodes_csv",
]
