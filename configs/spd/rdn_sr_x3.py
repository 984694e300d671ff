# RDN, super-resolution by 3, on DIV2K with mmagic's schedule for one GPU.
_base_ = ['mmagic::rdn/rdn_x3c64b16_1xb16-1000k_div2k.py', '../_base_/spd_sam.py', '../_base_/datasets/div2k.py']

model = dict(
    type='mmsampriors.SPDModel', spd={**_base_.spd, 'masks': {**_base_.spd.masks, 'cache_dir': 'data/spd_masks/div2k'}}
)
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks

# As the field measures: mmagic's config measures on RGB.
val_evaluator = dict(metrics=[{**one, **_base_.on_y.get(one.type, {})} for one in _base_.val_evaluator.metrics])
test_evaluator = [
    {**of_set, 'metrics': [{**one, **_base_.on_y[one.type]} for one in of_set.metrics]}
    for of_set in _base_.test_evaluator
]

experiment_name = 'rdn_sr_x3'
work_dir = f'./work_dirs/{experiment_name}'
