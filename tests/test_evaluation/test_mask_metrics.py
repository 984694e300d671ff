import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmsampriors.evaluation import agreement
from mmsampriors.evaluation.mask_metrics import near_borders
from mmsampriors.masks import ImageMasks, MaskStoreError
from mmsampriors.models.mask_sources import MaskSource
from mmsampriors.registry import METRICS, MODELS, build_part

FELZENSZWALB = dict(type='FelzenszwalbMasks', min_size=20)


@pytest.fixture(autouse=True)
def a_segmenter_that_can_find_nothing(monkeypatch):

    class BrightMasks(MaskSource):
        """One mask: the pixels whose red is above a half; none where there are none."""

        def segment(self, images, paths=()):
            return [ImageMasks.from_masks(image[:1] > 0.5) for image in images]

    monkeypatch.setitem(MODELS._module_dict, 'BrightMasks', BrightMasks)


class Recorder(Hook):
    def __init__(self, seen):
        self.seen = seen

    def after_val_epoch(self, runner, metrics=None):
        self.seen.update(metrics)


class Model(torch.nn.Conv2d):
    """What metrics ask a model for."""

    data_preprocessor = None


class Loader:
    dataset = range(100)


def build(kind='SegmentationConsistency', masks=FELZENSZWALB, **settings):
    metric = build_part(METRICS, dict(type=kind, masks=masks, **settings))
    metric.prepare(Model(1, 1, 1), Loader)
    return metric


def sample(pred, gt, path='a.png'):
    """As mmagic hands it to metrics: BGR, float, in [0, 255]."""
    bgr = [torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1).float() for image in (pred, gt)]
    return dict(output=dict(pred_img=bgr[0]), gt_img=bgr[1], gt_path=path)


def photographs(pairs, name):
    return [cv2.imread(str(pairs / kind / f'{name}.png'))[..., ::-1] for kind in ('input', 'target')]


def test_a_perfect_restoration_agrees_and_a_noisy_one_less(pairs):
    metric = build()
    noisy, target = photographs(pairs, 'coffee')
    metric.process(None, [sample(target, target), sample(noisy, target)])
    perfect, real = metric.results
    assert perfect['SegIoU'] == perfect['SegIoU_gt2restored'] == perfect['SegIoU_restored2gt'] == 1
    assert 0.05 < real['SegIoU'] < 0.9 and real['Masks_gt'] == perfect['Masks_gt'] > 2
    ours, theirs = (
        build_part(MODELS, FELZENSZWALB).segment(torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255)[0]
        for image in (target, noisy)
    )
    assert real['SegIoU_gt2restored'] == agreement(ours, theirs).forth
    mean = metric.compute_metrics(metric.results)
    assert mean['SegIoU'] == pytest.approx((1 + real['SegIoU']) / 2)
    assert set(mean) == {'SegIoU', 'SegIoU_gt2restored', 'SegIoU_restored2gt', 'Masks_gt', 'Masks_restored'}


def test_images_without_masks_have_a_value():
    metric = build(masks=dict(type='BrightMasks'))
    dark, bright = np.zeros((6, 7, 3)), np.zeros((6, 7, 3))
    bright[:, :3, 0] = 200  # red: the order of the channels shows
    metric.process(None, [sample(dark, dark), sample(dark, bright), sample(bright, dark), sample(bright, bright)])
    assert [(result['SegIoU'], result['Masks_gt'], result['Masks_restored']) for result in metric.results] == [
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
        (1, 1, 1),
    ]
    assert all(math.isfinite(value) for value in metric.compute_metrics(metric.results).values())


def test_grey_images_are_segmented_and_the_ground_truth_only_once(monkeypatch):
    metric = build(masks=dict(type='BrightMasks'))
    calls = []
    segment = metric.mask_source.segment
    monkeypatch.setattr(metric.mask_source, 'segment', lambda *args: calls.append(args) or segment(*args))
    grey = torch.zeros(1, 6, 7)
    grey[0, 2:5] = 200
    metric.process(None, [dict(output=dict(pred_img=grey), gt_img=grey, gt_path='a.png')] * 2)
    assert [result['SegIoU'] for result in metric.results] == [1, 1] and len(calls) == 3
    assert calls[0][0].shape == (1, 3, 6, 7)


