import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from family import SMALL_SAM2
from segment_anything.modeling import Sam
from small_sam import small_sam

from mmsampriors import checkpoints
from mmsampriors.files import sha256_of
from mmsampriors.masks import SAM_BUILDERS, TINY_AUTOMATIC, MaskEngine, build_sam, checkpoint_id, register_sam
from mmsampriors.masks.sam import builders
from mmsampriors.masks.sam.families import sam2_model


@pytest.fixture
def small(monkeypatch):
    """The small SAM, registered for one test."""
    monkeypatch.setattr(builders, 'SAM_BUILDERS', dict(SAM_BUILDERS))
    register_sam('small', lambda checkpoint: builders.load_weights(small_sam(), checkpoint, 'small'))


def test_the_settings_that_suit_a_sam_come_with_it(monkeypatch):
    monkeypatch.setattr(builders, 'SAM_BUILDERS', dict(SAM_BUILDERS))
    monkeypatch.setattr(builders, 'SAM_AUTOMATIC', dict(builders.SAM_AUTOMATIC))
    register_sam('shy', lambda checkpoint: small_sam(), automatic=dict(pred_iou_thresh=0.2))
    engine = MaskEngine(build_sam('shy'))
    assert (engine.pred_iou_thresh, engine.stability_score_thresh, len(engine.grid)) == (0.2, 0.95, 32 * 32)
    assert MaskEngine(build_sam('shy'), pred_iou_thresh=0.0).pred_iou_thresh == 0
    assert MaskEngine(build_sam('tiny')).pred_iou_thresh == TINY_AUTOMATIC['pred_iou_thresh']
    assert MaskEngine(small_sam()).pred_iou_thresh == 0.88


def test_unknown_settings_of_a_sam_are_refused():
    with pytest.raises(ValueError, match="'shy' has unknown keys .*pred_iou'"):
        register_sam('shy', lambda checkpoint: None, automatic=dict(pred_iou=0.2))
    assert 'shy' not in SAM_BUILDERS


def test_what_builds_no_sam_is_refused(monkeypatch):
    for name, builder in ((5, small_sam), ('mine', 'vit_b')):
        with pytest.raises(TypeError, match='expected a name and a function that builds the SAM'):
            register_sam(name, builder)
    monkeypatch.setitem(SAM_BUILDERS, 'none', lambda checkpoint: None)
    with pytest.raises(TypeError, match="the builder of the SAM 'none' must return a network, found NoneType"):
        build_sam('none')


def test_meta_sizes_are_known():
    assert {'vit_h', 'vit_l', 'vit_b'} <= set(SAM_BUILDERS)


def test_registered_builder_loads_weights(small, tmp_path):
    state = {key: value + 1 for key, value in small_sam().state_dict().items()}
    torch.save(state, tmp_path / 'mine.pth')
    sam = build_sam('small', str(tmp_path / 'mine.pth'))
    assert isinstance(sam, Sam) and not sam.training
    assert all(value.equal(state[key]) for key, value in sam.state_dict().items())


def test_names_are_taken_once(small):
    with pytest.raises(ValueError, match="'small' is registered already"):
        register_sam('small', lambda checkpoint: None)


def test_unknown_type():
    with pytest.raises(ValueError, match="one of .*'vit_b'.*found 'vit_x'"):
        build_sam('vit_x')


def test_absent_file(small, tmp_path):
    with pytest.raises(FileNotFoundError, match='no SAM checkpoint at .*none.pth: give the path of a local file'):
        build_sam('small', str(tmp_path / 'none.pth'))


@pytest.mark.parametrize('share', [0, 0.3, 0.99])
def test_cut_off_file(small, tmp_path, share):
    torch.save(small_sam().state_dict(), tmp_path / 'whole.pth')
    content = (tmp_path / 'whole.pth').read_bytes()
    (tmp_path / 'cut.pth').write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r'cut.pth (\(\d+ bytes\) is damaged or cut off|is empty)'):
        build_sam('small', str(tmp_path / 'cut.pth'))


def test_code_in_a_checkpoint_is_not_run(small, tmp_path):
    torch.save(small_sam(), tmp_path / 'module.pth')
    with pytest.raises(ValueError, match='loading that could run code, so it is refused'):
        build_sam('small', str(tmp_path / 'module.pth'))


