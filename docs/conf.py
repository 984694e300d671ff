"""Builds the pages in this folder and the API reference: ``python -m sphinx -W docs docs/_build/html``."""

import shutil
from pathlib import Path

import mmsampriors  # (before mmagic, which it mends)

project = 'mmsampriors'
author = copyright = 'The mmsampriors authors'
release = version = mmsampriors.__version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.autosummary', 'sphinx.ext.napoleon']
exclude_patterns = ['_build']
templates_path = ['_templates']

#: Pages that show a file outside this folder. On GitHub, links lead to the file; here, to the page.
SHOWN = {
    '../configs/spd/README.md': 'configs.md',
    '../CHANGELOG.md': 'changes.md',
    '../CONTRIBUTING.md': 'contributing.md',
}

html_theme = 'sphinx_rtd_theme'
html_theme_options = dict(navigation_depth=3)
html_show_sphinx = False
html_static_path = ['_static']
html_css_files = ['wide.css']

# Links such as cost.md#in-training, as GitHub makes them.
myst_heading_anchors = 3

# A page for each module, written at build time: docs/_templates/module.rst.
autosummary_generate = True
shutil.rmtree(Path(__file__).parent / 'api', ignore_errors=True)  # pages of modules that are gone by now
autodoc_member_order = 'bysource'
autodoc_typehints = 'none'  # the docstrings name the types
autodoc_default_options = dict(members=True)
napoleon_use_ivar = True


def lead_to_pages(app, name, source):
    """Makes links to the files of SHOWN lead to their pages."""
    for file, page in SHOWN.items():
        source[0] = source[0].replace(f']({file}', f']({page}')


def setup(app):
    """Called by Sphinx."""
    app.connect('source-read', lead_to_pages)
