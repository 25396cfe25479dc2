"""Sphinx: furo and MyST, offline. ``make docs`` builds with every warning an error."""

import pvdrace

project = "pvdrace"
author = "the pvdrace authors"
release = version = pvdrace.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = False
# An annotation may say Connector or Connection, which pvdrace and pvdrace.sync both have.
suppress_warnings = ["ref.python"]
default_role = "py:obj"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}

html_theme = "furo"
html_title = f"pvdrace {release}"
