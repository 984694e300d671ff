"""Students that restore, and one that only halves."""

import numpy as np
import pytest
import skimage.data
from students import write_test_student

from mmsampriors.inference.networks import Network


class Halving(Network):
    """Halves each value, and repeats each pixel ``scale`` times; takes the memory that it is told to."""

    name, identity, bytes_per_pixel, notes = 'halving', 'halving', 1.0, []

    def __init__(self, channels=3, most_pixels=float('inf'), scale=1):
        self.channels, self.most_pixels, self.scale, self.seen = channels, most_pixels, scale, []

    def free_bytes(self):
        return 2**40

    def run(self, images):
        self.seen.append(images.shape[-2:])
        if images.shape[-2] * images.shape[-1] > self.most_pixels:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return images.repeat(self.scale, axis=2).repeat(self.scale, axis=3) / 2


class BlackAndWhite(Halving):
    """Makes each bright tile black at the left and white at the right, and halves the others."""

    def run(self, images):
        restored = super().run(images)
        if images.mean() > 0.7:
            restored[:] = np.arange(restored.shape[3]) >= restored.shape[3] // 2
        return restored


@pytest.fixture
def halving():
    return Halving


@pytest.fixture
def black_and_white():
    return BlackAndWhite


@pytest.fixture(scope='session')
def student(tmp_path_factory):
    """A function that gives the path of a trained denoiser, ``student.pth``."""
    root, made = tmp_path_factory.mktemp('students'), {}

    def path_of(name):
        if name not in made:
            made[name] = root / name / 'student.pth'
            write_test_student(name, made[name])
        return made[name]

    return path_of


@pytest.fixture(scope='session')
def noisy():
    """A noisy photograph that the students have not seen and the photograph itself, (300, 451, 3), uint8."""
    clean = skimage.data.chelsea()
    noise = np.random.default_rng(7).normal(0, 25, clean.shape)
    return (clean + noise).round().clip(0, 255).astype(np.uint8), clean
