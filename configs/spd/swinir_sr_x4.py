# SwinIR, lightweight, super-resolution by 4, on DIV2K with mmagic's schedule for 8 GPUs.
_base_ = [
    'mmagic::swinir/swinir_x4s64w8d4e60_8xb4-lr2e-4-500k_div2k.py',
    '../_base_/spd_sam.py',
    '../_base_/datasets/div2k.py',
]

model = dict(
    type='mmsampriors.SPDModel', spd={**_base_.spd, 'masks': {**_base_.spd.masks, 'cache_dir': 'data/spd_masks/div2k'}}
)
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks

# As the field measures: mmagic's config validates on RGB.
val_evaluator = [{**one, **_base_.on_y[one.type]} for one in _base_.val_evaluator]

experiment_name = 'swinir_sr_x4'
work_dir = f'./work_dirs/{experiment_name}'
