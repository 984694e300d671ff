default_scope = 'mmagic'
model = dict(
    generator=dict(
        type='NAFNet',
        img_channels=3,
        mid_channels=16,
        enc_blk_nums=[1, 2, 2],
        middle_blk_num=1,
        dec_blk_nums=[2, 2, 1],
    ),
    pixel_loss=dict(type='PSNRLoss'),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
    type='BaseEditModel',
)
test_pipeline = [dict(type='LoadImageFromFile', key='img', channel_order='rgb'), dict(type='PackInputs')]
safetensors_sha256 = 'e2fbae650fd1bebe1f01264d9a4af62d7a81b73e2d9d71d2dcd8047fad99df54'
