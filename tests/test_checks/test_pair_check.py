"""Bad data is one clear error, before any training."""

import re
import shutil

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmsampriors.checks.pair_check import check_data, image_size


def photograph(path, width=40, height=32):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def cfg(tmp_path):
    for kind in ('input', 'target'):
        for name in ('a', 'b'):
            photograph(tmp_path / kind / f'{name}.png')
    dataset = dict(
        type='BasicImageDataset',
        data_root=str(tmp_path),
        data_prefix=dict(img='input', gt='target'),
        pipeline=[dict(type='PairedRandomCrop', gt_patch_size=32)],
    )
    return Config(dict(train_dataloader=dict(dataset=dataset), val_dataloader=None))


def test_good_pairs_pass(cfg):
    check_data(cfg)


def test_pairs_inside_wrappers_are_found(cfg, tmp_path):
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[inner])
    )
    check_data(cfg)
    (tmp_path / 'target' / 'a.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'a\.png is missing'):
        check_data(cfg)


def test_missing_folder_says_where_and_how(cfg, tmp_path):
    shutil.rmtree(tmp_path / 'input')
    cfg.data_help = 'Ask the librarian.'
    with pytest.raises(FileNotFoundError, match=r'(?s)input.*Ask the librarian.*make_rain\.py'):
        check_data(cfg)


def test_empty_folder(cfg, tmp_path):
    for kind in ('input', 'target'):
        for name in ('a', 'b'):
            (tmp_path / kind / f'{name}.png').unlink()
    with pytest.raises(FileNotFoundError, match='is empty'):
        check_data(cfg)


def test_missing_partner(cfg, tmp_path):
    (tmp_path / 'target' / 'b.png').unlink()
    (tmp_path / 'input' / 'b.png').rename(tmp_path / 'input' / 'c.png')
    with pytest.raises(FileNotFoundError, match=r'\.png is missing'):
        check_data(cfg)


@pytest.mark.parametrize('suffix', ['png', 'jpg'])
def test_cut_off_image_is_named(tmp_path, suffix):
    path = tmp_path / f'x.{suffix}'
    photograph(path)
    assert image_size(str(path)) == (40, 32)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        image_size(str(path))


def test_no_image(tmp_path):
    (tmp_path / 'x.png').write_text('no image')
    with pytest.raises(ValueError, match='cannot be read as an image'):
        image_size(str(tmp_path / 'x.png'))


def test_pair_of_different_sizes(cfg, tmp_path):
    photograph(tmp_path / 'target' / 'b.png', 41, 32)
    with pytest.raises(ValueError, match=r'b\.png is 40x32 and .*b\.png is 41x32'):
        check_data(cfg)


def test_patch_larger_than_the_image(cfg):
    cfg.train_dataloader.dataset.pipeline[0].gt_patch_size = 33
    with pytest.raises(ValueError, match='40x32 and the train pipeline cuts out 33x33'):
        check_data(cfg)


def test_padding_makes_room_for_the_patch(cfg):
    crop = dict(type='PairedRandomCrop', gt_patch_size=33)
    cfg.train_dataloader.dataset.pipeline = [dict(type='mmsampriors.PadToPatch'), crop]
    check_data(cfg)


@pytest.mark.parametrize(
    'launcher, variable',
    [('none', 'RANK'), ('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID'), ('mpi', 'OMPI_COMM_WORLD_RANK')],
)
def test_other_ranks_leave_it_to_the_first(cfg, tmp_path, monkeypatch, launcher, variable):
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    shutil.rmtree(tmp_path / 'input')
    cfg.launcher = launcher
    monkeypatch.setenv(variable, '1')
    check_data(cfg)
    monkeypatch.setenv(variable, '0')
    with pytest.raises(FileNotFoundError, match='no such folder'):
        check_data(cfg)


def test_a_run_of_its_own_inside_a_slurm_job_checks(cfg, tmp_path, monkeypatch):
    """Several runs of one process each, started as tasks of one job: each has data of its own."""
    monkeypatch.delenv('RANK', raising=False)
    monkeypatch.setenv('SLURM_PROCID', '3')
    shutil.rmtree(tmp_path / 'input')
    with pytest.raises(FileNotFoundError, match='no such folder'):
        check_data(cfg)
