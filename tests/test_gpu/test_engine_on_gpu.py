"""The mask engine beside the stock generator, on the same device."""

import statistics
import warnings

import numpy as np
import pytest
import skimage.data
import torch
from segment_anything import SamAutomaticMaskGenerator

from mmsampriors.masks import MaskEngine, build_sam
from mmsampriors.masks.image_masks import pairwise_iou
from mmsampriors.masks.sam.ops import fastest_exact_dtype
from mmsampriors.masks.sam.tiny import TINY_AUTOMATIC

SETTINGS = dict(points_per_side=12, pred_iou_thresh=0.2, stability_score_thresh=0.2, box_nms_thresh=0.8)


@pytest.fixture(scope='module')
def photographs():
    """(3, H, W), uint8, of several shapes."""
    arrays = [
        skimage.data.astronaut()[:200, :280],
        skimage.data.chelsea()[:256, :256],
        skimage.data.coffee()[:240, :160],
    ]
    return [torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1) for array in arrays]


@pytest.fixture
def sam(device):
    return build_sam('tiny').requires_grad_(False).to(device)


def best_iou(ours, theirs):
    """Mean best IoU, the mean of both directions."""
    iou = pairwise_iou(ours, theirs)
    return (iou.amax(1).mean() + iou.amax(0).mean()).item() / 2


def test_float32_finds_the_masks_of_stock(sam, photographs, exact):
    generator = SamAutomaticMaskGenerator(sam, **SETTINGS)
    for found, image in zip(MaskEngine(sam, **SETTINGS).generate(photographs), photographs):
        assert found.bitmaps.device == sam.device
        stock = generator.generate(np.ascontiguousarray(image.permute(1, 2, 0)))
        assert len(stock) >= 10
        theirs = torch.from_numpy(np.stack([mask['segmentation'] for mask in stock]))
        scores = torch.tensor([mask['predicted_iou'] for mask in stock])
        close = (pairwise_iou(found.bitmaps.cpu(), theirs) >= 0.95) & (
            (found.scores.cpu()[:, None] - scores).abs() < 5e-3
        )
        assert min(close.any(1).float().mean(), close.any(0).float().mean()) >= 0.95


def test_half_precision_agrees_with_float32(sam, photographs):
    settings = dict(TINY_AUTOMATIC, points_per_side=12)
    single, half = (
        MaskEngine(sam, dtype=dtype, **settings).generate(photographs) for dtype in (torch.float32, torch.bfloat16)
    )
    agreement = [best_iou(a.bitmaps, b.bitmaps) for a, b in zip(single, half)]
    print('agreement of bfloat16 with float32, mean best IoU:', agreement)
    assert statistics.mean(agreement) >= 0.85


@pytest.mark.gpu
def test_new_gpus_take_bfloat16(device):
    half = torch.cuda.get_device_capability()[0] >= 8
    assert fastest_exact_dtype(device) is (torch.bfloat16 if half else torch.float32)


@pytest.mark.gpu
def test_the_host_waits_twice_a_chunk_of_prompts(sam, photographs, device):
    engine = MaskEngine(sam, max_bytes=2**28, **SETTINGS)
    engine.generate(photographs)  # makes what depends on sizes, and lets libraries choose their kernels
    decoded, decode = [], engine._decode
    engine._decode = lambda *args: (decoded.append(1), decode(*args))[1]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try:
            engine.generate(photographs)
        finally:
            torch.cuda.set_sync_debug_mode('default')
    waited = [str(warning.message) for warning in caught if 'synchron' in str(warning.message)]
    # Twice a chunk. At the end suppression, which copies a constant, asks how many boxes are left, and is asked which.
    assert len(waited) <= 2 * len(decoded) + 6, waited


@pytest.mark.gpu
def test_images_on_the_host_are_sent_from_pinned_memory(device):
    from mmsampriors.masks.sam.ops import to_device

    values = torch.arange(100_000)
    to_device(values, device)
    torch.cuda.set_sync_debug_mode('error')
    try:
        sent = to_device(values, device)
        also = to_device(values.numpy(), device)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert sent.cpu().equal(values) and also.cpu().equal(values)


@pytest.mark.gpu
def test_memory_bound_is_kept(sam, photographs):
    bound, settings = 2**28, dict(SETTINGS, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    engine = MaskEngine(sam, max_bytes=bound, images_per_batch=1, **settings)
    engine.generate(photographs[:1])
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    (found,) = engine.generate(photographs[:1])
    peak, masks = torch.cuda.max_memory_allocated() - before, 3 * SETTINGS['points_per_side'] ** 2
    candidates = masks * found.size[0] * found.size[1] / 8
    # The decoder's share, the encoder's beside it, the candidates at a bit a pixel, and the masks that are returned.
    assert peak <= 2 * bound + 64 * 2**20 + 2 * candidates + 10 * found.bitmaps.numel()
