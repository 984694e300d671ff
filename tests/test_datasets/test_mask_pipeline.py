"""Stored masks in the train pipelines of mmagic."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmagic.datasets import BasicImageDataset
from mmagic.datasets.transforms import Flip, PackInputs, PairedRandomCrop
from mmagic.models import DataPreprocessor
from mmagic.registry import TRANSFORMS
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose, ConcatDataset, pseudo_collate
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from PIL import Image

from mmsampriors.datasets.deterministic_loader import SampleIndex
from mmsampriors.datasets.mask_pipeline import with_spd_masks
from mmsampriors.datasets.stored_masks import carry_masks, datasets_with_pipeline, fill_masks
from mmsampriors.masks import ImageFile, ImageMasks, MaskCache, MaskStoreError
from mmsampriors.models import StoredMaskSource
from mmsampriors.models.mask_sources import LabelMapMasks
from mmsampriors.registry import is_a

init_default_scope('mmagic')
torch.set_num_threads(1)
CONFIGS = Path(importlib.util.find_spec('mmagic').origin).parent / '.mim' / 'configs'
LOAD = [dict(type='LoadImageFromFile', key='img'), dict(type='LoadImageFromFile', key='gt')]
SCALE = dict(type='SetValues', dictionary=dict(scale=1))
TURN = [
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='vertical'),
    dict(type='RandomTransposeHW', keys=['img', 'gt'], transpose_ratio=0.5),
]
NAFNET = [*LOAD, SCALE, *TURN, dict(type='PairedRandomCrop', gt_patch_size=16), dict(type='PackInputs')]
SIZE = (33, 48)


@TRANSFORMS.register_module()
class CropOfAnotherKind(PairedRandomCrop):
    """Stands for crops that others derive."""

    def transform(self, results):
        self.gt_patch_size = 12
        return super().transform(results)


@TRANSFORMS.register_module()
class Unheard(BaseTransform):
    """Stands for transforms that this project does not know."""

    def transform(self, results):
        return results


@pytest.fixture
def folder(tmp_path):
    """Pairs whose ground truth shows its own label map in every channel: it tells where each pixel went."""
    rng = np.random.default_rng(0)
    for name in ('img', 'gt', 'labels'):
        (tmp_path / name).mkdir()
    for index in range(4):
        coarse = rng.integers(0, 40, (7, 7), np.uint8)
        labels = np.kron(coarse, np.ones((7, 7), np.uint8))[: SIZE[0], : SIZE[1]]
        labels = np.ascontiguousarray(np.pad(labels, ((0, 0), (0, SIZE[1] - labels.shape[1])), mode='reflect'))
        Image.fromarray(labels).save(tmp_path / 'labels' / f'{index}.png')
        Image.fromarray(np.stack([labels] * 3, 2)).save(tmp_path / 'gt' / f'{index}.png')
        Image.fromarray(rng.integers(0, 255, (*SIZE, 3), np.uint8)).save(tmp_path / 'img' / f'{index}.png')
    return tmp_path


def label_store(folder):
    return dict(type='LabelMaps', folder=str(folder / 'labels'))


def paths_of(folder, index):
    return {f'{key}_path': str(folder / key / f'{index}.png') for key in ('img', 'gt')}


def dataset_of(folder, pipeline):
    return BasicImageDataset(data_root=str(folder), data_prefix=dict(img='img', gt='gt'), pipeline=pipeline)


def assert_masks_follow(sample):
    masks, gt = sample['data_samples'].masks, sample['data_samples'].gt_img
    expected = ImageMasks.from_label_map(gt[0])
    assert len(masks) == len(expected) > 0
    shown = {tuple(mask.flatten().tolist()) for mask in masks.bitmaps}
    assert shown == {tuple(mask.flatten().tolist()) for mask in expected.bitmaps}
    assert masks.areas.tolist() == expected.areas.tolist()


PIPELINES = dict(
    nafnet=NAFNET,
    built=Compose(NAFNET).transforms,
    crop_first=[*LOAD, SCALE, dict(type='PairedRandomCrop', gt_patch_size=16), *TURN, dict(type='PackInputs')],
    derived_crop=[*LOAD, SCALE, *TURN, dict(type='CropOfAnotherKind', gt_patch_size=1), dict(type='PackInputs')],
    fixed_crop=[*LOAD, *TURN, dict(type='FixedCrop', keys=['img', 'gt'], crop_size=(8, 12)), dict(type='PackInputs')],
    centre_crop=[
        *LOAD,
        *TURN,
        dict(type='Crop', keys=['img', 'gt'], crop_size=(8, 12), random_crop=False),
        dict(type='PackInputs'),
    ],
    no_crop=[*LOAD, *TURN, dict(type='PackInputs', keys=['img'], meta_keys=['gt_path'])],
    progressive=[
        *LOAD,
        SCALE,
        dict(type='mmsampriors.PadToPatch'),
        dict(type='mmsampriors.ProgressivePairedRandomCrop'),
        *TURN,
        dict(type='PackInputs'),
    ],
    noise=[
        dict(type='LoadImageFromFile', key='gt'),
        SCALE,
        dict(type='Flip', keys=['gt'], flip_ratio=0.5),
        dict(type='CopyValues', src_keys=['gt'], dst_keys=['img']),
        dict(
            type='RandomNoise',
            params=dict(noise_type=['gaussian'], noise_prob=[1], gaussian_sigma=[50, 50], gaussian_gray_noise_prob=0),
            keys=['img'],
        ),
        *TURN,
        dict(type='PairedRandomCrop', gt_patch_size=16),
        dict(type='PackInputs'),
    ],
)


@pytest.mark.parametrize('name', PIPELINES)
def test_masks_follow_and_images_stay_the_same(folder, name):
    pipeline = PIPELINES[name]
    plain, carrying = Compose(pipeline), Compose(with_spd_masks(pipeline, label_store(folder)))
    for index in range(12):
        info = paths_of(folder, index % 4) | dict(sample_idx=SampleIndex(index, 16 if index % 3 else 40))
        samples = []
        for compose in (plain, carrying):
            np.random.seed(index)
            samples.append(compose(dict(info)))
        assert torch.equal(samples[0]['inputs'], samples[1]['inputs'])
        assert torch.equal(samples[0]['data_samples'].gt_img, samples[1]['data_samples'].gt_img)
        assert_masks_follow(samples[1])


@pytest.mark.parametrize(
    'config',
    [
        'nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py',
        'nafnet/nafnet_c64eb2248mb12db2222_8xb8-lr1e-3-400k_sidd.py',
        'swinir/swinir_s128w8d6e180_8xb1-lr2e-4-1600k_dfwb-colorDN50.py',
        'swinir/swinir_s126w7d6e180_8xb1-lr2e-4-1600k_dfwb-colorCAR40.py',
        'swinir/swinir_x2s48w8d6e180_8xb4-lr2e-4-500k_div2k.py',
    ],
)
def test_train_pipelines_of_mmagic_are_carried(config):
    pipeline = get_config(f'mmagic::{config}').train_pipeline
    carried = [step['type'] for step in with_spd_masks(pipeline, dict(type='LabelMaps', folder='x'))]
    assert {'mmsampriors.LoadMasks', 'mmsampriors.CarryMasks', 'mmsampriors.PackMasks'} <= set(carried)
    assert with_spd_masks(pipeline, dict(type='LabelMaps', folder='x')) is not pipeline
    assert all(not is_a(step, 'LoadMasks') for step in pipeline)


#: The configs of super-resolution that mmagic has a schedule for; six more of SwinIR can only test.
ENLARGING = sorted(
    str(path.relative_to(CONFIGS))
    for pattern in ('edsr/*', 'rdn/*', 'srcnn/*', 'esrgan/esrgan_psnr*', 'srgan_resnet/msrresnet*', 'swinir/swinir_x*')
    for path in CONFIGS.glob(f'{pattern}.py')
)


def test_there_are_eighteen_such_configs():
    assert len(ENLARGING) == 18


@pytest.mark.parametrize('config', ENLARGING)
def test_masks_follow_the_ground_truth_at_the_scale_of_each_config(tmp_path, config):
    pipeline = get_config(f'mmagic::{config}').train_pipeline
    (scale,) = (step.dictionary.scale for step in pipeline if step.type == 'SetValues')
    (crop,) = (step for step in pipeline if step.type == 'PairedRandomCrop')
    crop.gt_patch_size = 8 * scale
    # Each pixel of the small image shows the label of its square of the ground truth.
    coarse = np.random.default_rng(0).integers(0, 40, (11, 13), np.uint8)
    labels = np.kron(coarse, np.ones((scale, scale), np.uint8))
    for name, image in (('img', coarse), ('gt', labels), ('labels', labels)):
        (tmp_path / name).mkdir()
        image = image if name == 'labels' else np.stack([image] * 3, 2)
        Image.fromarray(image).save(tmp_path / name / '0.png')
    compose, shown = Compose(with_spd_masks(pipeline, label_store(tmp_path))), set()
    for seed in range(16):
        np.random.seed(seed)
        sample = compose(paths_of(tmp_path, 0))
        gt = sample['data_samples'].gt_img
        assert gt.shape == (3, 8 * scale, 8 * scale)
        assert torch.equal(sample['inputs'], gt[:, ::scale, ::scale])
        assert_masks_follow(sample)
        shown.add(tuple(gt.flatten().tolist()))
    assert len(shown) > 10, 'crops, flips and transpositions are drawn'


def test_a_pipeline_that_loads_masks_is_left_alone(folder):
    once = with_spd_masks(NAFNET, label_store(folder))
    assert with_spd_masks(once, dict(type='LabelMaps', folder='elsewhere')) is once


@pytest.mark.parametrize(
    'step, message',
    [
        (
            dict(type='Resize', keys=['img', 'gt'], scale=(8, 8)),
            r"Resize in the train pipeline .* neutral=\['Resize'\]",
        ),
        (dict(type='RandomRotation', keys=['img', 'gt'], degrees=90), 'RandomRotation .* not known'),
        (dict(type='Unheard'), 'Unheard .* not known to keep every pixel in its place'),
        (dict(type='NoSuchTransform'), "'NoSuchTransform' in the train pipeline is no registered transform"),
        (
            dict(type='Crop', keys=['img', 'gt'], crop_size=(64, 64), is_pad_zeros=True),
            'masks cannot follow Crop with is_pad_zeros=True: leave that out',
        ),
        (dict(type='Flip', keys=['img'], flip_ratio=0.5), r"Flip.* moves \['img'\] and not \['gt'\]"),
    ],
)
def test_what_would_leave_masks_behind_is_refused(folder, step, message):
    with pytest.raises(ValueError, match=message):
        with_spd_masks([*LOAD, step, dict(type='PackInputs')], label_store(folder))


def test_transforms_can_be_declared_neutral(folder):
    pipeline = [*LOAD, dict(type='Unheard'), dict(type='PackInputs')]
    assert len(with_spd_masks(pipeline, label_store(folder), neutral=('Unheard',))) == 5


@pytest.mark.parametrize(
    'pipeline, message',
    [
        ([LOAD[0], dict(type='PackInputs')], 'loads none'),
        (LOAD, 'ends without packing'),
        ([dict(type='Flip', keys=['img', 'gt']), *LOAD, dict(type='PackInputs')], 'a loaded gt'),
    ],
)
def test_incomplete_pipelines_are_refused(folder, pipeline, message):
    with pytest.raises(ValueError, match=message):
        with_spd_masks(pipeline, label_store(folder))


@pytest.mark.parametrize('source', ['lq', 'restored'])
def test_random_degradations_take_masks_of_the_ground_truth_only(folder, source):
    with pytest.raises(ValueError, match=rf"source '{source}' cannot be stored: .* \(RandomNoise\). Use source 'gt'"):
        with_spd_masks(PIPELINES['noise'], label_store(folder), source)
    copied = [step for step in PIPELINES['noise'] if step['type'] != 'RandomNoise']
    with pytest.raises(ValueError, match='not loaded from a file'):
        with_spd_masks(copied, label_store(folder), source)
    assert {'key': 'img'}.items() <= next(
        step for step in with_spd_masks(NAFNET, label_store(folder), source) if is_a(step, 'LoadMasks')
    ).items()


def test_a_crop_that_cuts_apart_is_an_error(folder):
    pipeline = [*LOAD, dict(type='Crop', keys=['img', 'gt'], crop_size=(8, 8)), dict(type='PackInputs')]
    compose = Compose(with_spd_masks(pipeline, label_store(folder)))
    with pytest.raises((ValueError, RuntimeError), match='cut .* at different places'):
        for index in range(9):
            compose(paths_of(folder, 0))


def test_masks_of_another_size_are_named(folder):
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / 'labels' / '0.png')
    compose = Compose(with_spd_masks(NAFNET, label_store(folder)))
    with pytest.raises(ValueError, match=r'0\.png are of \(5, 5\), its ground truth has \(33, 48\)'):
        compose(paths_of(folder, 0))


def test_masks_left_behind_by_a_neutral_transform_are_noticed(folder):
    pipeline = [*LOAD, dict(type='Resize', keys=['img', 'gt'], scale=(8, 8)), dict(type='PackInputs')]
    compose = Compose(with_spd_masks(pipeline, label_store(folder), neutral=('Resize',)))
    with pytest.raises(ValueError, match=r'masks of .*0\.png are of \(33, 48\), the ground truth has \(8, 8\)'):
        compose(paths_of(folder, 0))


class Source(StoredMaskSource):
    """A stored mask source as the model has it."""

    def __init__(self, cache_dir):
        super().__init__()
        self.cache_dir, self.segmenter = str(cache_dir), self

    def store(self, data_root):
        return dict(type='MaskCache', cache_dir=self.cache_dir, settings=dict(source=self.source), data_root=data_root)

    def segment(self, images):
        return [ImageMasks.from_label_map((image[0] * 255).round().int()) for image in images]

    def release(self):
        pass


def test_k_of_0_3_and_64_in_one_batch(folder):
    source, dataset = Source(folder / 'cache'), dataset_of(folder, NAFNET)
    cache = MaskCache(folder / 'cache', dict(source='gt'), data_root=folder)
    everywhere = torch.rand(64, *SIZE) < 0.5
    for index, count in enumerate([0, 3, 64]):
        image = ImageFile(folder / 'gt' / f'{index}.png')
        cache.save(image, ImageMasks.from_masks(everywhere[:count].reshape(-1, *SIZE)))
    carry_masks(dataset, source)
    order = sorted(range(4), key=lambda index: dataset.get_data_info(index)['gt_path'])
    loader = torch.utils.data.DataLoader(
        torch.utils.data.Subset(dataset, order[:3]), batch_size=3, num_workers=1, collate_fn=pseudo_collate
    )
    batch = DataPreprocessor(mean=[0] * 3, std=[255] * 3)(next(iter(loader)), training=True)
    masks = batch['data_samples'].masks
    assert [type(item).__mro__[1] for item in masks] == [ImageMasks] * 3
    assert [item.bitmaps.shape for item in masks] == [(0, 16, 16), (3, 16, 16), (64, 16, 16)]
    assert batch['inputs'].shape == batch['data_samples'].gt_img.shape == (3, 3, 16, 16)


def test_wrapped_datasets_are_filled_and_carried(folder):
    source = Source(folder / 'cache')
    part = dict(type='BasicImageDataset', data_root=str(folder), data_prefix=dict(img='img', gt='gt'), pipeline=NAFNET)
    dataset = ConcatDataset([dict(type='RepeatDataset', dataset=part, times=2), part])
    assert datasets_with_pipeline(dataset) == [dataset.datasets[0].dataset, dataset.datasets[1]]
    carry_masks(dataset, source)
    with pytest.raises(MaskStoreError, match='no masks of'):
        dataset[0]
    assert fill_masks(dataset, source) == (4, 4)
    assert fill_masks(dataset, source) == (8, 0)
    for index in range(len(dataset)):
        assert_masks_follow(dataset[index])


def test_images_of_two_datasets_do_not_share_masks(folder):
    other = folder / 'other'
    shutil.copytree(folder / 'gt', other / 'gt')
    shutil.copytree(folder / 'img', other / 'img')
    parts = [
        dict(type='BasicImageDataset', data_root=str(root), data_prefix=dict(img='img', gt='gt'), pipeline=NAFNET)
        for root in (folder, other)
    ]
    source = LabelMapMasks(str(folder / 'labels'))
    carry_masks(ConcatDataset(parts), source)  # the same images
    Image.fromarray(np.zeros((33, 48, 3), np.uint8)).save(other / 'gt' / '0.png')
    with pytest.raises(MaskStoreError, match='other/gt/0.png and .*/gt/0.png would share the masks .*labels/0.png'):
        carry_masks(ConcatDataset(parts), source)


def test_built_pipelines_keep_their_transforms(folder):
    dataset = dataset_of(folder, NAFNET)
    before = list(dataset.pipeline.transforms)
    carry_masks(dataset, Source(folder / 'cache'))
    after = dataset.pipeline.transforms
    assert [step for step in before if type(step) not in (Flip, PackInputs)][:3] == [after[0], after[1], after[3]]
    assert after[4].wrapped is before[3] and after[-1].pack is before[-1]
    assert {type(step).__name__ for step in after} == {
        'LoadImageFromFile',
        'LoadMasks',
        'SetValues',
        'CarryMasks',
        'PackMasks',
    }