def test_two_sequences_do_not_share_label_maps(tmp_path):
    cv2.imwrite(str(tmp_path / '1.png'), np.arange(48, dtype=np.uint8).reshape(6, 8) // 9)
    metric = build('BorderPSNR', masks=dict(type='LabelMapMasks', folder=str(tmp_path)))
    image = np.zeros((6, 8, 3))
    metric.process(None, [sample(image, image, 'first/1.png')] * 2)
    with pytest.raises(MaskStoreError, match='second/1.png and .*first/1.png would share the masks'):
        metric.process(None, [sample(image, image, 'second/1.png')])


def test_human_segments_are_found_by_name(tmp_path):
    bright = np.zeros((6, 8, 3))
    bright[:, :3] = 200
    labels = np.zeros((6, 8), np.uint8)
    labels[:, :4] = 7
    cv2.imwrite(str(tmp_path / 'one.png'), labels)
    metric = build(masks=dict(type='BrightMasks'), human_segments=str(tmp_path))
    metric.process(None, [sample(bright, bright, 'somewhere/one.jpg')])
    # One mask of 3 columns; segments of 4 columns each: IoU 3/4 with the left one, 0 with the right one.
    result = metric.results[0]
    assert result['HumanIoU_restored2human'] == 0.75 and result['HumanIoU_human2restored'] == 0.375
    assert result['HumanIoU'] == result['HumanIoU_of_gt'] == 0.5625 and result['Segments_human'] == 2
    with pytest.raises(MaskStoreError, match='no label map of two.png'):
        metric.process(None, [sample(bright, bright, 'two.png')])
    with pytest.raises(ValueError, match=r'label map of somewhere/one.jpg in .* has \(6, 8\) pixels'):
        metric.process(None, [sample(bright[:, :6], bright[:, :6], 'somewhere/one.jpg')])


def test_what_cannot_segment_and_what_cannot_be_compared_is_refused(tmp_path):
    for masks in (dict(type='LabelMapMasks', folder=str(tmp_path)), dict(type='NoMasks')):
        with pytest.raises(ValueError, match=f'{masks["type"]} cannot: name a segmenter'):
            build(masks=masks)
    with pytest.raises(TypeError, match='must be a mask source, such as SAMMasks, found L1Loss'):
        build(masks=dict(type='L1Loss'))
    with pytest.raises(ValueError, match='images of one size'):
        build().process(None, [sample(np.zeros((6, 7, 3)), np.zeros((7, 6, 3)))])
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        build(masks=dict(type='SAMMasks', model_type='vit_b', checkpoint='nowhere.pth'))
    with pytest.raises(ValueError, match='at least 1 pixel'):
        build('BorderPSNR', distance=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8), st.integers(1, 4), st.integers(0, 10**6))
def test_borders_match_loops_over_pixels(count, height, width, distance, seed):
    masks = np.random.default_rng(seed).random((count, height, width)) < 0.15
    touching = []
    for y in range(height):
        for x in range(width):
            around = [(y + dy, x + dx) for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))]
            around = [(v, u) for v, u in around if 0 <= v < height and 0 <= u < width]
            if any((masks[:, y, x] != masks[:, v, u]).any() for v, u in around):
                touching.append((y, x))
    expected = [
        [any(max(abs(y - v), abs(x - u)) < distance for v, u in touching) for x in range(width)] for y in range(height)
    ]
    assert near_borders(torch.from_numpy(masks), distance).tolist() == expected


