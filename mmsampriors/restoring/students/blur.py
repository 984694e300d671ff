default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=1, type='CheckpointHook'),
    logger=dict(_scope_='mmagic', interval=100, log_metric_by_epoch=False, type='LoggerHook'),
    param_scheduler=dict(_scope_='mmagic', type='ParamSchedulerHook'),
    sampler_seed=dict(_scope_='mmagic', type='DistSamplerSeedHook'),
    timer=dict(_scope_='mmagic', type='IterTimerHook'),
)
default_scope = 'mmagic'
env_cfg = dict(
    cudnn_benchmark=False, dist_cfg=dict(backend='nccl'), mp_cfg=dict(mp_start_method='fork', opencv_num_threads=4)
)
experiment_name = 'student_blur'
log_level = 'INFO'
log_processor = dict(_scope_='mmagic', by_epoch=False, type='LogProcessor', window_size=100)
model = dict(
    data_preprocessor=dict(
        mean=[
            0.0,
            0.0,
            0.0,
        ],
        std=[
            255.0,
            255.0,
            255.0,
        ],
        type='DataPreprocessor',
    ),
    generator=dict(
        dec_blk_nums=[
            1,
            1,
            1,
        ],
        enc_blk_nums=[
            1,
            1,
            1,
        ],
        img_channels=3,
        mid_channels=16,
        middle_blk_num=1,
        type='NAFNet',
    ),
    pixel_loss=dict(type='PSNRLoss'),
    type='BaseEditModel',
)
randomness = dict(seed=0)
save_dir = './work_dirs'
test_cfg = dict(type='MultiTestLoop')
test_dataloader = dict(
    dataset=dict(
        data_prefix=dict(gt='target', img='input'),
        data_root='data/blur',
        metainfo=dict(dataset_type='tiny', task_name='restoration'),
        pipeline=[
            dict(channel_order='rgb', key='img', type='LoadImageFromFile'),
            dict(channel_order='rgb', key='gt', type='LoadImageFromFile'),
            dict(type='PackInputs'),
        ],
        type='BasicImageDataset',
    ),
    num_workers=0,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
test_evaluator = [
    dict(convert_to='Y', type='PSNR'),
    dict(convert_to='Y', type='SSIM'),
]
test_pipeline = [
    dict(channel_order='rgb', key='img', type='LoadImageFromFile'),
    dict(channel_order='rgb', key='gt', type='LoadImageFromFile'),
    dict(type='PackInputs'),
]
val_cfg = dict(type='MultiValLoop')
val_dataloader = dict(
    dataset=dict(
        data_prefix=dict(gt='target', img='input'),
        data_root='data/blur',
        metainfo=dict(dataset_type='tiny', task_name='restoration'),
        pipeline=[
            dict(channel_order='rgb', key='img', type='LoadImageFromFile'),
            dict(channel_order='rgb', key='gt', type='LoadImageFromFile'),
            dict(type='PackInputs'),
        ],
        type='BasicImageDataset',
    ),
    num_workers=0,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
val_evaluator = [
    dict(convert_to='Y', type='PSNR'),
    dict(convert_to='Y', type='SSIM'),
]
vis_backends = [
    dict(_scope_='mmagic', type='LocalVisBackend'),
]
visualizer = dict(
    _scope_='mmagic',
    bgr2rgb=True,
    fn_key='gt_path',
    img_keys=[
        'gt_img',
        'input',
        'pred_img',
    ],
    type='ConcatImageVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ],
)
