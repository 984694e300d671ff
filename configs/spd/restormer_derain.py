# Restormer, deraining, on Rain13K with Restormer's published schedule for 8 GPUs.
_base_ = [
    'mmagic::restormer/restormer_official_rain13k.py', '../_base_/spd.py', '../_base_/schedules/restormer_derain.py'
]

# Masks of SAM ViT-H: its checkpoint is downloaded, or named in model.spd.masks.segmenter.checkpoint.
masks = dict(
    type='CachedMasks',
    segmenter=dict(type='SAMMasks', model_type='vit_h', checkpoint=None),
    source='gt',
    cache_dir='data/spd_masks/rain13k')
model = dict(type='SPDModel', spd={**_base_.spd, 'masks': masks})
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks

# mmagic's own work_dir is that of its test config.
experiment_name = 'restormer_derain_spd'
work_dir = f'./work_dirs/{experiment_name}'

data_help = """Rain13K (13,712 training pairs) and the test sets are linked from Restormer's repository, swz30/Restormer, folder
Deraining: train goes to data/Rain13K/{input,target}, each test set to data/NAME/{input,target}, NAME being Rain100H, Rain100L,
Test100, Test1200 and Test2800. Training needs data/Rain13K and, to validate, data/Rain100L."""
