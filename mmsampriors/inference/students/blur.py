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
safetensors_sha256 = 'bd86c5d16e65bb0de5d3efb0529ad57abed302b0b0c6be3cf442042f38084a03'
