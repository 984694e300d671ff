"""MaskCacheHook in a real Runner."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmagic.models import DataPreprocessor
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image
from torch.utils.data import DataLoader

from mmsampriors.engine.hooks.data import MaskCacheHook, looked_at_in_validation
from mmsampriors.masks import ImageMasks, MaskStoreError
from mmsampriors.models.mask_sources import StoredMaskSource

torch.set_num_threads(1)
PIPELINE = [
    dict(type='LoadImageFromFile', key='img'),
    dict(type='LoadImageFromFile', key='gt'),
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5),
    dict(type='PairedRandomCrop', gt_patch_size=8),
    dict(type='PackInputs'),
]


class Source(StoredMaskSource):
    """A stored mask source as the model has it; counts the images that it segments."""

    name = 'one'

    def __init__(self, cache_dir):
        super().__init__()
        self.cache_dir, self.segmenter, self.segmented = str(cache_dir), self, 0

    def store(self, data_root):
        return dict(type='MaskCache', cache_dir=self.cache_dir, settings=dict(name=self.name), data_root=data_root)

    def segment(self, images):
        self.segmented += len(images)
        return [ImageMasks.from_masks(image > 0.5) for image in images]


class Model(BaseModel):
    """Notes what it is shown."""

    def __init__(self, masks):
        super().__init__(DataPreprocessor(mean=[0] * 3, std=[255] * 3))
        self.weight, self.mask_source, self.seen = torch.nn.Parameter(torch.zeros(())), masks, []

    def forward(self, inputs, data_samples, mode):
        self.seen.append((inputs.clone(), data_samples.gt_img.clone(), getattr(data_samples, 'masks', None)))
        return dict(loss=self.weight * inputs.mean())


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ('img', 'gt'):
        (tmp_path / name).mkdir()
        for index in range(5):
            Image.fromarray(rng.integers(0, 255, (12, 17, 3), np.uint8)).save(tmp_path / name / f'{index}.png')
    return tmp_path


def train(folder, masks, workers=0, by_epoch=False, persistent=False, **hook):
    init_default_scope('mmagic')
    model = Model(masks)
    dataset = dict(
        type='BasicImageDataset', data_root=str(folder), data_prefix=dict(img='img', gt='gt'), pipeline=PIPELINE
    )
    sampler = dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True)
    runner = Runner(
        model,
        str(folder / 'work'),
        train_dataloader=dict(
            batch_size=2, num_workers=workers, persistent_workers=persistent, dataset=dataset, sampler=sampler
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2) if by_epoch else dict(by_epoch=False, max_iters=6),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_scope='mmagic',
        randomness=dict(seed=3),
        custom_hooks=[MaskCacheHook(**hook)],
        log_level='ERROR',
        experiment_name=os.urandom(8).hex(),
        default_hooks=dict(logger=None, checkpoint=None),
    )
    runner.train()
    return model


@pytest.mark.parametrize(
    'workers, by_epoch, persistent', [(0, False, False), (1, False, False), (1, False, True), (1, True, False)]
)
def test_the_model_sees_the_same_images_with_masks(folder, workers, by_epoch, persistent):
    plain = train(folder, None, workers, by_epoch, persistent)
    masked = train(folder, Source(folder / 'cache'), workers, by_epoch, persistent)
    assert len(plain.seen) == len(masked.seen) == 6
    for (inputs, gt, nothing), (same_inputs, same_gt, masks) in zip(plain.seen, masked.seen):
        assert nothing is None and torch.equal(inputs, same_inputs) and torch.equal(gt, same_gt)
        for image, found in zip(gt, masks, strict=True):
            expected = ImageMasks.from_masks(image.flip(0) > 0.5)  # read as BGR here, segmented as RGB
            shown = {tuple(mask.flatten().tolist()) for mask in found.bitmaps}
            assert shown == {tuple(mask.flatten().tolist()) for mask in expected.bitmaps}


def test_fills_once(folder):
    first, second = Source(folder / 'cache'), Source(folder / 'cache')
    train(folder, first)
    train(folder, second)
    assert (first.segmented, second.segmented) == (5, 0)
    assert len(list((folder / 'cache').rglob('*.masks'))) == 5


def test_corrupt_entries_are_recomputed(folder):
    train(folder, Source(folder / 'cache'))
    entry = next(Path(folder / 'cache').rglob('*.masks'))
    entry.write_bytes(entry.read_bytes()[:-3])
    source = Source(folder / 'cache')
    train(folder, source)
    assert source.segmented == 1


def test_foreign_and_stale_entries_stop_the_training(folder):
    train(folder, Source(folder / 'cache'))
    other = Source(folder / 'cache')
    other.name = 'two'
    with pytest.raises(MaskStoreError, match="foreign masks: .*name: the entry has 'one', the config 'two'"):
        train(folder, other)
    Image.fromarray(np.zeros((12, 17, 3), np.uint8)).save(folder / 'gt' / '2.png')
    with pytest.raises(MaskStoreError, match=r'stale masks: .*2\.png changed'):
        train(folder, Source(folder / 'cache'))


def test_a_large_cache_is_trusted_by_its_manifest(folder, monkeypatch):
    train(folder, Source(folder / 'cache'))
    monkeypatch.setattr('mmsampriors.datasets.stored_masks.READ_WHOLE', 4)
    monkeypatch.setattr('mmsampriors.engine.hooks.data.carry_masks', lambda *_: None)  # nor does training read them
    entries = sorted((folder / 'cache').rglob('*.masks'))
    entries[0].write_bytes(b'half')
    assert train_counting(folder) == 0, 'no entry was read'
    os.remove(entries[1])
    assert train_counting(folder) == 2, 'all were'
    assert train_counting(folder) == 0


def test_wrong_masks_end_a_training_that_trusted_a_manifest(folder, monkeypatch):
    train(folder, Source(folder / 'cache'))
    monkeypatch.setattr('mmsampriors.datasets.stored_masks.READ_WHOLE', 4)
    for number in range(5):
        Image.fromarray(np.zeros((12, 17, 3), np.uint8)).save(folder / 'gt' / f'{number}.png')
    with pytest.raises(MaskStoreError, match=r'stale masks: .*png changed'):
        train(folder, Source(folder / 'cache'))


def train_counting(folder):
    """How many images a training segments."""
    source = Source(folder / 'cache')
    train(folder, source)
    return source.segmented


def test_what_is_refused_is_refused_before_anything_is_computed(folder, monkeypatch):
    source = Source(folder / 'cache')
    rotation = dict(type='RandomRotation', keys=['img', 'gt'], degrees=5)
    monkeypatch.setattr(sys.modules[__name__], 'PIPELINE', [*PIPELINE[:3], rotation, *PIPELINE[3:]])
    with pytest.raises(ValueError, match='RandomRotation in the train pipeline'):
        train(folder, source)
    assert source.segmented == 0


@pytest.mark.parametrize('stored', [False, None])
def test_does_nothing_without_stored_masks(folder, stored):
    source = None if stored is None else Source(folder / 'cache')
    if source:
        source.stored = False
    assert train(folder, source).seen[0][2] is None
    assert not (folder / 'cache').exists()


@pytest.mark.parametrize('several', [False, True])
def test_masks_of_whole_batches_of_validation_are_stored(several):
    """A hook that looks at three images is shown batches."""
    loader = DataLoader(range(9), batch_size=4)
    evaluator = SimpleNamespace(metrics=[])
    loop = SimpleNamespace(dataloader=loader, evaluator=evaluator)
    if several:
        loop = SimpleNamespace(dataloaders=[loader, None], evaluators=[evaluator, None])
    hooks = [SimpleNamespace(), *(SimpleNamespace(refined_in_validation=True, num_images=count) for count in (1, 3))]
    runner = SimpleNamespace(val_loop=loop, hooks=hooks)
    assert looked_at_in_validation(runner, None) == (loader.dataset, 12)
