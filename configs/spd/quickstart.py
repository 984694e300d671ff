# The configuration of tools/quickstart.sh: a Restormer small enough for two cores, rain made from scikit-image's
# photographs, masks from the embedded segmenter. tools/quickstart.py fills in the folders.
_base_ = ['mmagic::_base_/default_runtime.py', 'mmsampriors::_base_/spd.py']

model = dict(
    type='SPDModel',
    spd=_base_.spd,
    generator=dict(
        type='Restormer',
        inp_channels=3,
        out_channels=3,
        dim=16,
        num_blocks=[1, 1, 1, 1],
        num_refinement_blocks=1,
        heads=[1, 2, 4, 8],
        ffn_expansion_factor=2,
        bias=False,
        LayerNorm_type='WithBias',
        dual_pixel_task=False),
    pixel_loss=dict(type='L1Loss', loss_weight=1.0, reduction='mean'),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0., 0., 0.], std=[255., 255., 255.]))

train_pipeline = [
    dict(type='LoadImageFromFile', key='img', channel_order='rgb'),
    dict(type='LoadImageFromFile', key='gt', channel_order='rgb'),
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='PairedRandomCrop', gt_patch_size=64),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='PackInputs')
]
test_pipeline = [train_pipeline[0], train_pipeline[1], dict(type='PackInputs')]

train_dataloader = dict(
    num_workers=0,
    batch_size=4,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='quickstart', task_name='deraining'),
        data_root='work_dirs/quickstart/data/train',
        data_prefix=dict(img='input', gt='target'),
        pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='quickstart', task_name='deraining'),
        data_root='work_dirs/quickstart/data/test',
        data_prefix=dict(img='input', gt='target'),
        pipeline=test_pipeline))
val_evaluator = [dict(type='PSNR', convert_to='Y'), dict(type='SSIM', convert_to='Y')]
test_dataloader, test_evaluator = val_dataloader, val_evaluator

train_cfg = dict(type='IterBasedTrainLoop', max_iters=400, val_interval=100)
val_cfg = dict(type='MultiValLoop')
test_cfg = dict(type='MultiTestLoop')

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4), clip_grad=dict(max_norm=1.))
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False, T_max=400, eta_min=1e-6)

default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=False), checkpoint=dict(interval=50, max_keep_ckpts=2, save_best=None, out_dir=None))
custom_hooks = _base_.spd_hooks
randomness = dict(seed=0)
