"""Small denoisers (Gaussian noise, σ 25) that .dev_scripts/train_test_students.py of commit 6653715 trained."""

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


def write_test_student(name: str, path: Path):
    """Writes a trained denoiser as ``tools/export_student.py`` does: weights, and the config beside them."""
    from mmengine.config import Config
    from safetensors.torch import load_file

    from mmsampriors.engine.export import write_student
    from mmsampriors.registry import MODELS

    network = MODELS.build(dict(NETWORKS[name]))
    learnt = {key: value.float() for key, value in load_file(FOLDER / f'{name}.safetensors').items()}
    assert not network.load_state_dict(learnt, strict=False).unexpected_keys
    pipeline = [dict(type='LoadImageFromFile', key='img', channel_order='rgb')]
    model = dict(
        type='BaseEditModel',
        generator=NETWORKS[name],
        pixel_loss=dict(type='L1Loss'),
        data_preprocessor=dict(type='DataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3),
    )
    cfg = Config(dict(default_scope='mmagic', model=model, test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    write_student({f'generator.{key}': value for key, value in network.state_dict().items()}, cfg, str(path))
