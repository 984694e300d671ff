"""ONNX students where onnxruntime, numpy and Pillow are installed, and nothing else."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ('numpy', 'numpy.libs', 'PIL', 'pillow.libs', 'onnxruntime')


@pytest.fixture(scope='module')
def onnx_student(student, tmp_path_factory):
    from mmsampriors.engine.onnx_export import write_onnx
    from mmsampriors.inference.torch_network import TorchNetwork, exported_config

    weights = student('nafnet')
    path = tmp_path_factory.mktemp('onnx') / 'student.onnx'
    write_onnx(TorchNetwork(exported_config(weights), weights, 'cpu').student, path, {})
    return path


@pytest.fixture(scope='module')
def bare(tmp_path_factory):
    """A function that runs this Python (-S: without its own packages) with those three alone."""
    pytest.importorskip('onnxruntime')
    site, packages = tmp_path_factory.mktemp('site'), Path(importlib.util.find_spec('numpy').origin).parents[1]
    for name in INSTALLED:
        if (packages / name).is_dir():
            (site / name).symlink_to(packages / name)
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(site)])}

    def run(*command, cwd):
        command = [sys.executable, '-S', *map(str, command)]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)

    return run


def test_the_environment_is_bare(bare, tmp_path):
    for name in ('torch', 'mmengine', 'mmcv', 'mmagic', 'packaging', 'cv2', 'scipy', 'psutil', 'tqdm'):
        assert f"No module named '{name}'" in bare('-c', f'import {name}', cwd=tmp_path).stderr


def test_python(bare, onnx_student, tmp_path):
    code = f"""
import numpy as np
from mmsampriors import Restorer
image = np.random.default_rng(0).integers(0, 256, (60, 70, 3)).astype(np.uint8)
np.save('restored.npy', Restorer({str(onnx_student)!r}).restore(image))
"""
    done = bare('-c', code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / 'restored.npy').shape == (60, 70, 3)


def test_the_command(bare, onnx_student, tmp_path):
    Image.new('RGB', (60, 50), (9, 90, 200)).save(tmp_path / 'photo.png')
    (tmp_path / 'broken.png').write_bytes(b'no image')
    done = bare(
        ROOT / 'tools' / 'restore.py',
        'photo.png',
        'broken.png',
        '--out',
        'out',
        '--student',
        onnx_student,
        cwd=tmp_path,
    )
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr
    assert 'not restored: ' in done.stderr and 'broken.png' in done.stderr
    assert Image.open(tmp_path / 'out' / 'photo.png').size == (60, 50)
