# Restormer, Gaussian denoising of standard deviation 25.
_base_ = './restormer_spd_8xb8-lr3e-4-300k_dfwb-color-blind.py'

sigma = 25
train_dataloader = _base_.train_dataloader
val_dataloader = _base_.val_dataloader
test_dataloader = _base_.test_dataloader
for loader in [train_dataloader, val_dataloader, *test_dataloader]:
    loader['dataset']['pipeline'][-2]['params']['gaussian_sigma'] = [sigma, sigma]

experiment_name = 'restormer_spd_8xb8-lr3e-4-300k_dfwb-color-sigma25'
work_dir = f'./work_dirs/{experiment_name}'
