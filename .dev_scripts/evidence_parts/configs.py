"""The configs of the evidence: plain files for tools/train.py and tools/test.py, which anyone can run by hand."""

import math
from pathlib import Path
from pprint import pformat

from mmengine.config import Config

from mmsampriors.files import write_whole

from .photographs import label_maps_of
from .presets import DEGRADATIONS
from .trainings import RESTORED, Training

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
#: Photographs that are restored at each validation.
VALIDATED = 10
SEGMENTERS = ('felzenszwalb', 'sam_tiny', 'sam_vit_b', 'sam_vit_l', 'sam_vit_h')
MASKS = ('none', 'human', 'shuffled', *SEGMENTERS, *(name + RESTORED for name in SEGMENTERS))
#: Pictures at each validation cost time and say nothing here.
HOOKS = dict(
    spd="[hook for hook in _base_.spd_hooks if hook['type'] != 'SPDVisualizationHook']",
    plain="[hook for hook in _base_.spd_hooks if hook['type'] == 'mmsampriors.ExactResumeHook']",
)


def base_spd() -> dict:
    """The defaults of ``model.spd``."""
    return Config.fromfile(CONFIGS / '_base_' / 'spd.py', import_custom_modules=False).spd.to_dict()


def segmenter_of(name: str, checkpoint=None) -> dict:
    """Config of the mask source that segments, of one of ``SEGMENTERS``."""
    if name == 'felzenszwalb':
        return base_spd()['masks']['segmenter']
    return dict(type='SAMMasks', model_type=name.removeprefix('sam_'), checkpoint=checkpoint)


def masks_of(name: str, out: Path, checkpoint=None) -> dict:
    """Config of ``model.spd.masks``, where these are not those of restored images.

    Args:
        name (str): One of ``MASKS``.
        out (Path): Folder of the evidence.
        checkpoint (str, optional): Of Meta's SAM.
    """
    if name == 'none':
        return dict(type='NoMasks', _scope_='mmagic')
    if name in ('human', 'shuffled'):
        return dict(type='LabelMapMasks', folder=str(out / 'segments' / name), _scope_='mmagic')
    segmenter = name.removesuffix(RESTORED)
    return dict(
        type='CachedMasks',
        segmenter=segmenter_of(segmenter, checkpoint),
        source='gt',
        cache_dir=str(out / 'masks' / segmenter),
        _scope_='mmagic',
    )


def spd_of(training: Training, out: Path, checkpoint=None, start=None) -> dict:
    """``model.spd`` of a training: the defaults, its masks and schedule, then its overrides."""
    spd = base_spd()
    spd['masks'] = masks_of(training.masks, out, checkpoint)
    if training.segments_restored:
        spd['masks'].update(source='restored', restorer=start, cache_dir=str(out / 'masks' / training.masks_name))
    if training.student == 'refiner':
        # Nothing is distilled. The share is below 1, as it must be, and takes all iterations.
        spd.update(schedule=dict(type='TwoStageSchedule', refiner=1.0), feature_extractor=None)
        spd['losses']['sgr'] = None
    elif training.two_stage:
        spd['schedule'] = dict(type='TwoStageSchedule', refiner=training.refiner_iters / training.iters)
    else:
        spd['schedule'] = dict(type='JointSchedule')
    cfg = Config(dict(model=dict(spd=spd)))
    cfg.merge_from_dict(training.preset.spd)
    # What a variant changes of the masks is nothing to training without them.
    cfg.merge_from_dict(
        {
            key: value
            for key, value in training.overrides
            if not key.startswith(('unlabeled.', 'blend.'))
            and (training.masks != 'none' or not key.startswith('model.spd.masks'))
        }
    )
    return cfg.model.spd.to_dict()


