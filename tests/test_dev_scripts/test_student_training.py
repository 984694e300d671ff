"""The plain training of the package's students."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / '.dev_scripts'))

from mmsampriors.registry import MODELS  # noqa: E402
from student_training.plain import Patches, rate, train  # noqa: E402
from student_training.subjects import SUBJECTS  # noqa: E402


@pytest.fixture
def photographs():
    rng = np.random.default_rng(0)
    return [np.full((100, 120, 3), 90, np.uint8), rng.integers(0, 256, (130, 100, 3), np.uint8)]


@pytest.mark.parametrize('name', ['noise', 'camera'])
def test_patches_are_as_files_hold_them(photographs, name):
    degraded, truth = Patches(photographs, SUBJECTS[name]).draw(np.random.default_rng(1))
    assert degraded.shape == truth.shape == (3, 64, 64)
    for patch in (degraded, truth):
        torch.testing.assert_close(255 * patch, (255 * patch).round(), rtol=0, atol=1e-4)
    assert (degraded != truth).any()


def test_patches_prefer_detail(photographs):
    patches = Patches(photographs, SUBJECTS['noise'])
    drawn = [tuple(patches.draw(np.random.default_rng(seed))) for seed in range(40)]
    assert sum(truth.unique().numel() == 1 for _, truth in drawn) < 10


def test_the_first_half_does_not_depend_on_the_length():
    assert [rate(update, 1000) for update in range(500)] == [rate(update, 2000) for update in range(500)]
    assert rate(999, 1000) < 1e-5 and rate(0, 1000) < 1e-5


def test_a_stopped_training_goes_on_as_if_it_was_not(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr('student_training.plain.KEEP_EVERY', 2)
    patches = Patches(photographs, SUBJECTS['noise'])

    def trained(out, *lengths):
        for length in lengths:
            torch.manual_seed(0)
            net = MODELS.build(dict(type='mmagic.NAFNet', mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1]))
            train(net, patches, length, out)
        return net.state_dict()

    monkeypatch.setattr('student_training.plain.rate', lambda update, updates: 1e-3)
    whole, continued = trained(tmp_path / 'whole', 4), trained(tmp_path / 'continued', 2, 4)
    for key, value in whole.items():
        torch.testing.assert_close(continued[key], value, rtol=0, atol=0)
