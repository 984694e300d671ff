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
        upscale_factor=4,
    ),
)
test_pipeline = [dict(type='LoadImageFromFile', key='img', channel_order='rgb'), dict(type='PackInputs')]
safetensors_sha256 = '015f3c84b6dad6bae3a40d633a79802b116e36af68564cfc61107259a23fbd13'
