default_scope = 'mmagic'
model = dict(
    data_preprocessor=dict(mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], type='DataPreprocessor'),
    generator=dict(
        dec_blk_nums=[1, 1, 1],
        enc_blk_nums=[1, 1, 1],
        img_channels=3,
        mid_channels=16,
        middle_blk_num=1,
        type='NAFNet',
    ),
    pixel_loss=dict(type='PSNRLoss'),
    type='BaseEditModel',
)
test_pipeline = [dict(channel_order='rgb', key='img', type='LoadImageFromFile'), dict(type='PackInputs')]
safetensors_sha256 = '2d71110a1dd00d7316f694de0de5058b0fd6dd52bdb127021266baad6f5ed3be'
