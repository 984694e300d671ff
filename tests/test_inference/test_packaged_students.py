"""The students that travel with the package."""

import subprocess
import sys

import numpy as np
import pytest
import skimage.data

from mmsampriors import Restorer
from mmsampriors.data_preparation.degradations import add_blur, add_camera_noise, add_noise, add_rain, make_lowres
from mmsampriors.files import HASH_KEY, sha256_of
from mmsampriors.images import enlarged
from mmsampriors.inference.plain_config import read_plain_config
from mmsampriors.inference.students import FOLDER, packaged_students, weights_of_packaged

DEGRADE = dict(
    rain=lambda image, rng: add_rain(image, rng, density=0.2, brightness=0.7, veiling=0.0),
    noise=lambda image, rng: add_noise(image, rng, sigma=25),
    camera=lambda image, rng: add_camera_noise(image, rng, iso=6400),
    blur=lambda image, rng: add_blur(image, rng, length=4),
    x2=lambda image, rng: make_lowres(_cropped(image, 2), rng, scale=2),
    x4=lambda image, rng: make_lowres(_cropped(image, 4), rng, scale=4),
)
#: Decibels that it must gain on a photograph that it has not seen.
GAINS = dict(rain=5.0, noise=8.0, camera=1.0, blur=2.0, x2=1.0, x4=0.7)


def _cropped(image, multiple):
    return image[: len(image) // multiple * multiple, : image.shape[1] // multiple * multiple]


def test_there_are_some():
    assert packaged_students() and set(packaged_students()) <= set(DEGRADE)


@pytest.mark.parametrize('name', packaged_students())
def test_its_config_has_the_hash_of_its_weights(name):
    weights = weights_of_packaged(name)
    assert read_plain_config(weights.with_suffix('.py'))[HASH_KEY] == sha256_of(weights)


@pytest.mark.parametrize('name', packaged_students())
def test_restores_what_its_name_says(name):
    truth = skimage.data.coffee()
    degraded = DEGRADE[name](truth / 255, np.random.default_rng(3))
    degraded = (255 * degraded).round().clip(0, 255).astype(np.uint8)
    restored = Restorer(name, device='cpu').restore(degraded)
    shown = enlarged(degraded, len(truth) // len(degraded))
    before, after = (-10 * np.log10(np.mean((image / 255 - truth / 255) ** 2)) for image in (shown, restored))
    assert restored.shape == truth.shape and after - before > GAINS[name]


@pytest.mark.parametrize('length', [0, 1, 9])
def test_blur_leaves_a_soft_photograph_alone(length):
    truth = skimage.data.chelsea()
    shaken = add_blur(truth / 255, np.random.default_rng(3), length=length)
    shaken = (255 * shaken).round().clip(0, 255).astype(np.uint8)
    before, after = (
        np.mean((image.astype(float) - truth) ** 2)
        for image in (shaken, Restorer('blur', device='cpu').restore(shaken))
    )
    assert after < max(255**2 / 10**4.5, before * 10**0.02)  # 45 dB, or at most 0.2 dB worse


def test_noise_leaves_a_clean_photograph_alone():
    truth = skimage.data.coffee()
    restored = Restorer('noise', device='cpu').restore(truth)
    assert np.mean((restored.astype(float) - truth) ** 2) < 255**2 / 10**4.5


@pytest.mark.parametrize('name', packaged_students())
def test_is_small_and_on_its_card(name):
    assert weights_of_packaged(name).stat().st_size <= 1.5 * 10**6
    assert f'| `{name}` |' in (FOLDER / 'README.md').read_text()
    config = weights_of_packaged(name).with_suffix('.py').read_text()
    assert '/tmp/' not in config and str(FOLDER.parents[2]) not in config


@pytest.mark.parametrize('name', packaged_students())
def test_onnx_runtime_restores_what_torch_does(name):
    pytest.importorskip('onnxruntime')
    weights = weights_of_packaged(name)
    noisy = DEGRADE[name](skimage.data.chelsea()[:101, :117] / 255, np.random.default_rng(0)).astype(np.float32)
    here, with_torch = Restorer(name), Restorer(weights, device='cpu')
    assert type(here.network).__name__ == 'OnnxNetwork' and here.network.name.startswith(f'{weights.name} (')
    np.testing.assert_allclose(here.restore(noisy), with_torch.restore(noisy), atol=1e-4)


def test_onnx_runtime_takes_no_damaged_weights(tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime')
    for path in (weights_of_packaged('noise'), weights_of_packaged('noise').with_suffix('.py')):
        (tmp_path / path.name).write_bytes(path.read_bytes()[:-1] + b'\n')
    found = 'mmsampriors.inference.restorer.weights_of_packaged'
    monkeypatch.setattr(found, lambda name: tmp_path / f'{name}.safetensors')
    with pytest.raises(ValueError, match='damaged or of another student'):
        Restorer('noise')


def test_neither_torch_nor_mmagic_is_imported_where_onnx_runtime_is_there():
    pytest.importorskip('onnxruntime')
    code = """
import sys
import numpy as np
from mmsampriors import Restorer
Restorer('noise').restore(np.zeros((40, 50, 3), np.uint8))
print({'torch', 'mmagic', 'mmengine'} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == 'set()', done.stderr


def test_another_name_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=f'one of the package: {", ".join(packaged_students())}; found snow'):
        Restorer('snow')
