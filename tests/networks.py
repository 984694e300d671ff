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
