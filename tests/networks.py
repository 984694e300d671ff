"""Small networks of each kind that the tests go through, as configs."""

NAFNET = dict(type='NAFNet', img_channels=3, mid_channels=4, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1])
RESTORMER = dict(
    type='Restormer',
    dim=8,
    num_blocks=[1, 1, 1, 1],
    num_refinement_blocks=1,
    heads=[1, 1, 1, 1],
    ffn_expansion_factor=1.0,
)
SWINIR = dict(
    type='SwinIRNet',
    upscale=1,
    img_size=16,
    window_size=8,
    depths=[1],
    embed_dim=8,
    num_heads=[2],
    mlp_ratio=1,
    upsampler='',
)
#: Super-resolution networks of mmagic's configs, by family; ``enlarging`` adds the scale.
ENLARGING = dict(
    edsr=dict(type='EDSRNet', in_channels=3, out_channels=3, mid_channels=8, num_blocks=1, rgb_std=[1.0, 1.0, 1.0]),
    rdn=dict(
        type='RDNNet', in_channels=3, out_channels=3, mid_channels=8, num_blocks=1, num_layers=1, channel_growth=4
    ),
    srcnn=dict(type='SRCNNNet', channels=(3, 8, 4, 3), kernel_sizes=(9, 1, 5)),
    msrresnet=dict(type='MSRResNet', in_channels=3, out_channels=3, mid_channels=8, num_blocks=1),
    esrgan=dict(type='RRDBNet', in_channels=3, out_channels=3, mid_channels=8, num_blocks=1, growth_channels=4),
    swinir=dict(SWINIR, upsampler='pixelshuffledirect'),
)


def enlarging(family: str, scale: int) -> dict:
    """The config of a small network of a family whose output is ``scale`` times as large as its input."""
    return {**ENLARGING[family], 'upscale' if family == 'swinir' else 'upscale_factor': scale}
