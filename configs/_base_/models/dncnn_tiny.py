# A stack of six plain convolutions, which trains fast on two cores.
model = dict(
    generator=dict(type='mmsampriors.DnCNN', channels=3, width=16, depth=6, norm=False),
    pixel_loss=dict(type='PSNRLoss'),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
)
