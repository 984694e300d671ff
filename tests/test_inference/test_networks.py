"""Trained networks in tiles, as they are exported, and in ONNX files."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import ENLARGING, enlarging
from PIL import Image
from students import NETWORKS

from mmsampriors.inference.restorer import Restorer
from mmsampriors.inference.tiles import spans_of
from mmsampriors.inference.torch_network import TorchNetwork, exported_config

TILE = 128


def psnr(image, clean):
    return -10 * np.log10(np.mean((image / 255.0 - clean / 255.0) ** 2))


@pytest.mark.parametrize('name', list(NETWORKS))
def test_tiles_cost_less_than_a_tenth_of_a_decibel_and_leave_no_seam(student, noisy, name):
    """Restormer's attention and NAFNet's see a whole image or a tile; SwinIR's windows lie alike in both."""
    lq, clean = (image[:208, :304] for image in noisy)
    whole = Restorer(student(name), device='cpu', tile='off').restore(lq)
    restorer = Restorer(student(name), device='cpu', tile=TILE)
    tiled = restorer.restore(lq)
    assert psnr(whole, clean) > psnr(lq, clean) + 5, 'the network restores something'
    assert abs(psnr(tiled, clean) - psnr(whole, clean)) < 0.1
    _assert_no_seam(whole, tiled, restorer.overlap)


@pytest.fixture(scope='module', params=ENLARGING)
def enlarging_student(request, tmp_path_factory):
    """A small super-resolution network as it is exported."""
    from mmengine.config import Config

    from mmsampriors.engine.export import write_student
    from mmsampriors.registry import MODELS

    path = tmp_path_factory.mktemp(request.param) / 'student.pth'
    model = dict(type='BaseEditModel', generator=enlarging(request.param, 2), pixel_loss=dict(type='L1Loss'))
    state = MODELS.build(model['generator']).state_dict()
    cfg = Config(dict(default_scope='mmagic', model=model))
    write_student({f'generator.{key}': value for key, value in state.items()}, cfg, str(path))
    return path


def test_tiles_of_super_resolution_are_the_whole_image(enlarging_student):
    """Of random sizes; 60 dB are a tenth of a decibel of whatever has less than 43 dB against its ground truth."""
    restorers = [Restorer(enlarging_student, device='cpu', tile=tile) for tile in ('off', 64)]

    @settings(deadline=None, max_examples=5, derandomize=True)
    @given(height=st.integers(1, 150), width=st.integers(65, 150), seed=st.integers(0, 99))
    def check(height, width, seed):
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        whole, tiled = (restorer.restore(pixels) for restorer in restorers)
        assert whole.shape == tiled.shape == (2 * height, 2 * width, 3)
        assert np.array_equal(whole, tiled) or psnr(tiled, whole) > 60

    check()


def test_a_student_of_mmagics_own_config_of_super_resolution_restores(tmp_path):
    from mmsampriors.inference.torch_network import config_of
    from mmsampriors.registry import MODELS, build_part

    path = 'mmagic::edsr/edsr_x2c64b16_1xb16-300k_div2k.py'
    state = build_part(MODELS, config_of(path).model).state_dict()
    torch.save(dict(state_dict=state, meta=dict()), tmp_path / 'x.pth')
    restorer = Restorer(config=path, checkpoint=tmp_path / 'x.pth', device='cpu')
    assert restorer.network.scale == 2 and restorer.network.channels == 3
    assert restorer.restore(np.full((40, 50, 3), 100, np.uint8)).shape == (80, 100, 3)


def test_a_refined_photograph_is_as_large_as_the_restored_one(model_cfg, tmp_path):
    from mmengine.config import Config

    from mmsampriors.images import Photograph
    from mmsampriors.inference.torch_network import Refiner
    from mmsampriors.registry import MODELS, build_part

    cfg, path = Config(dict(model=model_cfg(generator=enlarging('edsr', 2)))), tmp_path / 'iter_1.pth'
    torch.save(dict(state_dict=build_part(MODELS, cfg.model).state_dict()), path)
    refiner = Refiner(TorchNetwork(cfg, path, 'cpu'), cfg, path)
    pixels = np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)
    for photograph in (Photograph(pixels, pixels[..., 0]), Photograph(pixels[..., 1])):
        refined = refiner(photograph, tmp_path / 'a.png')
        assert refined.pixels.shape == (66, 94, *photograph.pixels.shape[2:])
        assert photograph.alpha is None or refined.alpha.shape == (66, 94)
    other = Config(cfg.to_dict())
    other.model.spd.masks = dict(type='FelzenszwalbMasks', min_size=7)
    identities = [Refiner(refiner.network, one, path).identity for one in (cfg, other)]
    assert identities[0] == refiner.identity != identities[1]
    weights = torch.load(path, weights_only=True)
    key = next(key for key in weights['state_dict'] if key.startswith('refiner.'))
    weights['state_dict'][key] = weights['state_dict'][key].to(torch.int8)
    torch.save(weights, tmp_path / 'whole.pth')
    with pytest.raises(ValueError, match='1 of its .* weights are missing, or have another shape or kind'):
        Refiner(refiner.network, cfg, tmp_path / 'whole.pth')


