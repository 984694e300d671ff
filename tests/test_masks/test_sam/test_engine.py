import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import MaskDecoder
from small_sam import SIDE, small_sam
from torch.utils._python_dispatch import TorchDispatchMode

from mmsampriors.masks import MaskEngine, build_sam
from mmsampriors.masks.image_masks import boxes_of
from mmsampriors.masks.sam import engine as engine_module
from mmsampriors.masks.sam import ops
from mmsampriors.masks.sam.ops import resized_shape, to_encoder, torch_device
from mmsampriors.masks.sam.tiny import TINY_CHECKPOINT, tiny_architecture

SIZES = [(90, 131), (64, 64), (150, 70), (33, 47), (48, 64)]


def photographs(sizes=SIZES, seed=0):
    """(3, H, W), uint8: smooth colours, a few rectangles, noise."""
    random = torch.Generator().manual_seed(seed)
    images = []
    for height, width in sizes:
        image = torch.nn.functional.interpolate(
            torch.rand(1, 3, 4, 4, generator=random) * 255, (height, width), mode='bicubic'
        )[0]
        for _ in range(4):
            y, x = (int(torch.randint(length // 2, (), generator=random)) for length in (height, width))
            image[:, y : y + height // 3, x : x + width // 4] = torch.rand(3, 1, 1, generator=random) * 255
        image += 4 * torch.randn(3, height, width, generator=random)
        images.append(image.clamp(0, 255).byte())
    return images


def thresholds(sam, images, points=8):
    """Scores and stability above their medians; the boxes of random masks are alike, so none is suppressed."""
    settings = dict(points_per_side=points, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0)
    found = MaskEngine(sam, **settings).generate(images)
    settings['pred_iou_thresh'] = torch.cat([masks.scores for masks in found]).quantile(0.5).item()
    found = MaskEngine(sam, **settings).generate(images)
    settings['stability_score_thresh'] = torch.cat([masks.stability for masks in found]).nanquantile(0.5).item()
    return settings


def stock_masks(sam, images, settings, same_input):
    """Of segment_anything's generator; with ``same_input`` on the engine's preprocessed images."""
    generator = SamAutomaticMaskGenerator(sam, **settings)
    if same_input:
        predictor = generator.predictor

        def set_image(image):
            tensor = torch.from_numpy(image).permute(2, 0, 1).float()
            height, width = resized_shape(image.shape[:2], SIDE)
            ready = to_encoder([tensor], sam, SIDE)[:, :, :height, :width]
            predictor.set_torch_image(ready * sam.pixel_std + sam.pixel_mean, image.shape[:2])

        predictor.set_image = set_image
    return [generator.generate(np.ascontiguousarray(image.permute(1, 2, 0))) for image in images]


def matches(found, stock):
    """Share of masks matched at IoU 0.95 and a score within 1e-3, the lower of both directions."""
    theirs = torch.from_numpy(np.stack([mask['segmentation'] for mask in stock])).flatten(1).float()
    ours = found.bitmaps.flatten(1).float()
    inter = ours @ theirs.T
    iou = inter / (ours.sum(1)[:, None] + theirs.sum(1) - inter)
    scores = torch.tensor([mask['predicted_iou'] for mask in stock])
    close = (iou >= 0.95) & ((found.scores[:, None] - scores).abs() < 1e-3)
    return min(close.any(1).float().mean().item(), close.any(0).float().mean().item())


@pytest.fixture(scope='module')
def sam():
    return small_sam()


@pytest.fixture(scope='module')
def random_tiny():
    """The architecture of sam_tiny with seeded random weights, its masks made to differ as those of ``small_sam``."""
    torch.manual_seed(0)
    sam = tiny_architecture()
    with torch.no_grad():
        for layer in sam.mask_decoder.transformer.layers:
            for attention in (layer.cross_attn_token_to_image, layer.cross_attn_image_to_token):
                torch.nn.init.orthogonal_(attention.q_proj.weight, gain=2)
                attention.k_proj.weight.copy_(attention.q_proj.weight)
        for mlp in sam.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight.mul_(60)
        sam.mask_decoder.iou_prediction_head.layers[-1].bias.add_(1)
    return sam.eval().requires_grad_(False)


def test_same_masks_as_stock_over_the_encoder_of_sam_tiny(random_tiny, monkeypatch):
    monkeypatch.setitem(globals(), 'SIDE', random_tiny.image_encoder.img_size)
    images = photographs([(96, 144), (120, 80)])
    settings = thresholds(random_tiny, images, points=5)
    stock = stock_masks(random_tiny, images, settings, same_input=True)
    for found, expected in zip(MaskEngine(random_tiny, **settings).generate(images), stock):
        assert len(expected) >= 10
        assert matches(found, expected) >= 0.99


def test_same_masks_as_stock_on_the_same_input(sam):
    images = photographs()
    settings = thresholds(sam, images)
    stock = stock_masks(sam, images, settings, same_input=True)
    for found, expected, image in zip(MaskEngine(sam, **settings).generate(images), stock, images):
        assert len(expected) >= 10
        assert found.size == tuple(image.shape[1:])
        assert matches(found, expected) >= 0.99
        assert len(found) == pytest.approx(len(expected), abs=1)


def test_same_masks_as_stock_after_suppression(sam):
    images = photographs()
    settings = {**thresholds(sam, images, points=6), 'box_nms_thresh': 0.9}
    stock = stock_masks(sam, images, settings, same_input=True)
    for found, expected in zip(MaskEngine(sam, **settings).generate(images), stock):
        assert len(found) == len(expected)
        assert matches(found, expected) == 1


@pytest.mark.skipif(not TINY_CHECKPOINT.is_file(), reason='the weights of sam_tiny are not trained yet')
@pytest.mark.parametrize('same_input, share', [(True, 0.99), (False, 0.97)])
def test_same_masks_as_stock_with_trained_weights(monkeypatch, same_input, share):
    sam = build_sam('tiny').requires_grad_(False)
    monkeypatch.setitem(globals(), 'SIDE', sam.image_encoder.img_size)
    images = skimage_photographs()[:3]
    # Below TINY_AUTOMATIC, so that interim weights leave enough masks to compare.
    settings = dict(points_per_side=6, pred_iou_thresh=0.1, stability_score_thresh=0.2, box_nms_thresh=0.8)
    stock = stock_masks(sam, images, settings, same_input)
    found = MaskEngine(sam, **settings).generate(images)
    assert all(len(expected) >= 10 for expected in stock)
    assert np.mean([matches(*pair) for pair in zip(found, stock)]) >= share


def skimage_photographs():
    """Five photographs of several shapes that come with scikit-image."""
    import skimage.data

    arrays = [
        skimage.data.astronaut()[:300, :400],
        skimage.data.chelsea(),
        skimage.data.coffee(),
        skimage.data.immunohistochemistry()[:256, 100:356],
        skimage.data.astronaut()[200:, 150:400],
    ]
    return [torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1) for array in arrays]


def test_a_batch_is_its_images_one_by_one(sam):
    images = photographs()
    settings = thresholds(sam, images, points=5)
    together = MaskEngine(sam, **settings).generate(images)
    for masks, image in zip(together, images):
        (alone,) = MaskEngine(sam, **settings).generate([image])
        assert (masks.bitmaps != alone.bitmaps).float().mean() < 1e-3
        torch.testing.assert_close(masks.scores, alone.scores, rtol=0, atol=1e-3)


def test_floats_are_as_bytes(sam):
    images = torch.stack(photographs([(60, 80)] * 2))
    engine = MaskEngine(sam, **thresholds(sam, images, points=4))
    for a, b in zip(engine.generate(images), engine.generate(images / 255)):
        assert len(a) > 0
        assert a.bitmaps.equal(b.bitmaps) and a.scores.equal(b.scores) and a.stability.equal(b.stability)


def test_order_measures_and_types(sam):
    images = photographs()[:1]
    (masks,) = MaskEngine(sam, **thresholds(sam, images)).generate(images)
    assert masks.bitmaps.dtype == torch.bool and masks.areas.equal(masks.bitmaps.flatten(1).sum(1))
    assert (masks.areas.diff() <= 0).all()
    assert masks.scores.dtype == masks.stability.dtype == masks.boxes.dtype == torch.float32


def test_nothing_passes(sam):
    (masks,) = MaskEngine(sam, points_per_side=3, pred_iou_thresh=100.0).generate(photographs([(20, 30)]))
    assert len(masks) == 0 and masks.size == (20, 30)
    (masks,) = MaskEngine(sam, points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=2.0).generate(
        photographs([(20, 30)])
    )
    assert len(masks) == 0 and masks.size == (20, 30)
    assert MaskEngine(sam).generate([]) == []


def test_memory_bound_changes_chunks_not_masks(sam, monkeypatch):
    images = photographs()
    settings = thresholds(sam, images, points=6)
    whole = MaskEngine(sam, **settings).generate(images)
    engine = MaskEngine(sam, max_bytes=2**20, images_per_batch=2, **settings)
    prompts, upscaled = [], []
    decode, masks = engine.decoder.decode, engine.decoder.masks
    engine._decode = lambda state, sparse: (prompts.append(len(sparse)), decode(state, sparse))[1]
    monkeypatch.setattr(
        engine.decoder,
        'masks',
        lambda image, state, which: (upscaled.append(state.scale.shape), masks(image, state, which))[1],
    )
    for a, b in zip(engine.generate(images), whole):
        assert (a.bitmaps != b.bitmaps).float().mean() < 1e-3
    assert max(prompts) * engine.decoder.bytes_per_prompt(64) <= 2**20
    assert all(count * engine.decoder.bytes_per_upscaling(tokens) <= 2**20 for count, tokens in upscaled)
    assert min(tokens for _, tokens in upscaled) < 64  # no padding is upscaled


def test_what_does_not_fit_is_halved(sam):
    images = photographs()[:3]
    settings = thresholds(sam, images, points=4)
    whole = MaskEngine(sam, **settings).generate(images)
    engine, calls = MaskEngine(sam, **settings), []
    decode = engine._decode

    def scarce(state, sparse):
        calls.append(len(sparse))
        if len(sparse) > 7:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')
        return decode(state, sparse)

    engine._decode = scarce
    for a, b in zip(engine.generate(images), whole):
        assert (a.bitmaps != b.bitmaps).float().mean() < 1e-3
    assert calls[:2] == [48, 24] and min(calls) == 6
    engine._decode = lambda state, sparse: scarce(state, sparse.repeat(8, 1, 1))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        engine.generate(images)


class Asked(TorchDispatchMode):
    """Counts the operations whose result, or its size, the host has to wait for."""

    ASK = ('_local_scalar_dense', 'nonzero', 'masked_select', 'unique', 'nms')

    def __init__(self):
        super().__init__()
        self.asked = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        by_mask = name == 'index' and any(i is not None and i.dtype == torch.bool for i in args[1])
        if by_mask or any(ask in name for ask in self.ASK):
            self.asked.append(name)
        return function(*args, **(kwargs or {}))


@pytest.fixture
def words(monkeypatch):
    """Lists what comes from the device and what goes to it, of an engine that takes the way of a GPU on the CPU."""
    heard, sent = [], []
    monkeypatch.setattr(MaskEngine, '_filters_at_once', False)
    to_host, to_device = ops.to_host, ops.to_device
    for module in (engine_module, ops):
        monkeypatch.setattr(
            module, 'to_device', lambda values, device: (sent.append(values), to_device(values, device))[1]
        )
    monkeypatch.setattr(engine_module, 'to_host', lambda tensor: (heard.append(tensor), to_host(tensor))[1])
    return heard, sent


@pytest.mark.parametrize('stability', [None, 0.0])
def test_the_way_of_a_gpu_gives_the_same_masks_and_waits_little(sam, request, stability):
    images = [image / 255 for image in photographs()]
    settings = thresholds(sam, images, points=6)
    if stability is not None:
        settings['stability_score_thresh'] = stability
    expected = MaskEngine(sam, **settings).generate(images)
    heard, sent = request.getfixturevalue('words')
    engine = MaskEngine(sam, max_bytes=2**21, **settings)
    chunks = -(-len(engine.grid) // engine._fitting(len(images) * engine.decoder.bytes_per_prompt(64)))
    engine.generate(images)
    heard.clear(), sent.clear()
    with Asked() as mode:
        found = engine.generate(images)
    for a, b in zip(found, expected):
        assert len(a) >= 5
        assert a.bitmaps.equal(b.bitmaps) and a.boxes.equal(b.boxes) and a.areas.equal(b.areas)
        assert a.boxes.equal(boxes_of(a.bitmaps))
    assert chunks > 1 and len(heard) <= 2 * chunks + 2  # the range of the values and suppression besides
    assert all(part.dtype == torch.float32 or part.dtype == torch.uint8 for part in sent if torch.is_tensor(part))
    assert set(mode.asked) <= {'nms'} and len(mode.asked) <= 1


def test_matrices_and_points_are_made_once_a_size(sam, monkeypatch):
    made, interpolation = [], ops._interpolation
    monkeypatch.setattr(ops, '_interpolation', lambda *args: (made.append(args), interpolation(*args))[1])
    engine = MaskEngine(sam, points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    for _ in range(3):
        engine.generate(photographs([(40, 64), (40, 64), (64, 40)]))
    assert len(made) == 4
    assert engine.points_on.cache_info().misses == 1


def test_an_engine_goes_with_its_last_name(sam):
    engine = MaskEngine(sam, points_per_side=2)
    engine.generate(photographs([(40, 64)]))
    seen = weakref.ref(engine)
    gc.disable()
    try:
        del engine
        assert seen() is None
    finally:
        gc.enable()


class OtherDecoder(MaskDecoder):
    """Not segment_anything's own."""


def test_other_decoder_gives_stock_masks(sam):
    other = small_sam()
    other.mask_decoder.__class__ = OtherDecoder
    images = photographs()[:3]
    settings = thresholds(sam, images, points=4)
    for a, b in zip(MaskEngine(other, **settings).generate(images), MaskEngine(sam, **settings).generate(images)):
        assert (a.bitmaps != b.bitmaps).float().mean() < 1e-3


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_runs(sam, dtype):
    images = photographs()[:2]
    settings = thresholds(sam, images, points=4)
    for masks in MaskEngine(sam, dtype=dtype, **settings).generate(images):
        assert len(masks) > 0 and masks.scores.isfinite().all()


def test_fast_has_fewer_points_and_less_resolution(sam):
    engine = MaskEngine.fast(sam, pred_iou_thresh=0.5)
    assert (len(engine.grid), engine.resolution, engine.pred_iou_thresh) == (16**2, SIDE // 2, 0.5)
    assert len(MaskEngine.fast(sam, points_per_side=4).grid) == 16
    other = small_sam()
    other.image_encoder.__class__ = type('OtherEncoder', (type(other.image_encoder),), {})
    assert MaskEngine.fast(other).resolution == SIDE


def test_lower_resolution_keeps_the_frame(sam):
    images = photographs()[:2]
    for masks, image in zip(MaskEngine(sam, 4, 0.0, 0.0, resolution=SIDE // 2).generate(images), images):
        assert masks.size == tuple(image.shape[1:])


def test_lower_resolution_asks_at_the_same_places(sam):
    engines = [MaskEngine(sam, 4, resolution=side) for side in (SIDE, SIDE // 2)]
    full, half = (engine.points_on(tuple(SIZES), torch.device('cpu')) for engine in engines)
    torch.testing.assert_close(half, full, rtol=0, atol=1.5)  # pixels of the prompt encoder, which rounds sizes


@pytest.mark.parametrize(
    'images, message',
    [
        (torch.zeros(2, 1, 8, 8), r'images\[0\] must be a tensor of shape \(3, H, W\), found \(1, 8, 8\)'),
        ([np.zeros((8, 8, 3))], r'images\[0\] must be a tensor of shape \(3, H, W\), found ndarray'),
        (torch.zeros(1, 3, 8, 8).int(), r'must be uint8, or float in \[0, 1\], found torch.int32'),
        (torch.full((1, 3, 8, 8), 255.0), r'must be in \[0, 1\], found 255.0 to 255.0: clamp it, or give uint8'),
        (
            torch.zeros(3, 8, 8),
            r'a tensor of shape \(N, 3, H, W\) or a list of tensors .*found a tensor of shape \(3, 8',
        ),
        (None, 'found NoneType'),
        (torch.zeros(1, 3, 0, 8), 'must have pixels'),
        (torch.full((1, 3, 8, 8), float('nan')), r'must be in \[0, 1\], found nan'),
    ],
)
def test_wrong_images(sam, images, message):
    with pytest.raises(ValueError, match=message):
        MaskEngine(sam).generate(images)


def test_the_short_side_of_a_long_image_is_a_pixel():
    assert resized_shape((1, 5000), SIDE) == (1, SIDE)


def test_what_is_no_sam():
    with pytest.raises(TypeError, match='expected a SAM, .*found Linear without image_encoder'):
        MaskEngine(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match='model_type must be one of'):
        build_sam(['tiny'])


def test_wrong_settings(sam):
    for settings, message in (
        (dict(pred_iou_thresh='high'), "pred_iou_thresh must be a number of at least 0, found 'high'"),
        (dict(resolution=-64), 'resolution must be a whole number of at least 1, found -64'),
        (dict(resolution=SIDE // 2 + 1), f'resolution must be a multiple of .* of a patch, found {SIDE // 2 + 1}'),
        (dict(resolution=0), 'resolution must be a whole number of at least 1, found 0'),
        (dict(points_per_side=4.5), 'points_per_side must be a whole number of at least 1, found 4.5'),
        (dict(pred_iou_thresh=float('nan')), 'pred_iou_thresh must be a number of at least 0, found nan'),
        (dict(stability_score_offset=-3), 'stability_score_offset must be a number of at least 0, found -3'),
        (dict(dtype='half'), "dtype must be torch.float32, .*found 'half'"),
    ):
        with pytest.raises(ValueError, match=message):
            MaskEngine(sam, **settings)
    with pytest.raises(ValueError, match='points_per_side must be a whole number of at least 1, found 0'):
        MaskEngine(sam, points_per_side=0)


def test_masks_need_no_mmagic():
    use = 'import mmsampriors.masks as m; m.MaskEngine, m.RunMasks.empty(4, 5)'
    code = f"import sys; sys.modules['mmagic'] = None; {use}"
    subprocess.run([sys.executable, '-c', code], check=True, cwd=engine_module.__file__.rsplit('/', 3)[0])


def test_nothing_found_is_said_once():
    photograph = skimage_photographs()[:1]
    assert len(MaskEngine(build_sam('tiny')).generate(photograph)[0]) >= 10
    engine = MaskEngine(build_sam('tiny'), points_per_side=4, pred_iou_thresh=0.99)
    with pytest.warns(UserWarning, match='none passes pred_iou_thresh=0.99 .*register_sam') as said:
        engine.generate(photograph)
        engine.generate(photograph)
    assert len([one for one in said if 'no mask was found' in str(one.message)]) == 1


def test_a_device_by_its_number_is_a_gpu():
    if torch.cuda.is_available():
        assert torch_device(0) == torch.device('cuda:0')
        return
    with pytest.raises(ValueError, match=r"expected a device of this machine, one of \['cpu'\], found 0"):
        torch_device(0)
