"""Sweeps: one scenario or notebook over a grid of values and seeds, in several processes, with one tidy table."""

from aiotwin_nb.sweep.cells import Cell, Outcome, run_cells
from aiotwin_nb.sweep.grid import combinations, split_grid
from aiotwin_nb.sweep.table import Sweep

__all__ = ["Cell", "Outcome", "Sweep", "combinations", "run_cells", "split_grid"]
