"""Masks as COCO run lengths."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsampriors.masks import CocoRLE, ImageFile, ImageMasks, MaskCache, MaskStoreError, build_store, export_coco
from mmsampriors.masks.store.coco import coco_text, uncompressed

pycocotools = pytest.importorskip('pycocotools.mask')


@pytest.fixture
def masks():
    levels, random = torch.linspace(0.1, 0.9, 5), torch.Generator().manual_seed(0)
    bitmaps = torch.rand(5, 13, 17, generator=random) > levels[:, None, None]
    return ImageMasks.from_masks(bitmaps, torch.linspace(0.5, 0.9, 5), torch.linspace(0.9, 0.95, 5))


def image_file(path, size=(13, 17)):
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path)
    return path


def test_out_and_in_again(tmp_path, masks):
    path = image_file(tmp_path / 'a.png')
    cache = MaskCache(tmp_path / 'cache', {}, data_root=tmp_path)
    cache.save(ImageFile(path), masks)
    assert export_coco(cache, [path], tmp_path / 'coco') == 1
    found = build_store(dict(type='CocoRLE', folder=str(tmp_path / 'coco'))).load('elsewhere/a.jpg')
    assert found.bitmaps.equal(masks.bitmaps) and found.areas.equal(masks.areas)
    torch.testing.assert_close(found.scores, masks.scores)
    torch.testing.assert_close(found.stability, masks.stability)
    content = json.loads((tmp_path / 'coco' / 'a.json').read_text())
    assert content['image'] == dict(file_name='a.png', height=13, width=17)
    first = content['annotations'][0]
    assert first['bbox'] == pycocotools.toBbox(first['segmentation']).tolist()
    assert first['area'] == pycocotools.area(first['segmentation'])


def test_files_of_segment_anything(tmp_path, masks):
    """Its generator's runs, compressed and not, as its amg.py saves them: a list."""
    from segment_anything.utils.amg import coco_encode_rle, mask_to_rle_pytorch

    for name, form in (('list', lambda runs: runs), ('string', coco_encode_rle)):
        annotations = [dict(segmentation=form(runs)) for runs in mask_to_rle_pytorch(masks.bitmaps)]
        (tmp_path / f'{name}.json').write_text(json.dumps(annotations))
        found = CocoRLE(tmp_path).load(f'{name}.jpg')
        assert found.bitmaps.equal(masks.bitmaps) and found.scores.equal(torch.ones(5))


def test_no_masks_at_all(tmp_path):
    path = image_file(tmp_path / 'a.png')
    (tmp_path / 'a.json').write_text('{"annotations": []}')
    found = CocoRLE(tmp_path).load(path)
    assert len(found) == 0 and found.size == (13, 17)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=400), st.integers(1, 20))
def test_compressed_run_lengths_are_read_as_pycocotools_reads_them(pixels, height):
    mask = np.array(pixels * height).reshape(height, -1, order='F')
    runs = pycocotools.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = uncompressed(runs['counts'].decode())
    assert counts.sum() == mask.size and (counts >= 0).all()
    values = np.arange(len(counts)) % 2 == 1
    np.testing.assert_array_equal(np.repeat(values, counts), mask.T.ravel())


@pytest.mark.parametrize('counts', ['~~~~', '0' * 1000, 'o', '', 'x', 'ÿ', 'oooooooooo0', 3, None, [1, 2], ['1'], '1Q'])
def test_counts_that_do_not_fill_the_image_are_refused(tmp_path, counts):
    (tmp_path / 'a.json').write_text(json.dumps([dict(segmentation=dict(size=[13, 17], counts=counts))]))
    path = image_file(tmp_path / 'a.png')
    for read in (CocoRLE(tmp_path).load, CocoRLE(tmp_path).size_of):
        with pytest.raises(MaskStoreError, match='must hold annotations whose segmentation has'):
            read(path)


@pytest.mark.parametrize('name', ['predicted_iou', 'stability_score'])
@pytest.mark.parametrize('value', ['good', float('nan'), [1]])
def test_measures_that_are_no_numbers_are_found_by_the_check_too(tmp_path, masks, name, value):
    path = image_file(tmp_path / 'a.png')
    content = json.loads(coco_text(masks, 'a.png'))
    content['annotations'][1][name] = value
    (tmp_path / 'a.json').write_bytes(b'\xef\xbb\xbf' + json.dumps(content).encode())  # the mark is skipped
    for read in (CocoRLE(tmp_path).load, CocoRLE(tmp_path).size_of):
        with pytest.raises(MaskStoreError, match='a.json must hold annotations'):
            read(path)


