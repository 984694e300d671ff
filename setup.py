"""Builds mmsampriors with the ``.mim`` folder that mmengine looks for: configs and tools inside the package."""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
PACKAGE = ROOT / 'mmsampriors'
EXTRAS = ('lite', 'onnx', 'tests', 'docs', 'hq', 'mobile', 'sam2', 'coco', 'demo', 'spandrel')


def read_version() -> str:
    """Version of the package, without importing it: its dependencies may not be installed yet."""
    return re.search(r"^__version__ = '(.+)'$", (PACKAGE / 'version.py').read_text(), re.MULTILINE)[1]


def read_requirements(name: str) -> list[str]:
    """Lines of ``requirements/<name>.txt`` without comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


def list_mim_files() -> list[str]:
    """Files below ``mmsampriors/.mim``, relative to the package; links to ``configs`` and ``tools`` are followed."""
    for name in ('configs', 'tools'):
        if not (PACKAGE / '.mim' / name).is_dir():
            raise SystemExit(
                f'mmsampriors/.mim/{name} should be a link to the folder {name}, and is not: this copy of '
                'the repository lost its symbolic links. Clone with `git clone -c core.symlinks=true`.'
            )
    files = []
    for folder, subfolders, names in os.walk(PACKAGE / '.mim', followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if name != '__pycache__')
        files += [os.path.relpath(os.path.join(folder, name), PACKAGE) for name in sorted(names)]
    return [name for name in files if not name.endswith('.pyc')]


# mmcv is no dependency: pip knows mmcv and mmcv-lite as two packages, and would put one over the other.
setup(
    name='mmsampriors',
    version=read_version(),
    description='SAM-prior distillation for mmagic restoration networks',
    license='Apache-2.0',
    packages=find_packages(include=['mmsampriors', 'mmsampriors.*']),
    package_data={
        'mmsampriors': list_mim_files(),
        'mmsampriors.masks.sam': ['*.safetensors', '*.md'],
        'mmsampriors.inference.students': ['*.safetensors', '*.onnx', '*.md'],
        'mmsampriors.demo': ['*.css'],
    },
    python_requires='>=3.10',
    install_requires=read_requirements('runtime'),
    extras_require={name: read_requirements(name) for name in EXTRAS},
    entry_points={'console_scripts': ['mmsampriors = mmsampriors.command_line:run_command']},
    zip_safe=False,
)
