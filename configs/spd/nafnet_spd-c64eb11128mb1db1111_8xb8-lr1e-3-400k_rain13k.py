# NAFNet, deraining, on Rain13K. NAFNet was not published for rain: network and schedule are those for GoPro, data and
# protocol (Y channel) those of Restormer's deraining.
_base_ = [
    'mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py',
    '../_base_/spd_sam.py',
    '../_base_/datasets/rain13k.py',
]

model = dict(
    type='mmsampriors.SPDModel',
    spd={**_base_.spd, 'masks': {**_base_.spd.masks, 'cache_dir': 'data/spd_masks/rain13k'}},
)
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks

# mmagic 1.2.0 trains on BGR and validates on RGB here: both are RGB now.
train_pipeline = [
    {**step, 'channel_order': 'rgb'} if step['type'] == 'LoadImageFromFile' else step for step in _base_.train_pipeline
]
train_dataloader = dict(dataset={**_base_.pairs.train, 'pipeline': train_pipeline})
val_dataloader = dict(dataset=_base_.pairs.val)
val_evaluator = [
    dict(type='PSNR', convert_to='Y'),
    dict(type='SSIM', convert_to='Y'),
]

test_sets = ['Rain100H', 'Rain100L', 'Test100', 'Test1200', 'Test2800']
test_dataloader = [
    {
        **_base_.val_dataloader,
        'dataset': {
            **_base_.val_dataloader.dataset,
            **_base_.pairs.val,
            'data_root': f'data/{name}',
            'metainfo': dict(dataset_type=name, task_name='deraining'),
        },
    }
    for name in test_sets
]
test_evaluator = [
    [
        dict(type='PSNR', convert_to='Y', prefix=name),
        dict(type='SSIM', convert_to='Y', prefix=name),
    ]
    for name in test_sets
]

experiment_name = 'nafnet_spd-c64eb11128mb1db1111_8xb8-lr1e-3-400k_rain13k'
work_dir = f'./work_dirs/{experiment_name}'