@pytest.mark.parametrize(
    'content, message',
    [
        (None, 'no masks of x/a.png: .*a.json is absent'),
        ('{"annot', 'a.json cannot be read as JSON'),
        ('{"masks": []}', 'must hold a list of annotations'),
        ('[{"segmentation": [[1, 2, 3, 4]]}]', r'must hold annotations whose segmentation has size \[H, W\]'),
        ('[{"area": 3}]', r'must hold annotations .*KeyError'),
    ],
)
def test_wrong_files(tmp_path, content, message):
    if content is not None:
        (tmp_path / 'a.json').write_text(content)
    with pytest.raises(MaskStoreError, match=message):
        CocoRLE(tmp_path).load('x/a.png')


def test_folders_are_kept_out_and_in(tmp_path, masks):
    cache = MaskCache(tmp_path / 'cache', {}, data_root=tmp_path)
    paths = [tmp_path / 'gt' / folder / '0001.png' for folder in ('first', 'second')]
    for path, count in zip(paths, (2, 3)):
        path.parent.mkdir(parents=True)
        cache.save(ImageFile(image_file(path)), ImageMasks.from_masks(masks.bitmaps[:count]))
    assert export_coco(cache, paths, tmp_path / 'coco') == 2
    coco = CocoRLE(tmp_path / 'coco')
    assert [len(coco.load(path)) for path in paths] == [2, 3]
    assert (tmp_path / 'coco' / 'second' / '0001.json').is_file()


@pytest.mark.parametrize(
    'segmentation, message',
    [
        (dict(size=[2**20, 2**20], counts='a'), r'found the sizes .*1048576'),
        (dict(size=[13, 17], counts='PP' * 9), 'must hold annotations'),
        (dict(size=[13, 18], counts=[13 * 18]), r'its masks are of \(13, 18\)'),
        (dict(size=[13, 17], counts=[5]), 'lengths that add up to 13 times 17'),
        (dict(size=[13, 17], counts=[-1, 13 * 17 + 1]), 'lengths that add up'),
        (dict(size=[13, 17], counts=7), 'must hold annotations'),
        (dict(size=[13, 17], counts='\u20ac'), 'must hold annotations'),
        (dict(size=[0, 17], counts=[]), 'found the sizes'),
        (dict(size=[13], counts=[13]), 'found the sizes'),
        (dict(size=[13.0, 17], counts=[13 * 17]), 'found the sizes'),
        ('text', 'must hold annotations'),
    ],
)
def test_sizes_and_counts_are_looked_at_before_memory_is_taken(tmp_path, segmentation, message):
    """pycocotools would take what they ask for: a segmentation fault, or the memory of others."""
    path = image_file(tmp_path / 'a.png')
    (tmp_path / 'a.json').write_text(json.dumps([dict(segmentation=segmentation)]))
    for read in (CocoRLE(tmp_path).load, CocoRLE(tmp_path).size_of):
        with pytest.raises(MaskStoreError, match=message):
            read(path)


def test_scores_that_are_no_numbers(tmp_path):
    annotation = dict(segmentation=dict(size=[13, 17], counts=[13 * 17]), predicted_iou='high')
    (tmp_path / 'a.json').write_text(json.dumps([annotation]))
    with pytest.raises(MaskStoreError, match='a.json must hold .*high'):
        CocoRLE(tmp_path).load('a.png')


def test_two_images_of_one_name(tmp_path, masks):
    cache = MaskCache(tmp_path / 'cache', {}, data_root=tmp_path)
    paths = [image_file(tmp_path / name) for name in ('a.png', 'a.bmp')]
    for path in paths:
        cache.save(ImageFile(path), masks)
    with pytest.raises(ValueError, match='a.bmp and .*a.png would both be written to a.json'):
        export_coco(cache, paths, tmp_path / 'coco')


def test_files_of_others_are_not_replaced(tmp_path, masks):
    cache = MaskCache(tmp_path / 'cache', {}, data_root=tmp_path)
    paths = [image_file(tmp_path / name) for name in ('a.png', 'b.png')]
    for path in paths:
        cache.save(ImageFile(path), masks)
    export_coco(cache, paths[:1], tmp_path / 'coco')
    export_coco(cache, paths[:1], tmp_path / 'coco')
    (tmp_path / 'coco' / 'b.json').write_text('mine')
    with pytest.raises(FileExistsError, match=f'{tmp_path}/coco/b.json would be replaced'):
        export_coco(cache, paths, tmp_path / 'coco')
    assert (tmp_path / 'coco' / 'b.json').read_text() == 'mine'


def test_run_lengths_are_those_of_pycocotools():
    random = np.random.default_rng(0)
    shapes = [(random.integers(1, 40), random.integers(1, 300)) for _ in range(60)]
    for count, (height, width) in enumerate([*shapes, (700, 900)]):
        mask = random.random((height, width)) < random.choice([0.001, 0.3, 0.999])
        mask |= np.arange(width) < count  # long runs too
        mask[random.integers(height), random.integers(width)] = True
        masks = ImageMasks.from_masks(torch.from_numpy(mask)[None])
        (found,) = json.loads(coco_text(masks, 'a.png'))['annotations']
        expected = pycocotools.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert found['segmentation'] == dict(size=expected['size'], counts=expected['counts'].decode())
