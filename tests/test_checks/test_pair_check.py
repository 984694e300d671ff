"""Bad data is one clear error, before any training."""

import json
import os
import os.path as osp
import re
import shutil
from contextlib import nullcontext

import cv2
import numpy as np
import pytest
import skimage.data
import tifffile
from damage import damaged
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.fileio import LocalBackend, register_backend
from networks import enlarging
from PIL import Image, ImageOps

from mmsampriors.checks import pair_check
from mmsampriors.checks.pair_check import check_data, image_size
from mmsampriors.registry import DATASETS, MODELS, build_part


def photograph(path, width=40, height=32, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
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


def test_a_format_that_mmagic_does_not_decode_is_named(cfg, tmp_path):
    with Image.open(tmp_path / 'target' / 'a.png') as image:
        image.convert('P').save(tmp_path / 'target' / 'a.png', 'GIF')
    with pytest.raises(ValueError, match='target/a.png is a GIF, which mmagic does not decode .*save it as PNG'):
        check_data(cfg)


def test_one_image_twice_is_warned_of(cfg, monkeypatch):
    said = []
    monkeypatch.setattr(pair_check, 'warn', said.append)
    cfg.train_dataloader.dataset.data_prefix = dict(img='target', gt='target')
    cfg.train_dataloader.dataset.pipeline.append(dict(type='RandomNoise'))
    check_data(cfg)
    assert not said
    del cfg.train_dataloader.dataset.pipeline[-1]
    check_data(cfg)
    assert len(said) == 1 and 'is its own ground truth' in said[0]


def test_what_is_no_file_and_a_list_that_is_no_text_are_named(cfg, tmp_path):
    os.mkfifo(tmp_path / 'input' / 'c.png')
    shutil.copy(tmp_path / 'target' / 'a.png', tmp_path / 'target' / 'c.png')
    (tmp_path / 'list.txt').write_text('c.png\n')
    cfg.train_dataloader.dataset.ann_file = 'list.txt'
    with pytest.raises(ValueError, match='input/c.png is no regular file'):
        check_data(cfg)
    (tmp_path / 'list.txt').write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match=r'list.txt .dataset.ann_file. is no text in UTF-8'):
        check_data(cfg)


@pytest.mark.parametrize(
    'metric, message',
    [
        (dict(type='PSNR', crop_border=15), None),
        (dict(type='PSNR', crop_border=16), 'a.png is 40x32 and the metrics of its evaluator need 33 pixels a side'),
        (dict(type='SSIM', crop_border=10), None),
        (dict(type='SSIM', crop_border=11), 'need 33 pixels'),
    ],
)
@pytest.mark.parametrize('several', [False, True])
def test_metrics_leave_something_of_the_images(cfg, metric, message, several):
    cfg.val_dataloader = cfg.train_dataloader
    cfg.val_evaluator = [dict(type='MAE'), metric]
    if several:
        cfg.val_dataloader, cfg.val_evaluator = [cfg.val_dataloader], [dict(type='Evaluator', metrics=[metric])]
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        check_data(cfg)


def test_pairs_have_the_scale_of_the_network(cfg, tmp_path):
    for name in ('a', 'b'):
        with Image.open(tmp_path / 'target' / f'{name}.png') as image:
            image.resize((120, 96)).save(tmp_path / 'target' / f'{name}.png')
    cfg.model = dict(generator=enlarging('edsr', 3))
    cfg.train_dataloader.dataset.pipeline[0].gt_patch_size = 96
    check_data(cfg)
    cfg.train_dataloader.dataset.pipeline[0].gt_patch_size = 99
    with pytest.raises(ValueError, match='a.png is 40x32 and the train pipeline cuts out 33x33'):
        check_data(cfg)
    cfg.train_dataloader.dataset.pipeline = []
    photograph(tmp_path / 'target' / 'a.png', 80, 64)
    photograph(tmp_path / 'target' / 'b.png', 120, 96, seed=9)
    with pytest.raises(ValueError) as caught:
        check_data(cfg)
    assert re.search(r'a\.png is 40x32 and .*a\.png is 80x64\. .*enlarges by 3: expected 120x96', str(caught.value))
    assert re.search(r'b\.png and .*b\.png do not show the same scene', str(caught.value))


def test_the_scale_of_another_model_is_that_of_its_pipeline(cfg, tmp_path):
    cfg.train_dataloader.dataset.pipeline = [dict(type='SetValues', dictionary=dict(scale=2))]
    with pytest.raises(ValueError, match='enlarges by 2: expected 80x64'):
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