def _assert_no_seam(whole, tiled, overlap):
    """Where tiles meet, steps between neighbours differ no more from the whole image's than inside the tiles."""
    for axis in (0, 1):
        steps = [np.abs(np.diff(image.astype(float), axis=axis)).mean((1 - axis, 2)) for image in (tiled, whole)]
        excess = np.abs(steps[0] - steps[1])
        spans = spans_of(whole.shape[axis], TILE, overlap)
        meeting = np.zeros(len(excess), bool)
        for one, other in zip(spans, spans[1:]):
            meeting[other.start - 1 : one.stop] = True
        assert meeting.any() and not meeting.all()
        assert excess[~meeting].mean() < 0.1, 'gray levels of 255'
        assert excess[meeting].mean() <= max(1.5 * excess[~meeting].mean(), 0.01)
        assert excess[meeting].max() <= max(1.2 * excess[~meeting].max(), 0.01)


def test_tiles_that_do_not_overlap_leave_seams(student, noisy):
    """The test above can fail."""
    lq = noisy[0][:256, :256]
    whole = Restorer(student('swinir'), device='cpu', tile='off').restore(lq)
    tiled = Restorer(student('swinir'), device='cpu', tile=TILE, overlap=0).restore(lq)
    with pytest.raises(AssertionError):
        _assert_no_seam(whole, tiled, 0)


def test_pth_safetensors_and_training_checkpoint_restore_alike(student, noisy, tmp_path):
    from mmengine.config import Config

    from mmsampriors.checkpoints import read_weights
    from mmsampriors.engine.export import write_student

    path, lq = student('nafnet'), noisy[0][:61, :77]
    cfg, weights = Config.fromfile(path.with_suffix('.py')), read_weights(path)
    write_student(weights, cfg, str(tmp_path / 'student.safetensors'))
    torch.save(dict(state_dict={**weights, 'refiner.x': torch.zeros(1)}), tmp_path / 'iter_1.pth')
    expected = Restorer(path, device='cpu').restore(lq)
    assert np.array_equal(Restorer(tmp_path / 'student.safetensors', device='cpu').restore(lq), expected)
    training = Restorer(config=path.with_suffix('.py'), checkpoint=tmp_path / 'iter_1.pth', device='cpu')
    assert np.array_equal(training.restore(lq), expected)
    assert np.abs(Restorer(path, device='cpu', amp=True).restore(lq).astype(int) - expected).mean() < 1


def test_a_flipped_bit_in_safetensors_is_found(student, tmp_path):
    from mmengine.config import Config

    from mmsampriors.checkpoints import read_weights
    from mmsampriors.engine.export import write_student

    source, path = student('nafnet'), tmp_path / 'student.safetensors'
    write_student(read_weights(source), Config.fromfile(source.with_suffix('.py')), str(path))
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match='student.safetensors are not those that its config was exported with'):
        Restorer(path, device='cpu')
    assert Restorer(config=path.with_suffix('.py'), checkpoint=path, device='cpu'), 'weights that are named apart'


def test_weights_that_would_run_code_are_not_loaded(student, tmp_path):
    import os

    class Malicious:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path}/broken_in',)

    config = student('nafnet').with_suffix('.py').read_text()
    torch.save(dict(state_dict=Malicious()), tmp_path / 'student.pth')
    (tmp_path / 'student.py').write_text(config)
    with pytest.raises(ValueError, match='student.pth holds an object of .*, and loading that could run code'):
        Restorer(tmp_path / 'student.pth', device='cpu')
    assert not (tmp_path / 'broken_in').exists()
    (tmp_path / 'student.pth').write_bytes(student('nafnet').read_bytes()[:1000])
    with pytest.raises(ValueError, match='cut off'):
        Restorer(tmp_path / 'student.pth', device='cpu')


