# Restormer's training (Zamir et al., CVPR 2022), which mmagic's Restormer configs, for testing only, lack: what its
# tasks share. restormer_<task>.py beside this file adds the data; inherit one of those:
#
#   _base_ = ['mmagic::restormer/restormer_official_rain13k.py', 'mmsampriors::_base_/spd.py',
#             'mmsampriors::_base_/schedules/restormer_derain.py']
#
# It works without spd.py too, for plain training.

# batch_sizes of train_dataloader.batch_sampler are images a GPU, published for 8 GPUs. On another number of GPUs they
# stay as they are, so the total batch is 8, 5, 4, 2, 1, 1 times that number: one GPU sees an eighth of the images, at
# the published learning rate. There, --accumulate 8 restores the published batches and updates. --auto-scale-lr scales
# the learning rate by the total batch of the first stage instead; with memory to spare raise batch_sizes (and
# batch_size, which is its first).
auto_scale_lr = dict(enable=False, base_batch_size=64)

# One seed for all ranks makes the order of the data depend on it alone; workers draw differently on every rank.
randomness = dict(seed=100)

train_pipeline = [
    dict(
        type='LoadImageFromFile',
        key='img',
        color_type='color',
        channel_order='rgb',
        imdecode_backend='cv2',
    ),
    dict(
        type='LoadImageFromFile',
        key='gt',
        color_type='color',
        channel_order='rgb',
        imdecode_backend='cv2',
    ),
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='mmsampriors.PadToPatch'),
    dict(type='mmsampriors.ProgressivePairedRandomCrop'),
    # The three together choose among all eight flips and rotations with equal chance, as published.
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='vertical'),
    dict(type='RandomTransposeHW', keys=['img', 'gt'], transpose_ratio=0.5),
    dict(type='PackInputs'),
]
val_pipeline = [train_pipeline[0], train_pipeline[1], dict(type='PackInputs')]

train_dataloader = dict(
    num_workers=8,
    persistent_workers=False,
    batch_size=8,  # of the first stage
    sampler=dict(type='InfiniteSampler', shuffle=True),
    batch_sampler=dict(
        type='mmsampriors.ProgressiveBatchSampler',
        batch_sizes=[8, 5, 4, 2, 1, 1],
        patch_sizes=[128, 160, 192, 256, 320, 384],
        iters=[92_000, 64_000, 48_000, 36_000, 36_000, 24_000],
    ),
    dataset=dict(type='BasicImageDataset', pipeline=train_pipeline),
)

val_dataloader = dict(
    num_workers=4,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='BasicImageDataset', pipeline=val_pipeline),
)
# RGB; deraining is judged on Y. Without a prefix: default_hooks.checkpoint of mmagic saves the best by the name PSNR.
val_evaluator = dict(type='Evaluator', metrics=[dict(type='PSNR'), dict(type='SSIM')])
val_cfg = dict(type='MultiValLoop')

train_cfg = dict(type='IterBasedTrainLoop', max_iters=300_000, val_interval=4_000)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-4, weight_decay=1e-4, betas=(0.9, 0.999)),
    clip_grad=dict(max_norm=0.01),
)

# Constant for 92,000 iterations, then a cosine down to 1e-6.
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False, begin=92_000, end=300_000, T_max=208_000, eta_min=1e-6)
