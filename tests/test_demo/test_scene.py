"""A photograph, damaged and restored, and what SAM finds in both."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmsampriors.demo.page import message_of_click, message_of_masks, message_of_scene
from mmsampriors.demo.scene import VIEW_SIDE, Scene, first_damage, make_scene, sample, shrunk, suited
from mmsampriors.demo.segmenter import Segmenter
from mmsampriors.inference.restorer import Restorer

sys.path.insert(0, str(Path(__file__).parents[1] / 'test_inference'))

from students import write_test_student


@pytest.fixture(scope='module')
def restorer(tmp_path_factory):
    """Of a small denoiser that was trained on σ 25."""
    path = tmp_path_factory.mktemp('student') / 'student.pth'
    write_test_student('nafnet', path)
    return Restorer(path, device='cpu')


@pytest.fixture(scope='module')
def scene(restorer):
    return make_scene(sample('coffee'), 'noise', 5, 'nafnet', restorer)


@pytest.fixture(scope='module')
def segmenter():
    return Segmenter('tiny', device='cpu')


def restoring(function, scale=1):
    network = SimpleNamespace(scale=scale)
    return SimpleNamespace(restore_pixels=lambda pixels, progress: function(pixels), network=network)


def test_psnr_comes_back(scene):
    before, after = scene.psnr
    assert before == pytest.approx(20.5, abs=0.5) and after > before + 5
    told = message_of_scene(scene)
    assert f'{before:.2f} dB' in told and f'{after:.2f} dB' in told and f'+{after - before:.2f} dB' in told
    assert '600 by 400 pixels' in told and 'σ 25' in told


def test_garbage_is_noticed():
    for function, noticed in ((lambda pixels: pixels // 8 * 8, False), (lambda pixels: 255 - pixels, True)):
        scene = make_scene(sample('coffee'), 'noise', 5, 'student', restoring(function))
        assert scene.is_garbage == noticed == ('looks like garbage' in message_of_scene(scene))


def test_a_photograph_that_is_damaged_already_has_no_psnr(restorer):
    given, told = sample('cat')[:64, :80], []
    scene = make_scene(given, 'none', 5, '<b>mine</b>', restorer, told.append)
    assert scene.psnr is None and set(scene.images) == {'damaged', 'restored'}
    assert (scene.images['damaged'] == given).all() and told[-1] == pytest.approx(1)
    assert '&lt;b&gt;mine' in message_of_scene(scene) and 'PSNR compares with a clean original' in message_of_scene(
        scene
    )


def test_a_gray_network_gives_a_picture_too():
    gray = restoring(lambda pixels: pixels[..., 0])
    assert make_scene(sample('cat')[:40, :50], 'none', 1, 'gray', gray).images['restored'].shape == (40, 50, 3)


def test_views_are_small_and_psnr_is_not_theirs():
    given = np.zeros((100, 2 * VIEW_SIDE, 3), np.uint8)
    scene = make_scene(given, 'noise', 10, 'halving', restoring(lambda pixels: pixels // 2))
    assert {view.shape for view in scene.views.values()} == {(50, VIEW_SIDE, 3)}
    assert scene.psnr[1] == pytest.approx(scene.psnr[0] + 20 * np.log10(2), abs=0.3)
    assert shrunk(given[:, :50], 60).shape == (60, 30, 3)


def test_what_a_student_enlarges_is_compared_with_the_photograph_that_was_shrunk():
    student, given = restoring(lambda pixels: pixels.repeat(4, axis=0).repeat(4, axis=1), scale=4), sample('cat')
    scene = make_scene(given, 'small', 1, 'x4', student)
    assert {image.shape for image in scene.images.values()} == {(300, 448, 3)} and given.shape == (300, 451, 3)
    assert 20 < scene.psnr[1] < scene.psnr[0] < 40, 'bicubic interpolation against repeated pixels'
    assert 'Shrunk. 451 by 300 pixels' in message_of_scene(scene)
    scene = make_scene(given[:50, :70], 'none', 1, 'x4', student)
    assert {image.shape for image in scene.views.values()} == {(200, 280, 3)} and scene.psnr is None
    students = dict(plain=restoring(None), x4=student)
    assert first_damage(students) == 'small' and suited(students, 'small') == 'x4' and first_damage({}) == 'noise'


def circles():
    """A scene whose restored picture shows two discs as the clean one does, and whose damaged picture shows none."""
    rows, columns = np.mgrid[:256, :256]
    clean = np.full((256, 256, 3), (30, 60, 120), np.uint8)
    for centre, colour in (((80, 80), (220, 180, 40)), ((180, 170), (200, 40, 60))):
        clean[np.hypot(rows - centre[0], columns - centre[1]) < 45] = colour
    noisy = np.random.default_rng(0).integers(0, 256, clean.shape, np.uint8)
    images = dict(damaged=noisy, restored=clean, clean=clean)
    return Scene(clean, ('noise', 10), 'none', 0.0, images, images)


def test_a_click_finds_the_thing(segmenter):
    scene = circles()
    drawn = segmenter.click(scene, 80, 80)
    disc = np.pi * 45**2 / 256**2
    assert drawn.numbers['restored']['iou'] == 1.0 and drawn.numbers['damaged']['iou'] < 0.7
    # The small SAM takes a quarter more than the disc: it learnt photographs, and its cells are 5 pixels wide here.
    assert drawn.numbers['restored']['area'] == pytest.approx(disc, rel=0.3)
    changed = (drawn.pictures['restored'] != scene.views['restored']).any(2)
    assert changed.mean() == pytest.approx(drawn.numbers['restored']['area'], rel=0.1)
    assert changed[80, 60] and not changed[180, 170] and (drawn.pictures['restored'][80, 80] == 255).all()
    assert '100 %' in message_of_click(drawn)
    assert set(scene.seen) == set(scene.views)


def test_an_image_is_embedded_once(segmenter, monkeypatch):
    scene = circles()
    segmenter.click(scene, 80, 80)
    monkeypatch.setattr('mmsampriors.demo.segmenter.see', lambda *args: pytest.fail('embedded again'))
    other = segmenter.click(scene, 170, 180)
    assert other.numbers['restored']['area'] > 0


def test_clicks_without_a_clean_photograph(segmenter):
    scene = circles()
    for images in (scene.images, scene.views):
        images.pop('clean', None)
    drawn = segmenter.click(scene, 80, 80)
    assert drawn.numbers['restored']['iou'] is None and 'How much of the picture' in message_of_click(drawn)


def test_all_masks_are_coloured_as_on_the_clean_photograph(segmenter):
    scene = circles()
    drawn = segmenter.everything(scene)
    numbers = drawn.numbers
    assert numbers['restored']['found'] == numbers['restored']['wanted'] == numbers['restored']['masks'] > 1
    assert numbers['damaged']['found'] < numbers['damaged']['wanted']
    assert f'{numbers["damaged"]["found"]} of {numbers["damaged"]["wanted"]}' in message_of_masks(drawn)
    assert (drawn.pictures['restored'] != scene.views['restored']).any()


def test_segmenter_is_built_on_demand(monkeypatch):
    built = []
    monkeypatch.setattr('mmsampriors.demo.segmenter.shared_sam', lambda *args: built.append(args) or real(*args))
    from mmsampriors.masks import shared_sam as real

    segmenter = Segmenter('tiny', device='cpu')
    assert built == []
    segmenter.click(circles(), 80, 80)
    segmenter.everything(circles())
    assert built == [('tiny', None)]


def test_a_sam_that_cannot_be_had_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match='no SAM checkpoint .*none.pth'):
        Segmenter('vit_b', str(tmp_path / 'none.pth'), 'cpu').click(circles(), 1, 1)


def test_a_sam_that_there_is_not_is_reported_at_once():
    with pytest.raises(ValueError, match="a SAM is one of .*'tiny'.*found 'vit_x'"):
        Segmenter('vit_x')