def unlabeled_hook(training: Training, out: Path, checkpoint=None, start=None) -> dict:
    """Config of the hook that adds photographs without ground truth to the batches, degraded as ``training`` says."""
    masks = None
    if training.masks in ('human', 'shuffled'):
        masks = masks_of(training.masks, out)
    elif training.masks != 'none':
        # Of the frozen initial student, whatever the pairs' are of: there is no ground truth.
        masks = masks_of(training.masks.removesuffix(RESTORED), out, checkpoint)
        folder = out / 'masks' / f'unlabeled-{training.unlabeled}-{training.masks}-{training.plain().name}'
        # A timing starts from no student.
        masks.update(
            source='restored' if start else 'lq', restorer=start, cache_dir=f'{folder}{"" if start else "-lq"}'
        )
    folder = out / 'pairs' / training.preset.part('unlabeled') / training.unlabeled / 'input'
    options = _options(training, 'unlabeled.')
    return dict(type='mmsampriors.UnlabeledHook', folders=[str(folder)], masks=masks, **options)


def _options(training, prefix):
    """What a variant says about a hook."""
    return {key.removeprefix(prefix): value for key, value in training.overrides if key.startswith(prefix)}


def write_training(path: Path, training: Training, out: Path, checkpoint=None, load_from=None):
    """Writes the config of a training.

    Args:
        path (Path): The file.
        training (Training): What is trained.
        out (Path): Folder of the evidence, whose pairs are there.
        checkpoint (str, optional): Of Meta's SAM.
        load_from (str, optional): The student that it starts from, which restores where masks are of restored images.
    """
    preset = training.preset
    model = dict(generator=preset.generators[training.model])
    if training.distils:
        model.update(type='mmsampriors.SPDModel', spd=spd_of(training, out, checkpoint, load_from))
    else:
        model.update(type='BaseEditModel')
    loader = dict(
        num_workers=preset.workers,
        persistent_workers=preset.workers > 0,
        batch_size=preset.batch,
        dataset=dict(
            data_root=str(out / 'pairs' / preset.part('train') / training.trained_on),
            pipeline=_train_pipeline(training),
        ),
    )
    validated = out / 'pairs' / 'held_out' / training.trained_on
    metrics = [dict(type='PSNR', **_protocol(training)), dict(type='SSIM', **_protocol(training))]
    interval = max(1, training.iters // 10)
    values = dict(
        model=model,
        train_dataloader=loader,
        val_dataloader=dict(dataset=dict(data_root=str(validated), indices=VALIDATED)),
        val_evaluator=metrics,
        train_cfg=dict(max_iters=training.iters, val_interval=max(1, training.iters // preset.validations)),
        optim_wrapper=dict(optimizer=dict(lr=preset.learning_rates[training.model])),
        param_scheduler=_scheduler(training),
        default_hooks=dict(
            logger=dict(interval=min(50, interval)),
            checkpoint=dict(interval=max(1, training.iters // 4), save_best=None, max_keep_ckpts=-1),
        ),
        log_processor=dict(window_size=min(50, interval)),
        env_cfg=dict(cudnn_benchmark=True),
        randomness=dict(seed=training.seed),
        load_from=load_from,
    )
    hooks = [unlabeled_hook(training, out, checkpoint, load_from)] if training.learns_unlabeled else []
    blend = _options(training, 'blend.')
    hooks += [dict(type='mmsampriors.BlendStudentHook', **blend)] if blend and training.distils else []
    bases = ['spd.py', 'schedules/tiny.py', f'models/{"sr" if training.scale_factor > 1 else training.model}_tiny.py']
    _write(
        path,
        [f'mmsampriors::_base_/{base}' for base in bases],
        values,
        custom_hooks=HOOKS['spd' if training.distils else 'plain'] + (f' + {hooks!r}' if hooks else ''),
    )


def write_test(path: Path, training: Training, out: Path, images: Path, part: str, judge: str, checkpoint=None):
    """Writes the config that tests a training on its own degradation and on those unlike it.

    Args:
        path (Path): The file, beside the training's ``train.py``.
        training (Training): What was trained.
        out (Path): Folder of the evidence.
        images (Path): Folder that gets the PSNR of each image.
        part (str): ``held_out``, or the name of the photographs for the final figures.
        judge (str): The segmenter that judges, one of ``SEGMENTERS``, or ``none``.
        checkpoint (str, optional): Of Meta's SAM.
    """
    sets = test_sets(training)
    human = label_maps_of(out, part)
    loaders = [
        dict(
            num_workers=training.preset.workers,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(
                type='BasicImageDataset',
                metainfo=dict(dataset_type=name, task_name=training.task),
                data_root=str(out / 'pairs' / part / name),
                pipeline=_test_pipeline(),
                indices=None if name == training.trained_on else training.preset.unlike,
                data_prefix=dict(img='input', gt='target'),
            ),
        )
        for name in sets
    ]
    evaluators = []
    for name in sets:
        protocol = dict(prefix=name, **_protocol(training))
        by_image = dict(type='mmsampriors.PSNRByImage', out=str(images / f'{name}.json'), **protocol)
        metrics = [by_image, dict(type='SSIM', **protocol)]
        if human:
            metrics.append(dict(type='mmsampriors.BorderPSNR', masks=masks_of('human', out), **protocol))
        # Segmenting takes longest: the degradation that was trained on, where restored images are worth it.
        if name == training.trained_on and judge != 'none':
            metrics.append(
                dict(
                    type='mmsampriors.SegmentationConsistency',
                    masks=segmenter_of(judge, checkpoint),
                    prefix=name,
                    human_segments=str(human) if human else None,
                )
            )
            if training.student == 'spd' and training.masks != 'none':
                by_image['masks'] = masks_of(training.masks, out, checkpoint)
        evaluators.append(metrics)
    _write(path, './train.py', dict(test_dataloader=loaders, test_evaluator=evaluators))


def test_sets(training: Training) -> list:
    """Names of the test sets of a training; the degradation that was trained on is the first."""
    task, trained_on = training.task, training.trained_on
    return [trained_on, *(name for name in training.preset.sets.get(task, DEGRADATIONS[task]) if name != trained_on)]


def _scheduler(training):
    """A cosine down to the same rate for everyone; the student's stage starts at plain training's rate there.

    Where plain training has ended the rate is that of ``Preset.restart``.
    """
    if training.restarts:
        plain = (1 + math.cos(math.pi * training.first / training.updates)) / 2
        there = training.preset.restart if training.preset.more else plain
        stages = [(training.refiner_iters, 1), (training.iters - training.refiner_iters, there)]
        periods, weights = zip(*(stage for stage in stages if stage[0]))
        return dict(
            _delete_=True,
            type='CosineRestartLR',
            by_epoch=False,
            periods=[*periods],
            restart_weights=[*weights],
            eta_min=1e-6,
        )
    return dict(T_max=training.iters)


def _protocol(training):
    if training.scale_factor > 1:
        return dict(convert_to='Y', crop_border=training.scale_factor)
    return dict(convert_to='Y') if training.task == 'derain' else {}


def _train_pipeline(training):
    both = dict(keys=['img', 'gt'])
    turned = [
        dict(type='Flip', flip_ratio=0.5, direction='vertical', **both),
        dict(type='RandomTransposeHW', transpose_ratio=0.5, **both),
    ]
    return _test_pipeline()[:2] + [
        dict(type='SetValues', dictionary=dict(scale=training.scale_factor)),
        dict(type='PairedRandomCrop', gt_patch_size=training.preset.patch),
        dict(type='Flip', flip_ratio=0.5, direction='horizontal', **both),
        *([] if training.task in training.preset.upright else turned),
        dict(type='PackInputs'),
    ]


def _test_pipeline():
    return [dict(type='LoadImageFromFile', key=key, channel_order='rgb') for key in ('img', 'gt')] + [
        dict(type='PackInputs')
    ]


def _write(path, bases, values, **code):
    lines = [
        '# Made by .dev_scripts/evidence.py, for tools/train.py and tools/test.py.',
        f'_base_ = {bases!r}',
        *(f'{key} = {pformat(value, sort_dicts=False, width=110)}' for key, value in values.items()),
        *(f'{key} = {text}' for key, text in code.items()),
    ]
    write_whole(str(path), '\n'.join(lines) + '\n')
