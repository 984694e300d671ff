"""What the tests share: one thread, mmagic's scope, tiny pairs of photographs, and a small SPD config on them."""

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
import collections
import copy
import functools
import signal

import cv2
import hypothesis
import mmengine.config.config
import mmengine.config.utils
import mmengine.runner.runner
import numpy as np
import pytest
import skimage.data
import torch
from mmengine.registry import init_default_scope

from mmsampriors.compat import apply_to_tools
from mmsampriors.registry import MODELS

# Each base ``mmagic::...`` reads all of mmagic's index anew, which takes longer than the config.
mmengine.config.utils._get_cfg_metainfo = functools.cache(mmengine.config.utils._get_cfg_metainfo)
apply_to_tools()  # what is tested is what runs in our tools
hypothesis.settings.register_profile('suite', deadline=None)  # other processes share the cores
hypothesis.settings.load_profile('suite')
# Shells start jobs in the background with Ctrl-C ignored, and the processes that tests start and stop would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)
cv2.setNumThreads(1)

NAFNET = dict(type='NAFNet', img_channels=3, mid_channels=4, enc_blk_nums=[1], middle_blk_num=1, dec_blk_nums=[1])


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, then those with many: the processes that share them out end together."""
    counts = collections.Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: (item.path not in slow, -counts[item.path]))  # stable: a file's tests keep their order


@pytest.fixture(autouse=True)
def mmagic_scope():
    init_default_scope('mmagic')


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def pairs(tmp_path_factory):
    """A folder with ``input/`` and ``target/``: four photographs of 72 by 64 pixels, and their noisy copies."""
    root = tmp_path_factory.mktemp('pairs')
    random = np.random.default_rng(0)
    for name in ('astronaut', 'chelsea', 'coffee', 'rocket'):
        gt = cv2.resize(getattr(skimage.data, name)(), (64, 72), interpolation=cv2.INTER_AREA)
        lq = (gt + random.normal(0, 25, gt.shape)).clip(0, 255).astype(np.uint8)
        for folder, image in (('target', gt), ('input', lq)):
            (root / folder).mkdir(exist_ok=True)
            assert cv2.imwrite(str(root / folder / f'{name}.png'), image[..., ::-1])
    return root


@pytest.fixture
def stock_model():
    """The config of mmagic's model around a small NAFNet that is not at home in [0, 1]."""
    return dict(
        type='BaseEditModel',
        generator={**NAFNET, 'enc_blk_nums': [1, 1], 'dec_blk_nums': [1, 1]},
        pixel_loss=dict(type='L1Loss'),
        data_preprocessor=dict(type='DataPreprocessor', mean=[10.0, 20.0, 30.0], std=[255.0, 200.0, 100.0]),
    )


@pytest.fixture
def stock_checkpoint(stock_model, tmp_path):
    """That model with weights that do something, and the path of its checkpoint, in which a refiner is too."""
    import mmagic.models  # noqa: F401  (registers it)

    model = MODELS.build(stock_model)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    torch.save(dict(state_dict={**model.state_dict(), 'refiner.x': torch.zeros(1)}), tmp_path / 'model.pth')
    return model.eval(), str(tmp_path / 'model.pth')


@pytest.fixture
def model_cfg():
    """A function that makes the config of a small SPDModel; ``spd`` replaces parts of ``model.spd``."""

    def make(spd=None, **model):
        parts = dict(
            masks=dict(type='FelzenszwalbMasks', min_size=20),
            spf=dict(type='SPFUnit', channels=4),
            refiner=None,
            feature_extractor=dict(type='EfficientNetExtractor', stage=1),
            losses=dict(spd=dict(type='SPDLoss', loss_weight=0.5), sgr=dict(type='SGRLoss', loss_weight=0.1)),
            schedule=dict(type='JointSchedule', begin=0.0, end=0.0),
        )
        return copy.deepcopy(
            {
                **dict(
                    type='mmsampriors.SPDModel',
                    generator=NAFNET,
                    pixel_loss=dict(type='L1Loss'),
                    train_cfg=dict(),
                    test_cfg=dict(),
                    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3),
                ),
                **model,
                'spd': {**parts, **(spd or {}), 'losses': {**parts['losses'], **(spd or {}).get('losses', {})}},
            }
        )

    return make


@pytest.fixture
def runner_cfg(pairs, model_cfg, tmp_path, monkeypatch):
    """A function that makes the config of a whole run on the pairs, 4 iterations with 2 validations."""
    # mmengine formats the whole config anew for each checkpoint, which would take most of the time of a small run.
    monkeypatch.setattr(mmengine.config.config, 'FormatCode', lambda text, **kwargs: (text, True))
    monkeypatch.setattr(mmengine.runner.runner, 'collect_env', dict)

    def make(max_iters=4, schedule=None, hooks=(), work_dir=tmp_path / 'work', **others):
        pipeline = [
            dict(type='LoadImageFromFile', key='img', channel_order='rgb'),
            dict(type='LoadImageFromFile', key='gt', channel_order='rgb'),
        ]
        crop = [dict(type='SetValues', dictionary=dict(scale=1)), dict(type='PairedRandomCrop', gt_patch_size=48)]
        dataset = dict(
            type='BasicImageDataset',
            metainfo=dict(dataset_type='pairs', task_name='denoising'),
            serialize_data=False,
            data_root=str(pairs),
            data_prefix=dict(img='input', gt='target'),
        )
        spd = dict(schedule=schedule) if schedule else {}
        return {
            **dict(
                default_scope='mmagic',
                work_dir=str(work_dir),
                experiment_name=f'test_{id(work_dir)}_{torch.randint(2**31, ())}',
                model=model_cfg(spd),
                train_dataloader=dict(
                    num_workers=0,
                    batch_size=2,
                    sampler=dict(type='InfiniteSampler', shuffle=True),
                    dataset=dict(pipeline=[*pipeline, *crop, dict(type='PackInputs')], **dataset),
                ),
                val_dataloader=dict(
                    num_workers=0,
                    batch_size=1,
                    sampler=dict(type='DefaultSampler', shuffle=False),
                    dataset=dict(pipeline=[*pipeline, dict(type='PackInputs')], **dataset),
                ),
                val_evaluator=[dict(type='PSNR')],
                train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 2),
                val_cfg=dict(type='MultiValLoop'),
                optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3)),
                default_hooks=dict(
                    logger=dict(type='LoggerHook', interval=1),
                    checkpoint=dict(
                        type='CheckpointHook', interval=max_iters, by_epoch=False, save_best='PSNR', rule='greater'
                    ),
                ),
                log_processor=dict(type='LogProcessor', window_size=1, by_epoch=False),
                custom_hooks=[dict(type='mmsampriors.SPDScheduleHook', interval=1), *hooks],
                randomness=dict(seed=0),
                log_level='WARNING',
            ),
            **others,
        }

    return make
