# Restormer's training for blind Gaussian denoising of colour images, for restormer_official_dfwb-color-sigma*.py: each
# patch gets a standard deviation from 0 to 50; see restormer.py. For a known one: configs/spd/*_dfwb-color-sigma15.py.
#
# Published with mixup, which is left out: a mixture of two photographs has no masks.
# Data: data/DFWB, photographs, or any of your own; data/denoising_gaussian_test/CBSD68 to validate.
_base_ = ['./restormer.py', '../datasets/dfwb.py']

# In the units of the images, 0 to 255. (mmagic 1.2.0's own configs for DFWB multiply by 255, which buries the image.)
noise = dict(
    type='RandomNoise',
    params=dict(noise_type=['gaussian'], noise_prob=[1], gaussian_sigma=[0, 50], gaussian_gray_noise_prob=0),
    keys=['img'],
)
val_noise = dict(
    type='RandomNoise',
    params=dict(noise_type=['gaussian'], noise_prob=[1], gaussian_sigma=[25, 25], gaussian_gray_noise_prob=0),
    keys=['img'],
)

train_pipeline = _base_.train_pipeline[:-1] + [noise] + _base_.train_pipeline[-1:]
val_pipeline = _base_.val_pipeline[:-1] + [val_noise] + _base_.val_pipeline[-1:]

train_dataloader = dict(dataset={**_base_.pairs.train, 'pipeline': train_pipeline})
val_dataloader = dict(dataset={**_base_.pairs.val, 'pipeline': val_pipeline})
