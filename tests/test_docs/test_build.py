"""The pages and the API reference as Sphinx builds them; its warnings are errors."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_docs_build_without_a_warning(tmp_path):
    # From a copy: Sphinx writes the pages of the reference beside the others.
    for name in ('docs', 'configs'):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns('_build', '__pycache__'))
    for page in ROOT.glob('*.md'):
        shutil.copy(page, tmp_path)
    html = tmp_path / 'html'
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'sphinx', '-q', '-W', '--keep-going', tmp_path / 'docs', html],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'id="does-it-help"' in (html / 'evidence.html').read_text()
    assert 'restormer_spd_8xb8' in (html / 'configs.html').read_text()
    reference = (html / 'api' / 'mmsampriors.models.spd_model.html').read_text()
    assert 'id="mmsampriors.models.spd_model.SPDModel.forward_train"' in reference
