"""Measuring photographs, against what mmagic's metrics give."""

import json

import numpy as np
import pytest
from PIL import Image

from mmsampriors.images import Photograph, PhotographError
from mmsampriors.inference.inputs import find_photographs
from mmsampriors.inference.measures import MOST_MOVED, Measuring, largest_move


@pytest.fixture
def photographs(tmp_path, noisy):
    """Two noisy photographs and the ground truth of the first."""
    for folder, name, pixels in (('lq', 'a.png', noisy[0]), ('lq', 'b.png', noisy[0]), ('gt', 'a.webp', noisy[1])):
        (tmp_path / folder).mkdir(exist_ok=True)
        options = dict(lossless=True) if name.endswith('webp') else {}
        Image.fromarray(pixels[:200, :210]).save(tmp_path / folder / name, **options)
    return tmp_path


def found(folder, *names):
    return find_photographs([str(folder / 'lq' / name) for name in names], folder / 'out')


def test_values_are_mmagics_for_any_depth_and_for_gray(photographs, noisy):
    from mmagic.evaluation.metrics import psnr, ssim

    lq, gt = (image[:200, :210] for image in noisy)
    measuring = Measuring.of(['PSNR', 'SSIM', 'PSNR-Y', 'NIQE'], photographs / 'gt', found(photographs, 'a.png'))
    name = next(iter(measuring.truths))
    deep = Photograph(lq.astype(np.uint16) * 257)
    row = measuring.row_of(name, dict(input=Photograph(lq), restored=deep))
    assert row['input'] == pytest.approx(row['restored'])
    assert row['input']['PSNR'] == pytest.approx(psnr(gt, lq)) and row['input']['SSIM'] == pytest.approx(ssim(gt, lq))
    assert row['input']['PSNR-Y'] == pytest.approx(psnr(gt, lq, convert_to='Y', channel_order='rgb'))
    assert row['input']['NIQE'] > 0
    gray = measuring.row_of(name, dict(restored=Photograph(gt[..., 1])))
    assert gray['restored']['PSNR'] == pytest.approx(psnr(gt, np.stack([gt[..., 1]] * 3, axis=2)))


def test_enlarged_images_are_measured_as_super_resolution_is_published(photographs, noisy):
    """On Y without a border of the scale, beside the input enlarged by bicubic interpolation."""
    from mmagic.evaluation.metrics import psnr, ssim

    gt = noisy[1][:200, :208]
    small = np.asarray(Image.fromarray(gt).resize((52, 50), Image.Resampling.BICUBIC))
    restored = np.roll(gt, 1, axis=0)
    measuring = Measuring.of(None, photographs / 'gt', found(photographs, 'a.png'), scale=4)
    name = next(iter(measuring.truths))  # of 210 columns: two more than a multiple of 4
    row = measuring.row_of(name, dict(input=Photograph(small), restored=Photograph(restored)))
    options = dict(crop_border=4, convert_to='Y', channel_order='rgb')
    assert row['restored'] == pytest.approx(
        {'PSNR-Y': psnr(gt, restored, **options), 'SSIM-Y': ssim(gt, restored, **options)}
    )
    bicubic = np.asarray(Image.fromarray(small).resize((208, 200), Image.Resampling.BICUBIC))
    assert row['bicubic']['PSNR-Y'] == pytest.approx(psnr(gt, bicubic, **options), abs=0.01)
    report = measuring.report([row], photographs / 'out')
    assert 'of PSNR, SSIM and NIQE without a border of 4 pixels' in report and 'bicubic' in report
    with pytest.raises(PhotographError, match='has 40x50 pixels and is restored 4 times as large, its ground truth'):
        measuring.row_of(name, dict(input=Photograph(small[:, :40])))


def test_tables_keep_metrics_with_and_without_reference_apart(photographs, noisy):
    lq = noisy[0][:200, :210]
    measuring = Measuring.of(['NIQE', 'PSNR'], photographs / 'gt', found(photographs, 'a.png'))
    rows = [measuring.row_of(next(iter(measuring.truths)), dict(input=Photograph(lq), restored=Photograph(lq)))]
    first, second, _, note = measuring.report(rows, photographs / 'out').split('\n\n')
    assert 'PSNR (higher is better)' in first and 'NIQE' not in first
    assert 'NIQE (lower is better)' in second and 'PSNR' not in second
    assert 'means of 1 photographs' in note
    assert json.loads((photographs / 'out' / 'measured.json').read_text()) == rows


def test_a_photograph_too_small_for_niqe_counts_for_nothing(photographs):
    measuring = Measuring(['NIQE'], {})
    row = measuring.row_of('a.png', dict(restored=Photograph(np.zeros((20, 30, 3), np.uint8))))
    assert row['restored'] == dict(NIQE=None)
    assert '-' in measuring.report([row], photographs / 'out')


