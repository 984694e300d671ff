"""The plain training of the package's students."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / '.dev_scripts'))

from tool_processes import run_as_process  # noqa: E402
from train_student import measure, parse_args  # noqa: E402

from mmsampriors.checkpoints import read_weights  # noqa: E402
from mmsampriors.data_preparation.degradations import LowresSettings, bicubic_reduced, make_lowres  # noqa: E402
from mmsampriors.data_preparation.pairs import make_pairs  # noqa: E402
from mmsampriors.images import enlarged  # noqa: E402
from mmsampriors.registry import MODELS  # noqa: E402
from student_training.plain import Batches, Machine, Patches, bounded_psnr_loss, rate, train  # noqa: E402
from student_training.subjects import SUBJECTS  # noqa: E402


@pytest.fixture
def photographs():
    rng = np.random.default_rng(0)
    return [np.full((100, 120, 3), 90, np.uint8), rng.integers(0, 256, (130, 100, 3), np.uint8)]


def at_first(name):
    """A subject whose patches stay small: the photographs of these tests are."""
    return replace(SUBJECTS[name], grows=False)


@pytest.mark.parametrize('name', ['noise', 'camera'])
def test_patches_are_as_files_hold_them(photographs, name):
    degraded, truth = Patches(photographs, at_first(name)).draw(np.random.default_rng(1), 64)
    assert degraded.shape == truth.shape == (3, 64, 64)
    for patch in (degraded, truth):
        torch.testing.assert_close(255 * patch, (255 * patch).round(), rtol=0, atol=1e-4)
    assert (degraded != truth).any()


def test_some_patches_are_soft_and_some_undamaged(photographs):
    patches = Patches(photographs[1:], at_first('blur'))
    pairs = [tuple(patches.draw(np.random.default_rng(seed), 64)) for seed in range(60)]
    assert 2 < sum(torch.equal(degraded, truth) for degraded, truth in pairs) < 20
    assert 15 < sum(truth.std() < 0.25 for _, truth in pairs) < 45, 'the photograph is of noise'


def test_patches_prefer_detail(photographs):
    patches = Patches(photographs, at_first('noise'))
    drawn = [tuple(patches.draw(np.random.default_rng(seed), 64)) for seed in range(40)]
    assert sum(truth.unique().numel() == 1 for _, truth in drawn) < 10


@pytest.mark.parametrize('scale', [2, 4])
def test_patches_of_super_resolution_lie_on_each_other(photographs, scale):
    large = np.random.default_rng(2).integers(0, 256, (170, 190, 3), np.uint8)
    # The other photographs are smaller than a patch by 4 and its margin.
    patches = Patches([*photographs, large], SUBJECTS[f'x{scale}'])
    assert scale == 2 or [image.shape for image in patches.photographs] == [large.shape]
    for seed in range(8):
        small, truth = patches.draw(np.random.default_rng(seed), 32 * scale)
        assert small.shape == (3, 32, 32) and truth.shape == (3, 32 * scale, 32 * scale)
        reduced = bicubic_reduced(truth.permute(1, 2, 0).numpy(), scale).clip(0, 1).transpose(2, 0, 1)
        inner = (slice(None), slice(3, -3), slice(3, -3))
        np.testing.assert_allclose(small.numpy()[inner], reduced[inner], atol=0.51 / 255)


def test_super_resolution_is_measured_on_y_without_its_border(tmp_path):
    photograph = skimage.data.chelsea()[:96, :120]
    (tmp_path / 'photographs').mkdir()
    Image.fromarray(photograph).save(tmp_path / 'photographs' / 'a.png')
    make_pairs(tmp_path / 'photographs', tmp_path / 'pairs', make_lowres, LowresSettings(scale=2))

    def restore(pixels):
        restored = enlarged(pixels, 2)
        restored[:2] = restored[:, -2:] = 0
        return restored

    restorer = SimpleNamespace(network=SimpleNamespace(scale=2), restore=restore)
    ((before, after),) = measure(restorer, tmp_path / 'pairs')
    small = np.asarray(Image.open(tmp_path / 'pairs' / 'input' / 'a.png'))
    luma = (
        image[2:-2, 2:-2] @ np.array([65.481, 128.553, 24.966]) / 255
        for image in (photograph.astype(float), enlarged(small, 2).astype(float))
    )
    assert before == after == pytest.approx(10 * np.log10(255**2 / np.square(np.subtract(*luma)).mean()), abs=0.01)


def test_patches_grow_at_half_time():
    photographs = [np.random.default_rng(0).integers(0, 256, (150, 170, 3), np.uint8)] * 2
    batches = Batches(Patches(photographs, SUBJECTS['noise']), updates=9, seed=0, count=4)
    assert [batches[update][0].shape for update in (0, 4, 5, 8)] == [(4, 3, 64, 64)] * 2 + [(2, 3, 128, 128)] * 2
    batches = Batches(Patches(photographs, SUBJECTS['x2']), updates=9, seed=0, count=4)
    assert batches[8][1].shape == (4, 3, 64, 64)


def test_the_first_half_does_not_depend_on_the_length():
    assert [rate(update, 1000) for update in range(500)] == [rate(update, 2000) for update in range(500)]
    assert rate(999, 1000) < 1e-5 and rate(0, 1000) < 1e-5


def test_bounded_psnr_counts_an_error_of_35_db_beside_each():
    truth = torch.rand(3, 3, 5, 4, dtype=torch.float64)
    signs = torch.where(torch.rand_like(truth) < 0.5, -1, 1)
    restored = truth + signs * torch.tensor([0.0, 10**-1.75, 0.1]).view(3, 1, 1, 1)
    expected = [-35, -35 + 10 * np.log10(2), 10 * np.log10(10**-2 + 10**-3.5)]
    assert bounded_psnr_loss(restored, truth).item() == pytest.approx(np.mean(expected), abs=1e-4)


def test_a_stopped_training_goes_on_as_if_it_was_not(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr('student_training.plain.KEEP_EVERY', 2)
    patches = Patches(photographs, at_first('noise'))

    def trained(out, *lengths, workers=0):
        for length in lengths:
            torch.manual_seed(0)
            net = MODELS.build(dict(type='mmagic.NAFNet', mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1]))
            train(net, patches, length, out, Machine(workers=workers))
        return net.state_dict()

    monkeypatch.setattr('student_training.plain.rate', lambda update, updates: 1e-3)
    whole = trained(tmp_path / 'whole', 4)
    for other in (trained(tmp_path / 'continued', 2, 4), trained(tmp_path / 'workers', 4, workers=2)):
        for key, value in whole.items():
            torch.testing.assert_close(other[key], value, rtol=0, atol=0)


@pytest.mark.parametrize('name, updates', [('noise', '4 2 4'), ('rain', '4 2')])
def test_numbers_of_updates_that_no_recipe_has_are_refused(monkeypatch, capsys, name, updates):
    monkeypatch.setattr(sys, 'argv', ['train_student.py', name, '--updates', *updates.split()])
    with pytest.raises(SystemExit):
        parse_args()
    assert f'found {len(updates.split())}' in capsys.readouterr().err


@pytest.mark.slow
def test_rain_goes_on_with_photographs_of_heavier_rain(tmp_path):
    (tmp_path / 'photographs').mkdir()
    for index, photograph in enumerate((skimage.data.astronaut(), skimage.data.rocket()[:, :420])):
        Image.fromarray(photograph).save(tmp_path / 'photographs' / f'{index}.png')
    out = tmp_path / 'out'
    command = ['.dev_scripts/train_student.py', 'rain', '--photographs', tmp_path / 'photographs', '--out', out]
    trained = run_as_process([*command, '--updates', 4, 2, 4], cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    for row in ('plain, rain,', 'plain, heavy rain,', 'rain, rain,', 'rain, heavy rain,'):
        assert row in trained.stdout
    plain, distilled = (read_weights(out / f'{name}.safetensors') for name in ('plain', 'rain'))
    assert plain.keys() == distilled.keys() and any((plain[key] != distilled[key]).any() for key in plain)
    assert str(out / 'data' / 'unlabeled' / 'input') in (out / 'spd.py').read_text()
    shown = {path.parts[-3]: path.name for path in sorted(out.glob('data/*/input/00_*.png'))}
    assert shown == dict(pairs='00_0_3.png', unlabeled='00_1_3.png'), 'four of each photograph, in one of both'
