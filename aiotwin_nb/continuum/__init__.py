"""What exists: the computing continuum's nodes, links and data (pure)."""

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

__all__ = ["Change", "Infrastructure", "LabelNoise", "Node", "Role", "exact", "natural_key", "natural_sorted"]
