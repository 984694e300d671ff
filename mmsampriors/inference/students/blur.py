default_scope = 'mmagic'
model = dict(
    generator=dict(
        type='NAFNet',
        img_channels=3,
        mid_channels=16,
        enc_blk_nums=[1, 1, 1],
        middle_blk_num=1,
        dec_blk_nums=[1, 1, 1],
    ),
    pixel_loss=dict(type='PSNRLoss'),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
    type='BaseEditModel',
)
test_pipeline = [dict(type='LoadImageFromFile', key='img', channel_order='rgb'), dict(type='PackInputs')]
safetensors_sha256 = 'c7df5dd5b4b358b8cae9a59263d58aa5d0f9e63747320ad6ce8f0dcbc7fb0d4f'
