"""Notebooks without a browser (strict papermill, recorded results), and JupyterLab or Voila on copies of ours.

In a notebook, `record` keeps values as its results:

>>> from aiotwin_nb.notebook import record
>>> record(final_accuracy=94.0)
recorded: final_accuracy = 94.0
"""

from aiotwin_nb.notebook.execute import execute_notebook, results_path
from aiotwin_nb.notebook.results import record

__all__ = ["execute_notebook", "record", "results_path"]
