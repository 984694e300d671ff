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
safetensors_sha256 = '7a2ab34a8fbdacc5f9ceff916df227aac765808078cb8c2c8577a3c6e14dc37e'
