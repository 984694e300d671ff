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
safetensors_sha256 = 'c5b94666052f76d13db76daf589ef91759654b431de28c948cc1752a278cc58d'
