# NAFNet, denoising, on SIDD with NAFNet's published schedule for 8 GPUs.
_base_ = ['mmagic::nafnet/nafnet_c64eb2248mb12db2222_8xb8-lr1e-3-400k_sidd.py', '../_base_/spd.py']

# Masks of SAM ViT-H: its checkpoint is downloaded, or named in model.spd.masks.segmenter.checkpoint.
masks = dict(
    type='CachedMasks',
    segmenter=dict(type='SAMMasks', model_type='vit_h', checkpoint=None),
    source='gt',
    cache_dir='data/spd_masks/sidd')
model = dict(type='SPDModel', spd={**_base_.spd, 'masks': masks})
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks

experiment_name = 'nafnet_denoise_spd'
work_dir = f'./work_dirs/{experiment_name}'

data_help = """SIDD-Medium (Abdelhamed et al., CVPR 2018), cut into crops, goes to data/SIDD/train/{noisy,gt} and data/SIDD/val/{noisy,gt}
under the names ID_NOISY.png and ID_GT.png; mmagic's documentation of the data set describes how to get it."""
