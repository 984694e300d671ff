# A NAFNet small enough for two cores, with its own loss.
model = dict(
    _scope_='mmagic',
    generator=dict(
        type='NAFNet',
        img_channels=3,
        mid_channels=16,
        enc_blk_nums=[1, 1, 2],
        middle_blk_num=1,
        dec_blk_nums=[1, 1, 1],
        _scope_='mmagic',
    ),
    pixel_loss=dict(type='PSNRLoss', _scope_='mmagic'),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], _scope_='mmagic'),
)
