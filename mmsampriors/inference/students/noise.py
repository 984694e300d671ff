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
safetensors_sha256 = '0177bd0e7448a3f93b956b745a4792744fb10de8f3626a568ea1704296b82f3f'