@pytest.mark.parametrize('convert_to', [None, 'Y'])
def test_border_psnr_counts_the_error_near_borders_only(convert_to):
    gt = np.zeros((20, 30, 3))
    gt[:, 10:] = 200
    near, far = gt.copy(), gt.copy()
    near[:, 9] += 16
    far[:, 20:] -= 50
    metric = build('BorderPSNR', masks=dict(type='BrightMasks'), distance=2, convert_to=convert_to)
    flat = np.zeros((20, 30, 3))
    metric.process(None, [sample(near, gt), sample(far, gt), sample(flat, flat)])
    # Columns 8 to 11 are near the border; one of four is off by 16, or in Y, which spans 219 of 255, by 16 * 219 / 255.
    error = 16 * (219 / 255 if convert_to else 1)
    values = [result['BorderPSNR'] for result in metric.results]
    assert values[0] == pytest.approx(10 * math.log10(255**2 / (error**2 / 4)), abs=1e-3)
    assert values[1:] == [math.inf, None]
    assert metric.compute_metrics(metric.results[::2]) == {'BorderPSNR': values[0]}
    with pytest.raises(ValueError, match='none of the 1 images has a border'):
        metric.compute_metrics(metric.results[2:])


def test_a_validation_loop_of_a_run_measures_them(runner_cfg, tmp_path):
    metrics = [
        dict(type='PSNR'),
        dict(type='mmsampriors.SegmentationConsistency', masks=FELZENSZWALB),
        dict(type='mmsampriors.BorderPSNR', masks=FELZENSZWALB),
    ]
    cfg = runner_cfg(val_evaluator=[dict(prefix='noisy', **metric) for metric in metrics])
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        cfg[key] = None
    cfg['custom_hooks'], cfg['default_hooks']['checkpoint'] = [], None
    runner = Runner.from_cfg(Config(cfg))
    seen = {}
    runner.register_hook(Recorder(seen))
    runner.val()
    once = dict(seen)
    runner.val()
    assert once == seen
    assert {'noisy/PSNR', 'noisy/SegIoU', 'noisy/Masks_gt', 'noisy/BorderPSNR'} <= set(seen)
    assert 0 < seen['noisy/SegIoU'] < 1 and 10 < seen['noisy/BorderPSNR'] < 40


def test_masks_that_are_stored_are_not_segmented_again_in_validation(runner_cfg, model_cfg, tmp_path, monkeypatch):
    """With the model's own stored masks both metrics say what they say with the segmenter alone."""
    stored = dict(type='CachedMasks', segmenter=FELZENSZWALB, cache_dir=str(tmp_path / 'masks'))
    kinds = ('mmsampriors.SegmentationConsistency', 'mmsampriors.BorderPSNR')
    cfg = runner_cfg(
        model=model_cfg(dict(masks=stored)),
        hooks=[dict(type='mmsampriors.MaskCacheHook')],
        val_evaluator=[
            dict(type='PSNR'),
            *(dict(type=kind, masks=stored, prefix='stored') for kind in kinds),
            *(dict(type=kind, masks=FELZENSZWALB, prefix='alone') for kind in kinds),
        ],
    )
    runner, seen = Runner.from_cfg(Config(cfg)), {}
    runner.register_hook(Recorder(seen))
    segmented = []
    metrics = runner.val_loop.evaluators[0].metrics[1:3]
    for metric in metrics:
        segment = metric.mask_source.segment
        monkeypatch.setattr(
            metric.mask_source, 'segment', lambda *args, run=segment: segmented.append(args) or run(*args)
        )
    runner.train()
    names = [name.split('/')[1] for name in seen if name.startswith('stored/')]
    assert {'SegIoU', 'Masks_gt', 'BorderPSNR'} <= set(names)
    for name in names:
        assert seen[f'stored/{name}'] == pytest.approx(seen[f'alone/{name}'], abs=1e-6)
    # Two validations of four restored images, for the one metric that looks at them.
    assert len(segmented) == 8 and len(list((tmp_path / 'masks' / 'validation').rglob('*.masks'))) == 4