def test_order_of_channels_is_the_one_that_the_config_tests_with():
    from mmsampriors.inference.torch_network import channel_order_of

    def cfg(**orders):
        return {
            f'{kind}_dataloader': dict(
                dataset=dict(
                    dataset=dict(
                        pipeline=[
                            dict(type='LoadImageFromFile', key='img', **({'channel_order': order} if order else {}))
                        ]
                    )
                )
            )
            for kind, order in orders.items()
        }

    assert channel_order_of(cfg(test='rgb', train='rgb')) == ('rgb', [])
    assert channel_order_of(cfg(train='rgb')) == ('rgb', [])
    order, notes = channel_order_of(cfg(test='rgb', train=None))  # mmagic's loader gives BGR unless told
    assert order == 'rgb' and 'trains on BGR and tests on RGB' in notes[0]
    order, notes = channel_order_of({})
    assert order == 'bgr' and 'no pipeline' in notes[0]


#: Of each kind of block one or two: the time of an export is that of its nodes.
EXPORTED = {
    **NETWORKS,
    'nafnet': dict(NETWORKS['nafnet'], enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]),
    'swinir': dict(NETWORKS['swinir'], depths=[2], num_heads=[2]),
    'dncnn': dict(type='mmsampriors.DnCNN', width=8, depth=4),
    **{f'{family}_x{scale}': enlarging(family, scale) for family, scale in zip(ENLARGING, (3, 2, 3, 4, 2, 4))},
}


@pytest.mark.parametrize('name', list(EXPORTED))
def test_onnx_gives_what_pytorch_gives(name, tmp_path):
    """Each network with weights that matter; the file is compared once more, on sizes that the export did not try."""
    import onnx
    import onnxruntime

    from mmsampriors.engine.onnx_export import METADATA, write_onnx

    student = _student_of(EXPORTED[name])
    report = write_onnx(student, tmp_path / 'student.onnx', dict(bytes_per_pixel=100.0))
    assert report.difference <= 1e-4 and report.sizes == 4
    session = onnxruntime.InferenceSession(tmp_path / 'student.onnx', providers=['CPUExecutionProvider'])
    for shape in ((3, 3, 64, 48), (1, 3, 53, 131)):
        image = torch.rand(shape)
        with torch.no_grad():
            expected = student(image).numpy()
        np.testing.assert_allclose(session.run(None, dict(image=image.numpy()))[0], expected, atol=1e-4, rtol=0)
    described = {entry.key: entry.value for entry in onnx.load(tmp_path / 'student.onnx').metadata_props}[METADATA]
    assert json.loads(described)['channels'] == 3 and 'RGB in [0, 1]' in json.loads(described)['input']
    assert json.loads(described)['scale'] == student.scale == int(name.partition('_x')[2] or 1)


def _student_of(generator):
    from mmsampriors.models.networks import (
        DnCNN,  # noqa: F401
        Student,
    )
    from mmsampriors.registry import MODELS, build_part

    network = build_part(MODELS, generator)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    preprocessor = dict(type='DataPreprocessor', mean=[100.0, 110.0, 120.0], std=[255.0, 250.0, 240.0])
    return Student(network, build_part(MODELS, preprocessor), 'bgr')


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_student_that_is_not_finite_is_an_error_that_names_the_photograph(student, tmp_path, value):
    """Of a file of weights, and of an ONNX file, through the real command."""
    import onnx
    from onnx import numpy_helper
    from tool_processes import run_as_process

    from mmsampriors.engine.onnx_export import write_onnx

    source = student('nafnet')
    shutil.copy(source.with_suffix('.py'), tmp_path / 'student.py')
    checkpoint = torch.load(source, weights_only=True)
    write_onnx(TorchNetwork(exported_config(source), source, 'cpu').student, tmp_path / 'student.onnx', {})
    checkpoint['state_dict']['generator.ending.bias'].fill_(value)
    torch.save(checkpoint, tmp_path / 'student.pth')
    model = onnx.load(tmp_path / 'student.onnx')
    bias = next(one for one in model.graph.initializer if one.name.endswith('ending.bias'))
    bias.CopyFrom(numpy_helper.from_array(np.full_like(numpy_helper.to_array(bias), value), bias.name))
    onnx.save(model, tmp_path / 'student.onnx')
    Image.fromarray(np.full((40, 40, 3), 100, np.uint8)).save(tmp_path / 'a.png')
    for kind in ('pth', 'onnx'):
        command = ['tools/restore.py', 'a.png', '--student', f'student.{kind}', '--out', 'out', '--device', 'cpu']
        done = run_as_process(command, cwd=tmp_path, env=dict(PYTHONWARNINGS='ignore'))
        assert done.returncode == 1 and 'not restored: a.png: the network gave values that are not' in done.stderr
        assert not (tmp_path / 'out' / 'a.png').exists()


