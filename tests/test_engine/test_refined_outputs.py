import copy
from types import SimpleNamespace

import torch
from mmcv.transforms import Compose

import mmsampriors.models  # noqa: F401
from mmsampriors.datasets.stored_masks import fill_masks
from mmsampriors.engine.testing import RefinedOutputs
from mmsampriors.models.mask_sources import CachedMasks
from mmsampriors.registry import MODELS, TRANSFORMS


def batch_of(pairs):
    """Two samples of 72 by 64 pixels, as a data loader gives them."""
    steps = [dict(type='LoadImageFromFile', key=key) for key in ('img', 'gt')] + [dict(type='PackInputs')]
    load = Compose([TRANSFORMS.build(step) for step in steps])
    samples = [
        load(dict(img_path=str(pairs / 'input' / name), gt_path=str(pairs / 'target' / name)))
        for name in ('astronaut.png', 'coffee.png')
    ]
    return {key: [sample[key] for sample in samples] for key in ('inputs', 'data_samples')}


def test_are_what_a_model_of_refined_images_predicts_without_the_padding(model_cfg, pairs):
    padding = dict(type='DataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3, pad_size_divisor=40)
    model = MODELS.build(model_cfg(data_preprocessor=padding)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        refined = RefinedOutputs(model)
        outputs = model.val_step(batch_of(pairs))
        refined.add_to(outputs)
        assert refined.restored.shape == (2, 3, 80, 80)
        refined.close()
        assert refined.inputs is None and refined.restored is None
        model.test_cfg = dict(refined=True)
        expected = model.val_step(batch_of(pairs))
    for ours, theirs in zip(outputs, expected):
        torch.testing.assert_close(ours.refined_img, theirs.output.pred_img)
        assert ours.refined_img.shape == (3, 72, 64) and ours.refined_masks.size == (72, 64)
        assert not torch.equal(ours.refined_img, ours.output.pred_img)
    before = copy.deepcopy(outputs[0].refined_img)
    refined.add_to(outputs)
    assert torch.equal(outputs[0].refined_img, before) and refined.restored is None


class Pairs:
    """What is asked of a built dataset: three images, the first one twice."""

    pipeline = None

    def __init__(self, pairs):
        self.data_root = str(pairs)
        self.paths = [str(pairs / 'target' / name) for name in ('astronaut.png', 'coffee.png', 'astronaut.png')]

    def __len__(self):
        return 3

    def get_data_info(self, index):
        return dict(gt_path=self.paths[index])


class OnDisk(CachedMasks):
    """Stored masks, whose segmenter must not run."""

    def __init__(self, cache_dir):
        super().__init__(dict(type='FelzenszwalbMasks'), cache_dir=str(cache_dir))
        self.left = 0

    def segment(self, images, paths=()):
        raise AssertionError('segmented')

    def release(self):
        self.left += 1


def test_stored_masks_are_taken_in_validation(model_cfg, pairs, tmp_path):
    padding = dict(type='DataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3, pad_size_divisor=40)
    model = MODELS.build(model_cfg(data_preprocessor=padding)).eval()
    model.mask_source = source = OnDisk(tmp_path / 'masks')
    dataset = Pairs(pairs)
    fill_masks(dataset, source, validation=(dataset, 2))
    assert list(source.kept_for_validation) == dataset.paths[:2] and source.left == 1
    assert len(list((tmp_path / 'masks' / 'validation').rglob('*.masks'))) == 2
    with torch.no_grad():
        refined = RefinedOutputs(model)
        outputs = model.val_step(batch_of(pairs))
        refined.add_to(outputs)
        refined.close()
    assert source.left == 2
    for output in outputs:
        stored = source.kept_for_validation[output.gt_path].load(output.gt_path)
        shown, expected = (
            {mask.numpy().tobytes() for mask in masks.bitmaps} for masks in (output.refined_masks, stored)
        )
        assert shown == expected and len(stored) > 1


def test_images_that_are_restored_in_half_precision_are_refined_in_float32():
    outputs = RefinedOutputs(SimpleNamespace(generator=torch.nn.Identity(), mask_source=SimpleNamespace(stored=False)))
    outputs.model.generator(torch.zeros(1, 3, 2, 2, dtype=torch.bfloat16))
    assert outputs.restored.dtype == torch.float32
    outputs.close()