def test_a_missing_list_of_images_says_how_to_do_without(cfg, tmp_path):
    cfg.train_dataloader.dataset.ann_file = 'meta_info.txt'
    with pytest.raises(FileNotFoundError, match=r"meta_info\.txt .*your own photographs: dataset\.ann_file=''"):
        check_data(cfg)
    cfg.train_dataloader.dataset.ann_file = ''
    check_data(cfg)
    (tmp_path / 'meta_info.txt').write_text('a.png\n')
    cfg.train_dataloader.dataset.ann_file = 'meta_info.txt'
    check_data(cfg)


def test_photographs_without_ground_truth_are_checked_too(cfg, tmp_path):
    cfg.custom_hooks = [dict(type='mmsampriors.UnlabeledHook', folders=[str(tmp_path / 'unlabeled')])]
    with pytest.raises(ValueError, match='unlabeled, found no such folder'):
        check_data(cfg)
    photograph(tmp_path / 'unlabeled' / 'whole.png')
    check_data(cfg)
    photograph(tmp_path / 'unlabeled' / 'small.png', width=20)
    (tmp_path / 'unlabeled' / 'broken.jpg').write_bytes(b'no image')
    with pytest.raises(ValueError, match='(?s)2 images or pairs.*broken.jpg cannot be read.*small.png is 20x32'):
        check_data(cfg)


def test_a_suffix_that_no_image_has_is_named(cfg):
    cfg.train_dataloader.dataset.img_suffix = '.exr'
    with pytest.raises(FileNotFoundError, match="is empty: no image whose name ends with img_suffix='.exr' is in"):
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


def oriented(path, value):
    """Gives an image file an EXIF orientation."""
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = value
        image.load()
        image.save(path, exif=exif)


@pytest.fixture
def scenes(cfg, tmp_path):
    """Pairs of photographs of 64 by 48 pixels, as PNG and, for EXIF, as JPEG."""
    names = ('astronaut', 'chelsea')
    for kind in ('input', 'target'):
        shutil.rmtree(tmp_path / kind)
        (tmp_path / kind).mkdir()
        for name in names:
            Image.fromarray(getattr(skimage.data, name)()).resize((64, 48)).save(tmp_path / kind / f'{name}.jpg')
    return cfg


BACKENDS = [dict(imdecode_backend='cv2'), dict(imdecode_backend='pillow'), {}]


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('value, turn', [(3, 'rotated by 180 degrees'), (2, 'mirrored left to right')])
def test_an_orientation_of_one_image_alone_is_refused(scenes, tmp_path, backend, value, turn):
    load = [dict(type='LoadImageFromFile', key=key, **backend) for key in ('img', 'gt')]
    scenes.train_dataloader.dataset.pipeline = load
    for name in ('astronaut', 'chelsea'):
        oriented(tmp_path / 'target' / f'{name}.jpg', value)
    with pytest.raises(ValueError) as error:
        check_data(scenes)
    message = str(error.value)
    assert message.count(f'only when one is {turn}') == 2 and message.count(f'.jpg ({value})') == 2
    assert 'exiftool -Orientation=' in message


@pytest.mark.parametrize('backend', BACKENDS)
def test_pairs_that_are_turned_alike_are_accepted(scenes, tmp_path, backend):
    load = [dict(type='LoadImageFromFile', key=key, **backend) for key in ('img', 'gt')]
    scenes.train_dataloader.dataset.pipeline = load
    for kind in ('input', 'target'):
        oriented(tmp_path / kind / 'astronaut.jpg', 6)
    check_data(scenes)
    # Stored as 48 by 64 and turned by the loader: the raw sizes differ, and the pair is good.
    path = tmp_path / 'target' / 'astronaut.jpg'
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        upright.load()
    upright.save(path)
    check_data(scenes)
    for step in scenes.train_dataloader.dataset.pipeline:
        step.color_type = 'color_ignore_orientation'
    with pytest.raises(ValueError, match='astronaut.jpg is 64x48 and .*astronaut.jpg is 48x64'):
        check_data(scenes)


