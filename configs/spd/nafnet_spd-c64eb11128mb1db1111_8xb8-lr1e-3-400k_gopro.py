# NAFNet, deblurring, on GoPro with NAFNet's published schedule for 8 GPUs.
_base_ = [
    'mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py',
    '../_base_/spd_sam.py',
    '../_base_/datasets/gopro.py',
]

model = dict(
    type='mmsampriors.SPDModel', spd={**_base_.spd, 'masks': {**_base_.spd.masks, 'cache_dir': 'data/spd_masks/gopro'}}
)
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks

# mmagic 1.2.0 trains on BGR and validates on RGB here: both are RGB now.
train_pipeline = [
    {**step, 'channel_order': 'rgb'} if step['type'] == 'LoadImageFromFile' else step for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

experiment_name = 'nafnet_spd-c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro'
work_dir = f'./work_dirs/{experiment_name}'