@pytest.mark.parametrize(
    'change, first',
    [
        (lambda state: {**state, 'mask_decoder.iou_token.weight': torch.zeros(1, 7)}, 'mask_decoder.iou_token.weight'),
        (lambda state: {k: v for k, v in state.items() if k != 'image_encoder.pos_embed'}, 'image_encoder.pos_embed'),
        (lambda state: {**state, 'hq_token': torch.zeros(1)}, 'hq_token'),
    ],
)
def test_other_architecture(small, tmp_path, change, first):
    torch.save(change(small_sam().state_dict()), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=f'does not fit small: 1 entries .* the first is .{first}.; check model_type'):
        build_sam('small', str(tmp_path / 'other.pth'))


def test_no_state_dict(small, tmp_path):
    torch.save(torch.zeros(3), tmp_path / 'tensor.pth')
    with pytest.raises(ValueError, match='holds a Tensor; expected a dict'):
        build_sam('small', str(tmp_path / 'tensor.pth'))


def test_offline(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    url = (tmp_path / 'nowhere' / 'sam_x_0123.pth').as_uri()
    with pytest.raises(
        FileNotFoundError, match='cannot be downloaded to .*put it there, or give its path as checkpoint'
    ):
        download(url)
    assert {path.suffix for path in (tmp_path / 'checkpoints').rglob('*') if path.is_file()} <= {'.lock'}


def test_download_checks_the_digest_and_is_done_once(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    source = tmp_path / 'sam_x_2cf24d.pth'  # SHA-256 of b'hello' begins so
    source.write_bytes(b'hell')
    with pytest.raises(FileNotFoundError, match='its SHA-256 is .* should begin with 2cf24d'):
        download(source.as_uri())
    source.write_bytes(b'hello')
    path = download(source.as_uri())
    source.unlink()
    assert download(source.as_uri()) == path
    assert open(path, 'rb').read() == b'hello'


def test_one_downloads_and_the_others_wait(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    calls = []

    def slowly(url, path, digest):
        calls.append(digest)
        time.sleep(0.3)
        Path(path).write_bytes(b'weights')

    monkeypatch.setattr(checkpoints, '_fetch', slowly)
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(download, [builders.CHECKPOINT_URLS['hq_vit_b']] * 3))
    assert calls == [None], "the 'b' of a size is no digest"
    assert set(paths) == {str(tmp_path / 'checkpoints' / 'sam_hq_vit_b.pth')}
    assert checkpoint_id('hq_vit_b') == sha256_of(paths[0]), 'where the name has no digest the file is hashed'


def test_files_of_one_name_at_two_addresses_are_two_files(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    sources = [tmp_path / size / 'model.safetensors' for size in ('base', 'huge')]
    for source in sources:
        source.parent.mkdir()
        source.write_text(source.parent.name)
    assert [Path(download(source.as_uri())).read_text() for source in sources] == ['base', 'huge']


def download(url):
    return builders.checkpoint_file('vit_b', url)


def test_official_urls_are_complete():
    assert set(builders.CHECKPOINT_URLS) == set(builders.ARCHITECTURES) == set(SAM_BUILDERS) - {'tiny', 'hf', 'sam3'}
    known = {name: builders.digest_in(url) for name, url in builders.CHECKPOINT_URLS.items()}
    assert {name for name, digest in known.items() if digest} == {'vit_b', 'vit_l', 'vit_h'}


def test_a_checkpoint_of_sam2(monkeypatch, tmp_path):
    """Weights lie under 'model'; what serves videos only is loaded and let go."""
    pytest.importorskip('sam2')
    monkeypatch.setitem(builders.ARCHITECTURES, 'sam2.1_t', partial(sam2_model, 't', **SMALL_SAM2))
    state = {key: value + 1 for key, value in builders.ARCHITECTURES['sam2.1_t']().state_dict().items()}
    path = str(tmp_path / 'sam2.1_hiera_tiny.pt')
    torch.save(dict(model=state), path)
    sam = build_sam('sam2.1_t', path)
    assert not sam.training and sam.mask_decoder.iou_token.weight.equal(state['sam_mask_decoder.iou_token.weight'])
    assert not any('memory' in key for key in sam.state_dict())
    assert checkpoint_id('sam2.1_t', path) == sha256_of(path)
    del state['no_mem_embed']
    torch.save(dict(model=state), path)
    with pytest.raises(ValueError, match="does not fit sam2.1_t: 1 entries .* the first is 'no_mem_embed'"):
        build_sam('sam2.1_t', path)
