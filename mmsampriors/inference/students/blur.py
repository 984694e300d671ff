default_scope = 'mmagic'
model = dict(
    generator=dict(
        type='NAFNet',
        img_channels=3,
        mid_channels=32,
        enc_blk_nums=[1, 1],
        middle_blk_num=1,
        dec_blk_nums=[1, 1],
    ),
    pixel_loss=dict(type='PSNRLoss'),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
    type='BaseEditModel',
)
test_pipeline = [dict(type='LoadImageFromFile', key='img', channel_order='rgb'), dict(type='PackInputs')]
safetensors_sha256 = 'ad259fd92850762a0c54cd045b8e41a69ed6b0f5644bee4283cf428788a66ed3'
