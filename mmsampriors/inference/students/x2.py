default_scope = 'mmagic'
model = dict(
    pixel_loss=dict(type='L1Loss', loss_weight=1.0, reduction='mean'),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
    type='BaseEditModel',
    generator=dict(
        type='EDSRNet',
        in_channels=3,
        out_channels=3,
        mid_channels=32,
        num_blocks=12,
        rgb_mean=[0.4488, 0.4371, 0.404],
        rgb_std=[1.0, 1.0, 1.0],
        upscale_factor=2,
    ),
)
test_pipeline = [dict(type='LoadImageFromFile', key='img', channel_order='rgb'), dict(type='PackInputs')]
safetensors_sha256 = '5391e046bbe62c50fb12d380ab0051bf28558e53741e09526d0197dc0fd606d8'
