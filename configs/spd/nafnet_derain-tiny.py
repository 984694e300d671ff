# NAFNet, deraining, small enough for two cores: minutes on pairs of your own photographs.
_base_ = ['../_base_/spd.py', '../_base_/models/nafnet_tiny.py', '../_base_/schedules/tiny.py']

model = dict(
    type='mmsampriors.SPDModel',
    spd={**_base_.spd, 'masks': {**_base_.spd.masks, 'cache_dir': 'data/spd_masks/tiny-derain'}},
)
custom_hooks = _base_.spd_hooks

train_dataloader = dict(dataset=dict(data_root='data/tiny/derain/train'))
val_dataloader = dict(dataset=dict(data_root='data/tiny/derain/val'))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = [
    dict(type='PSNR', convert_to='Y'),
    dict(type='SSIM', convert_to='Y'),
]

data_help = """Make pairs from two folders of photographs, one to train on and one to validate with:
python tools/dataset_converters/make_rain.py PHOTOGRAPHS data/tiny/derain/train
python tools/dataset_converters/make_rain.py OTHER_PHOTOGRAPHS data/tiny/derain/val"""