def test_share_of_what_collapsed(photographs, noisy):
    """More than 3 dB below the input, whatever else is measured."""
    gt = noisy[1][:200, :210].astype(float)
    far, near, given = (
        Photograph((gt + np.random.default_rng(0).normal(0, sigma, gt.shape)).round().clip(0, 255).astype(np.uint8))
        for sigma in (15, 13, 10)
    )
    measuring = Measuring.of(['NIQE'], photographs / 'gt', found(photographs, 'a.png'))
    name = next(iter(measuring.truths))
    rows = [measuring.row_of(name, dict(input=given, restored=restored)) for restored in (far, near, given)]
    report = measuring.report(rows, photographs / 'out')
    assert 'CollapseRate 33.3 %: 1 of 3 restored more than 3 dB of PSNR below their input' in report
    assert 'PSNR (higher is better)' not in report


@pytest.fixture
def shapes():
    """(70, 130, 3) uint8: two by four blocks."""
    blocks = np.random.default_rng(0).integers(0, 200, (2, 5, 3), np.uint8)
    return blocks.repeat(35, axis=0).repeat(26, axis=1)


def test_how_far_the_large_shapes_move(shapes):
    restored = shapes.copy()
    restored[35:, 98:, 1] += 51  # the last block, in green
    move, at = largest_move(shapes, restored)
    assert 0.15 < move < 0.2 and at == (113, 52)
    assert largest_move(shapes, shapes)[0] == pytest.approx(0, abs=1e-6)
    for one, other in (
        (shapes.astype(np.uint16) * 257, restored.astype(np.uint16) * 257),
        (shapes / 255, restored / 255),
        (shapes, restored.repeat(3, axis=0).repeat(3, axis=1)),
    ):
        assert largest_move(one, other) == (pytest.approx(move, abs=1e-6), at)


def test_a_gray_network_is_compared_with_luma(shapes):
    luma = shapes @ np.array((0.299, 0.587, 0.114)) / 255
    assert largest_move(shapes, luma)[0] == pytest.approx(0, abs=1e-3)
    assert largest_move(shapes, luma[:, ::-1])[0] > 0.1
    assert largest_move(luma, luma[:, ::-1])[0] > 0.1


def test_brightness_and_contrast_may_change_but_not_the_shapes(shapes):
    """As under a veil; not so far that nothing is left, or that all is turned around."""
    unit = shapes / 255
    for right in (0.5 * unit + 0.4, unit * 0.9):
        assert largest_move(right, unit)[0] < 1e-6 and largest_move(unit, unit + 0.1)[0] < 1e-6
    for wrong in (np.zeros_like(unit), np.full_like(unit, unit.mean()), 1 - unit, unit[..., ::-1], unit[::-1, ::-1]):
        assert largest_move(unit, wrong)[0] > MOST_MOVED
    flat = np.full((70, 130, 3), 0.5)
    assert largest_move(flat, flat * 0)[0] > MOST_MOVED and largest_move(flat, flat + 0.2)[0] < 1e-6


@pytest.mark.parametrize('size', [(1, 1), (7, 300), (31, 20), (47, 47)])
def test_sides_that_are_small_are_one_block(size):
    photograph = np.full((*size, 3), 100, np.uint8)
    restored = photograph.repeat(2, axis=0).repeat(2, axis=1)
    assert largest_move(photograph, restored)[0] == pytest.approx(0, abs=1e-6)
    restored[..., 2] = 255
    assert largest_move(photograph, restored)[0] > MOST_MOVED
    assert largest_move(photograph // 10, np.full_like(restored, 255))[0] > MOST_MOVED


def test_ground_truth_that_is_missing_or_of_another_size(photographs):
    with pytest.raises(FileNotFoundError, match=r'1 of 2 photographs have no ground truth .* the first: .*b\.png'):
        Measuring.of(None, photographs / 'gt', found(photographs, 'a.png', 'b.png'))
    with pytest.raises(ValueError, match='SSIM compare with ground truth: name its folder with --gt'):
        Measuring.of(['SSIM', 'NIQE'], None, found(photographs, 'a.png'))
    assert Measuring.of(None, None, found(photographs, 'a.png')) is None
    measuring = Measuring.of(None, photographs / 'gt', found(photographs, 'a.png'))
    name = next(iter(measuring.truths))
    with pytest.raises(PhotographError, match='has 30x20 pixels, its ground truth .* 210x200'):
        measuring.row_of(name, dict(input=Photograph(np.zeros((20, 30, 3), np.uint8))))
    (photographs / 'gt' / 'a.webp').write_bytes(b'cut')
    with pytest.raises(PhotographError, match='its ground truth .*a.webp is no image'):
        measuring.truth_of(name)
