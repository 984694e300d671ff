# Super-resolution networks small enough for two cores; a config takes one of them and says by how much it enlarges.
sr_networks = dict(
    edsr=dict(
        type='EDSRNet',
        in_channels=3,
        out_channels=3,
        mid_channels=32,
        num_blocks=4,
        rgb_mean=[0.4488, 0.4371, 0.4040],
        rgb_std=[1.0, 1.0, 1.0],
    ),
    rdn=dict(
        type='RDNNet', in_channels=3, out_channels=3, mid_channels=16, num_blocks=3, num_layers=3, channel_growth=16
    ),
    swinir=dict(
        type='SwinIRNet',
        in_chans=3,
        img_size=32,
        window_size=8,
        img_range=1.0,
        depths=[2, 2],
        embed_dim=24,
        num_heads=[3, 3],
        mlp_ratio=2,
        upsampler='pixelshuffledirect',
    ),
    msrresnet=dict(type='MSRResNet', in_channels=3, out_channels=3, mid_channels=32, num_blocks=4),
)
model = dict(
    pixel_loss=dict(type='L1Loss', loss_weight=1.0, reduction='mean'),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
)