def test_the_identity_changes_with_all_that_the_network_is_built_of(student):
    cfg = exported_config(student('nafnet'))
    model = cfg['model']
    others = [
        cfg,
        dict(cfg, model=dict(model, data_preprocessor=dict(model['data_preprocessor'], mean=[1.0] * 3))),
        dict(cfg, model=dict(model, data_preprocessor=None)),
    ]
    assert len({TorchNetwork(one, student('nafnet'), 'cpu').identity for one in others}) == len(others)


def test_half_precision_in_onnx_says_what_it_costs(student, tmp_path, noisy):
    from mmsampriors.engine.onnx_export import write_onnx
    from mmsampriors.inference.torch_network import TorchNetwork, exported_config

    path = student('nafnet')
    network = TorchNetwork(exported_config(path), path, 'cpu')
    full = write_onnx(network.student, tmp_path / 'full.onnx', {})
    half = write_onnx(network.student, tmp_path / 'half.onnx', {}, half=True)
    assert 40 < half.psnr < full.psnr and half.difference > full.difference
    assert (tmp_path / 'half.onnx').stat().st_size < 0.75 * (tmp_path / 'full.onnx').stat().st_size
    lq, clean = noisy
    results = [Restorer(tmp_path / f'{kind}.onnx', tile='off').restore(lq) for kind in ('full', 'half')]
    assert abs(psnr(results[0], clean) - psnr(results[1], clean)) < 0.05
    assert np.abs(results[0].astype(int) - Restorer(path, device='cpu', tile='off').restore(lq)).max() <= 1


def test_a_network_that_onnx_would_change_is_refused(tmp_path):
    from mmsampriors.engine.onnx_export import write_onnx

    student = _student_of(NETWORKS['nafnet'])

    class Odd(torch.nn.Module):
        def forward(self, images):
            return images * (1.0 if images.shape[-1] == 192 else 0.9)  # a trace keeps one of the two

    student.generator = Odd()
    with pytest.raises(ValueError, match='Odd cannot be exported to ONNX; expected a difference of at most 1e-04'):
        write_onnx(student, tmp_path / 'student.onnx', {})
    assert not (tmp_path / 'student.onnx').exists()


def test_an_onnx_file_of_others_is_refused(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    image = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, None, None]) for name in ('x', 'y')]
    graph = helper.make_graph([helper.make_node('Identity', ['x'], ['y'])], 'other', image[:1], image[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=9)
    onnx.save(model, tmp_path / 'other.onnx')
    with pytest.raises(ValueError, match='was not written by tools/export_student.py'):
        Restorer(tmp_path / 'other.onnx')
    entry = model.metadata_props.add()
    entry.key = 'mmsampriors'
    for forged, message in (
        ('{', 'expected network to be a name, found None'),
        ('[' * 10**5, 'expected network to be a name, found None'),
        ('{"network": "N", "channels": "3"}', "expected channels to be 1 or 3, found '3'"),
        ('{"network": "N", "channels": 3, "bytes_per_pixel": 1e300}', 'bytes_per_pixel to be from 1 to 10 million'),
        ('{"network": "N", "channels": 3, "tile_note": [1]}', 'tile_note to be a text or nothing'),
        ('{"network": "N", "channels": 1}', r'expected float32 \(N, 1, H, W\)'),
    ):
        entry.value = forged
        onnx.save(model, tmp_path / 'forged.onnx')
        with pytest.raises(ValueError, match=message):
            Restorer(tmp_path / 'forged.onnx')
    (tmp_path / 'cut.onnx').write_bytes(b'cut off')
    with pytest.raises(ValueError, match='cannot be loaded as an ONNX model'):
        Restorer(tmp_path / 'cut.onnx')
    with pytest.raises(ValueError, match='nothing for --device cuda'):
        Restorer(tmp_path / 'other.onnx', device='cuda')


def test_live_bytes_are_those_of_the_tensors_that_are_alive():
    from mmsampriors.inference.torch_network import LiveBytes

    with LiveBytes() as live:
        one = torch.zeros(1000)
        two = one + 1
        del one
        three = two * 2
        view = three.view(10, 100)
        view += 1
        del two, three, view
        torch.zeros(100)
    assert live.peak == 2 * 4000
