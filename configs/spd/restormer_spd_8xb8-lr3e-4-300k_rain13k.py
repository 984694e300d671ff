# Restormer, deraining, on Rain13K with Restormer's published schedule for 8 GPUs.
_base_ = [
    'mmagic::restormer/restormer_official_rain13k.py',
    '../_base_/spd_sam.py',
    '../_base_/schedules/restormer_derain.py',
]

model = dict(
    type='mmsampriors.SPDModel',
    spd={**_base_.spd, 'masks': {**_base_.spd.masks, 'cache_dir': 'data/spd_masks/rain13k'}},
)
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks

experiment_name = 'restormer_spd_8xb8-lr3e-4-300k_rain13k'
work_dir = f'./work_dirs/{experiment_name}'