def test_all_bad_files_are_listed_at_once(cfg, tmp_path, capfd):
    broken = tmp_path / 'input' / 'a.png'
    content = bytearray(broken.read_bytes())
    content[len(content) // 2] ^= 0xFF
    broken.write_bytes(content)
    (tmp_path / 'target' / 'b.png').unlink()
    with pytest.raises(ValueError, match='2 images or pairs cannot be used') as error:
        check_data(cfg)
    assert f'- {broken} cannot be' in str(error.value) and 'target/b.png is missing' in str(error.value)
    check_data(cfg, images=False)
    shutil.rmtree(tmp_path / 'target')
    with pytest.raises(FileNotFoundError):
        check_data(cfg, images=False)


def test_what_was_good_is_not_read_again(cfg, tmp_path, monkeypatch):
    cfg.work_dir = str(tmp_path / 'work')
    check_data(cfg)
    read = []
    monkeypatch.setattr(pair_check, 'image_size', lambda path: read.append(path) or image_size(path))
    check_data(cfg)
    assert not read
    photograph(tmp_path / 'input' / 'a.png', seed=1)
    with pytest.raises(ValueError, match=r'a\.png do not show the same scene|a\.png show the same scene only'):
        check_data(cfg)
    assert sorted(osp.basename(path) for path in read) == ['a.png', 'a.png']
    cfg.train_dataloader.dataset.pipeline[0].gt_patch_size = 33
    photograph(tmp_path / 'input' / 'a.png')
    with pytest.raises(ValueError, match='cuts out 33x33'):
        check_data(cfg)
    (tmp_path / 'work' / 'checked_images.json').write_text('{cut off')
    with pytest.raises(ValueError, match='cuts out 33x33'):
        check_data(cfg)


def test_label_maps_are_checked_as_the_images_are(cfg, tmp_path):
    cfg.model = dict(
        type='mmsampriors.SPDModel', spd=dict(masks=dict(type='LabelMapMasks', folder=str(tmp_path / 'maps')))
    )
    (tmp_path / 'maps').mkdir()
    Image.fromarray(np.zeros((32, 41), np.uint8)).save(tmp_path / 'maps' / 'a.png')
    with pytest.raises(ValueError) as error:
        check_data(cfg)
    assert 'no label map of' in str(error.value) and 'maps/b.png is absent' in str(error.value)
    assert 'maps/a.png are 41x32 and their image' in str(error.value)
    for name in ('a', 'b'):
        Image.fromarray(np.zeros((32, 40), np.uint8)).save(tmp_path / 'maps' / f'{name}.png')
    check_data(cfg)


def test_two_sequences_do_not_share_label_maps(cfg, tmp_path):
    maps = tmp_path / 'maps'
    cfg.model = dict(type='mmsampriors.SPDModel', spd=dict(masks=dict(type='LabelMapMasks', folder=str(maps))))
    cfg.train_dataloader.dataset.recursive = True
    for kind in ('input', 'target'):
        for number, name in enumerate('ab'):
            (tmp_path / kind / f'{name}.png').unlink()
            photograph(tmp_path / kind / name / '1.png', seed=number)
    maps.mkdir()
    Image.fromarray(np.zeros((32, 40), np.uint8)).save(maps / '1.png')
    with pytest.raises(ValueError, match=r'target/./1.png and .*target/./1.png would share the masks .*maps/1.png'):
        check_data(cfg)
    for name in 'ab':
        photograph(maps / name / '1.png')
        Image.fromarray(np.zeros((32, 40), np.uint8)).save(maps / name / '1.png')
    check_data(cfg)


def test_run_lengths_are_checked_as_the_images_are(cfg, tmp_path):
    pytest.importorskip('pycocotools')
    cfg.model = dict(
        type='mmsampriors.SPDModel', spd=dict(masks=dict(type='CocoRLEMasks', folder=str(tmp_path / 'runs')))
    )
    (tmp_path / 'runs').mkdir()

    def write(name, *size):
        annotation = dict(segmentation=dict(size=size, counts=[size[0] * size[1]]))
        (tmp_path / 'runs' / f'{name}.json').write_text(json.dumps([annotation]))

    write('a', 2**20, 2**20)
    with pytest.raises(ValueError) as error:
        check_data(cfg)
    assert 'no masks of' in str(error.value) and 'runs/b.json is absent' in str(error.value)
    assert 'runs/a.json must hold annotations' in str(error.value) and '(1048576, 1048576)' in str(error.value)
    write('a', 32, 40)
    write('b', 32, 41)
    with pytest.raises(ValueError, match=r'runs/b.json must .* its masks are of \(32, 41\) .* of \(32, 40\)'):
        check_data(cfg)
    write('b', 40, 32)
    with pytest.raises(ValueError, match=r'runs/b.json are 32x40 and their image .*b.png is 40x32'):
        check_data(cfg)
    write('b', 32, 40)
    check_data(cfg)


def test_targets_without_inputs_are_reported(cfg, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(pair_check, 'warn', said.append)
    check_data(cfg)
    assert not said
    photograph(tmp_path / 'target' / 'c.png')
    check_data(cfg)
    assert len(said) == 1 and "1 of the 'gt' images" in said[0] and 'c.png' in said[0]


def test_images_without_pairs_are_decoded_too(cfg, tmp_path):
    dataset = cfg.train_dataloader.dataset
    dataset.data_prefix, dataset.pipeline = dict(gt='target'), [dict(type='LoadImageFromFile', key='gt')]
    check_data(cfg)
    (tmp_path / 'target' / 'b.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match='b.png cannot be read as an image'):
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


@pytest.mark.parametrize('channels', [1, 3])
def test_floating_point_is_reported_as_such(tmp_path, channels):
    pixels = np.random.default_rng(0).random((32, 40, channels), np.float32)
    assert cv2.imwrite(str(tmp_path / 'x.tif'), pixels)
    with pytest.raises(ValueError, match=r'x\.tif has floating point .* 8 or 16 bit'):
        image_size(str(tmp_path / 'x.tif'))


def test_what_opencv_alone_knows_is_an_image(tmp_path):
    assert cv2.imwrite(str(tmp_path / 'x.tif'), np.full((32, 40, 3), 40000, np.uint16))
    assert image_size(str(tmp_path / 'x.tif')) == (40, 32)


@pytest.fixture(scope='module')
def png(tmp_path_factory):
    path = tmp_path_factory.mktemp('damaged') / 'x.png'
    photograph(path, 12, 9)
    return path, path.read_bytes(), cv2.imread(str(path))


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_damaged_png_has_its_pixels_or_is_refused(png, data):
    path, content, pixels = png
    path.write_bytes(data.draw(st.one_of(damaged(content), st.binary(max_size=100))))
    try:
        size = image_size(str(path))
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert size == (12, 9) and np.array_equal(cv2.imread(str(path)), pixels)


def test_a_tiff_that_opencv_misreads_is_refused(tmp_path):
    """mmagic loads the images of a training with OpenCV, which gives garbage for planes of 16 bits and int16."""
    planes = np.random.default_rng(0).integers(0, 2**16, (3, 32, 40)).astype(np.uint16)
    tifffile.imwrite(tmp_path / 'planar.tif', planes, photometric='rgb', planarconfig='separate', compression='zlib')
    with pytest.raises(ValueError, match=r'planar\.tif stores its 3 channels of 16 bits one after the other'):
        image_size(str(tmp_path / 'planar.tif'))
    tifffile.imwrite(tmp_path / 'int.tif', planes[0].astype(np.int16))
    with pytest.raises(ValueError, match=r'int\.tif has signed integers of 16 bits'):
        image_size(str(tmp_path / 'int.tif'))


class Bucket(LocalBackend):
    """A storage service: a folder under an address."""

    root = ''

    def get(self, filepath):
        return super().get(str(filepath).replace('bucket://', f'{self.root}/'))

    def list_dir_or_file(self, dir_path, **options):
        return super().list_dir_or_file(dir_path.replace('bucket://', f'{self.root}/'), **options)


def test_images_of_a_storage_service_train_without_stored_masks(cfg, tmp_path, monkeypatch):
    register_backend('bucket', Bucket, force=True, prefixes='bucket')
    monkeypatch.setattr(Bucket, 'root', str(tmp_path))
    dataset = cfg.train_dataloader.dataset
    dataset.data_root, dataset.ann_file = 'bucket://', ''
    dataset.pipeline = [dict(type='LoadImageFromFile', key='gt')]
    check_data(cfg)
    assert DATASETS.build(dataset)[0]['gt'].shape == (32, 40, 3)
    segmenter = dict(type='FelzenszwalbMasks')
    for masks in (dict(type='LabelMapMasks', folder='maps'), dict(type='CachedMasks', segmenter=segmenter)):
        cfg.model = dict(spd=dict(masks=masks))
        for images in (True, False):
            with pytest.raises(ValueError, match='images whose masks are stored .* bucket:.*mount it.* SAMMasks'):
                check_data(cfg, images=images)
    cfg.model.spd.masks = segmenter
    check_data(cfg)
    with pytest.raises(ValueError, match='spd.masks.cache_dir in the file system, found the address s3://masks'):
        build_part(MODELS, dict(type='CachedMasks', segmenter=segmenter, cache_dir='s3://masks'))
