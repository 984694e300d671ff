"""Trained networks in tiles, as they are exported, and in ONNX files."""

import json

import numpy as np
import pytest
import torch
from students import NETWORKS

from mmsampriors.restoring import Restorer
from mmsampriors.restoring.tiles import spans_of

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
    from mmsampriors.restoring.torch_network import channel_order_of

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


def _student_of(generator):
    from mmsampriors.models.networks import DnCNN  # noqa: F401
    from mmsampriors.models.student import Student
    from mmsampriors.registry import MODELS, build_part

    network = build_part(MODELS, generator)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    preprocessor = dict(type='DataPreprocessor', mean=[100.0, 110.0, 120.0], std=[255.0, 250.0, 240.0])
    return Student(network, build_part(MODELS, preprocessor), 'bgr')


def test_half_precision_in_onnx_says_what_it_costs(student, tmp_path, noisy):
    from mmsampriors.engine.onnx_export import write_onnx
    from mmsampriors.restoring.torch_network import TorchNetwork, exported_config

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
    (tmp_path / 'cut.onnx').write_bytes(b'cut off')
    with pytest.raises(ValueError, match='cannot be loaded as an ONNX model'):
        Restorer(tmp_path / 'cut.onnx')
    with pytest.raises(ValueError, match='nothing for --device cuda'):
        Restorer(tmp_path / 'other.onnx', device='cuda')


def test_live_bytes_are_those_of_the_tensors_that_are_alive():
    from mmsampriors.restoring.peak_memory import LiveBytes

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
