"""Builds the pages in this folder and the API reference: ``python -m sphinx -W docs docs/_build/html``."""

import importlib.util
import shutil
from pathlib import Path

from sphinx.addnodes import pending_xref

import mmsampriors  # (before mmagic, which it mends)

project = 'mmsampriors'
author = copyright = 'The mmsampriors authors'
release = version = mmsampriors.__version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.autosummary', 'sphinx.ext.napoleon']
exclude_patterns = ['_build', 'README.md']  # index.rst shows the latter
templates_path = ['_templates']

#: Files outside this folder that a page of it shows. On GitHub, links lead to the file; here, to the page.
SHOWN = {'configs/spd/README': 'configs', 'CHANGELOG': 'changes', 'CONTRIBUTING': 'contributing'}

html_theme = 'sphinx_rtd_theme'
html_theme_options = dict(navigation_depth=4)
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
# An extra, which building the pages does without.
autodoc_mock_imports = [] if importlib.util.find_spec('gradio') else ['gradio']
autodoc_default_options = dict(members=True)
napoleon_use_ivar = True


def lead_to_pages(app, doctree):
    """Makes links to the files of SHOWN lead to their pages."""
    pages = {str(Path(app.srcdir).parent / file): page for file, page in SHOWN.items()}
    for link in doctree.findall(pending_xref):
        link['reftarget'] = pages.get(link['reftarget'], link['reftarget'])


def setup(app):
    """Called by Sphinx."""
    app.connect('doctree-read', lead_to_pages)
