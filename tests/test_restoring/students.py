"""Small denoisers (Gaussian noise, σ 25) that .dev_scripts/train_test_students.py trained."""

from pathlib import Path

FOLDER = Path(__file__).parent / 'students'
NETWORKS = dict(
    nafnet=dict(
        type='NAFNet', img_channels=3, mid_channels=8, enc_blk_nums=[1, 1, 1], middle_blk_num=1, dec_blk_nums=[1, 1, 1]
    ),
    restormer=dict(type='Restormer', dim=8, num_blocks=[1, 1, 1, 1], num_refinement_blocks=1, heads=[1, 1, 2, 2]),
    swinir=dict(
        type='SwinIRNet',
        upscale=1,
        in_chans=3,
        img_size=48,
        window_size=8,
        img_range=1.0,
        depths=[2, 2],
        embed_dim=16,
        num_heads=[2, 2],
        mlp_ratio=2,
        upsampler='',
        resi_connection='1conv',
    ),
)
