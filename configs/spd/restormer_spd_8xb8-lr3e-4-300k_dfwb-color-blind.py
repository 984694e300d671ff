# Restormer, blind Gaussian denoising (a standard deviation from 0 to 50), on DFWB with Restormer's published schedule
# for 8 GPUs, less its mixup.
_base_ = [
    'mmagic::restormer/restormer_official_dfwb-color-sigma25.py',
    '../_base_/spd_sam.py',
    '../_base_/schedules/restormer_denoise_gaussian.py',
]

model = dict(
    type='mmsampriors.SPDModel', spd={**_base_.spd, 'masks': {**_base_.spd.masks, 'cache_dir': 'data/spd_masks/dfwb'}}
)
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks

experiment_name = 'restormer_spd_8xb8-lr3e-4-300k_dfwb-color-blind'
work_dir = f'./work_dirs/{experiment_name}'

# mmagic 1.2.0 writes sigma * 255 here, for images of 0 to 255.
test_dataloader = _base_.test_dataloader
for test_set in test_dataloader:
    test_set['dataset']['pipeline'][-2]['params']['gaussian_sigma'] = [25, 25]
