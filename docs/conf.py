"""Sphinx configuration: MyST Markdown whose code runs, furo, the API from docstrings."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "Ostinato"
author = "The Ostinato authors"
copyright = "2026, The Ostinato authors"
release = metadata.version("ostinato")

extensions = ["myst_nb", "sphinx.ext.autodoc", "docstrings"]
exclude_patterns = ["_build", "jupyter_execute"]
html_theme = "furo"
html_title = f"Ostinato {release}"

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

# Every page's code runs at every build, and an error fails it.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
