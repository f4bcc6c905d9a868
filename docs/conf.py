"""Sphinx's configuration; docs/build.py gathers the sources. Neither the build nor the built pages ask a network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "_ext"))

from aiotwin_nb import __version__

project = "AIoTwin Lab"
author = "the AIoTwin Lab's contributors"
release = version = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinxarg.ext", "mathml"]
exclude_patterns = ["_ext", "_static"]

# Notebooks are shown with the outputs that were committed.
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # these would come from another host; panels leave a picture beside them
nb_mime_priority_overrides = [
    ("html", "application/vnd.jupyter.widget-view+json", None),
    ("html", "application/vnd.aiotwin.results+json", None),
    ("html", "text/html", 0),
    ("html", "image/png", 10),
]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

default_role = "literal"  # docstrings write names in single backticks
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90

# Every reference is checked; what is no public name here and what belongs to other packages has no page.
nitpicky = True
nitpick_ignore_regex = [
    (
        "py:class",
        r"(pathlib|collections|matplotlib|decimal|subprocess|typing|t|pd|enum)\..*|Path|Source|optional|tuple\[.*",
    ),
    ("py:class", r"aiotwin_nb\.(orchestration|sweep|scenario|widgets|planning|decision|continuum)\..*"),
]
# What notebooks record is for programs; the command line's domain takes no part in MyST's search for targets.
suppress_warnings = ["mystnb.unknown_mime_type", "myst.domains"]

html_theme = "furo"
html_title = f"AIoTwin Lab {version}"
html_static_path = ["_static"]
html_css_files = ["aiotwin.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = html_show_copyright = False
smartquotes = False  # --set stays --set
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072B2", "color-brand-content": "#0072B2"},
    "dark_css_variables": {"color-brand-primary": "#56B4E9", "color-brand-content": "#56B4E9"},
}
