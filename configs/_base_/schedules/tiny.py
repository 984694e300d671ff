# Data, loop and optimizer of the -tiny configs: minutes on two cores, on pairs made from any folder of photographs. A
# config says where its pairs are: train_dataloader.dataset.data_root and those of val and test.
_base_ = 'mmagic::_base_/default_runtime.py'

train_pipeline = [
    dict(type='LoadImageFromFile', key='img', channel_order='rgb'),
    dict(type='LoadImageFromFile', key='gt', channel_order='rgb'),
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='PairedRandomCrop', gt_patch_size=64),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [train_pipeline[0], train_pipeline[1], dict(type='PackInputs')]

train_dataloader = dict(
    num_workers=0,
    batch_size=4,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='tiny', task_name='restoration'),
        data_prefix=dict(img='input', gt='target'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='tiny', task_name='restoration'),
        data_prefix=dict(img='input', gt='target'),
        pipeline=test_pipeline,
    ),
)
val_evaluator = [dict(type='PSNR'), dict(type='SSIM')]
test_dataloader, test_evaluator = val_dataloader, val_evaluator

train_cfg = dict(type='IterBasedTrainLoop', max_iters=400, val_interval=100)
val_cfg = dict(type='MultiValLoop')
test_cfg = dict(type='MultiTestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False, T_max=400, eta_min=1e-6)

default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=False),
    checkpoint=dict(interval=100, max_keep_ckpts=2, save_best='PSNR', rule='greater', out_dir=None),
)
randomness = dict(seed=0)
