# EDSR, super-resolution by 2, small enough for two cores: minutes on pairs of your own photographs.
_base_ = ['../_base_/spd.py', '../_base_/models/sr_tiny.py', '../_base_/schedules/tiny_sr_x2.py']

model = dict(
    type='mmsampriors.SPDModel',
    generator=dict(**_base_.sr_networks.edsr, upscale_factor=2),
    spd={**_base_.spd, 'masks': {**_base_.spd.masks, 'cache_dir': 'data/spd_masks/tiny-sr-x2'}},
)
custom_hooks = _base_.spd_hooks
