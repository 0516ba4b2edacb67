"""Sphinx configuration: every warning is an error, every ``{doctest}`` block is run."""

from __future__ import annotations

project = "hina_func"
author = "the hina_func authors"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
root_doc = "index"

html_theme = "furo"
html_title = "hina_func"
html_static_path = ["_static"]

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # Args say what is allowed; aliases and unions would bury the defaults
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False

nitpick_ignore = [("py:class", "collections.abc.Mapping")]

# Docstring examples are run by pytest, the blocks of the pages by this builder and by tests/test_docs.py.
doctest_test_doctest_blocks = ""
doctest_global_setup = "from importlib.util import find_spec"
