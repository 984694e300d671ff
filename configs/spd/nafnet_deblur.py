# NAFNet, deblurring, on GoPro with NAFNet's published schedule for 8 GPUs.
_base_ = ['mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py', '../_base_/spd.py']

# Masks of SAM ViT-H: its checkpoint is downloaded, or named in model.spd.masks.segmenter.checkpoint.
masks = dict(
    type='CachedMasks',
    segmenter=dict(type='SAMMasks', model_type='vit_h', checkpoint=None),
    source='gt',
    cache_dir='data/spd_masks/gopro')
model = dict(type='SPDModel', spd={**_base_.spd, 'masks': masks})
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks

experiment_name = 'nafnet_deblur_spd'
work_dir = f'./work_dirs/{experiment_name}'

data_help = """GoPro (Nah et al., CVPR 2017; 2,103 training pairs) goes to data/gopro/{train,test}/{blur,sharp}; mmagic's
documentation of the data set describes how to get it."""
