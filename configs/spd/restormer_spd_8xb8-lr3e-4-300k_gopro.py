# Restormer, deblurring, on GoPro with Restormer's published schedule for 8 GPUs.
_base_ = [
    'mmagic::restormer/restormer_official_gopro.py',
    '../_base_/spd_sam.py',
    '../_base_/schedules/restormer_deblur.py',
]

model = dict(
    type='mmsampriors.SPDModel', spd={**_base_.spd, 'masks': {**_base_.spd.masks, 'cache_dir': 'data/spd_masks/gopro'}}
)
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks

experiment_name = 'restormer_spd_8xb8-lr3e-4-300k_gopro'
work_dir = f'./work_dirs/{experiment_name}'
