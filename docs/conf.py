"""Builds the pages in this folder and the API reference: ``python -m sphinx -W docs docs/_build/html``."""

import mmsampriors  # (before mmagic, which it mends)

project = 'mmsampriors'
author = copyright = 'The mmsampriors authors'
release = version = mmsampriors.__version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.autosummary', 'sphinx.ext.napoleon']
exclude_patterns = ['_build']
templates_path = ['_templates']

html_theme = 'sphinx_rtd_theme'
html_theme_options = dict(navigation_depth=3)
html_show_sphinx = False

# Links such as cost.md#in-training, as GitHub makes them.
myst_heading_anchors = 3

# A page for each module, written at build time: docs/_templates/module.rst.
autosummary_generate = True
autodoc_member_order = 'bysource'
autodoc_typehints = 'none'  # the docstrings name the types
autodoc_default_options = dict(members=True)
napoleon_use_ivar = True
