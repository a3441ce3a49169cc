"""How Sphinx builds the site: `make docs`."""

from __future__ import annotations

import logging

# The emulator must be imported before autodoc looks at a pydantic model: autodoc changes the annotations of
# pydantic's own base class, which FastAPI can't be imported with then.
import airflow_riffusion.emulator.server  # noqa: F401
from airflow_riffusion import __version__

# The theme's highlighter makes the root logger print what Airflow says while it is imported.
logging.getLogger("airflow").setLevel(logging.WARNING)

project = "airflow-riffusion"
copyright = "the authors of airflow-riffusion"  # noqa: A001 - Sphinx's name
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
highlight_language = "none"

# Anchors as on the forge, where the pages can be read as well.
myst_heading_anchors = 3

autodoc_typehints = "none"  # the `:param:` lists say what a value means
autodoc_class_signature = "mixed"
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "airflow-riffusion"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"footer_icons": []}
