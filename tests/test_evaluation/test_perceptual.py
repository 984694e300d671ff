"""LPIPS and DISTS: what is said where weights are missing, and that they measure."""

import numpy as np
import pytest
import torch

from mmsampriors.evaluation import image_metrics
from mmsampriors.registry import METRICS


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder of torchvision's weights, and no network."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))

    def refused(*args, **options):
        raise OSError('no network')

    monkeypatch.setattr('urllib.request.urlopen', refused)
    return tmp_path / 'checkpoints'


@pytest.mark.parametrize('metric, name', [('LPIPS', 'alexnet-owt-7be5be79.pth'), ('DISTS', 'vgg16-397923af.pth')])
def test_missing_weights_are_one_error_that_names_the_file_and_its_place(hub, metric, name):
    with pytest.raises(FileNotFoundError) as error:
        METRICS.build(dict(type=f'mmsampriors.{metric}'))
    said = str(error.value)
    assert f'https://download.pytorch.org/models/{name} cannot be downloaded to {hub / name}' in said
    assert 'put it there' in said and metric in said
    assert '\n' not in said


def test_weights_that_hold_code_or_are_cut_off_are_refused(hub):
    class Malicious:
        def __reduce__(self):
            return open, (str(hub / 'broken_in'), 'w')

    hub.mkdir()
    torch.save(Malicious(), hub / 'alexnet-owt-7be5be79.pth')
    with pytest.raises(ValueError, match='remove it and get it again'):
        image_metrics.backbone_weights('LPIPS')
    assert not (hub / 'broken_in').exists()


@pytest.mark.slow
@pytest.mark.parametrize('metric, network', [('LPIPS', 'alexnet'), ('DISTS', 'vgg16')])
def test_the_more_noise_the_larger_the_distance(hub, metric, network):
    """With random weights in the place of the real ones, which no package index has."""
    import torchvision.models

    hub.mkdir()
    torch.save(
        getattr(torchvision.models, network)(weights=None).state_dict(), hub / image_metrics.BACKBONES[metric][1]
    )
    measure = METRICS.build(dict(type=f'mmsampriors.{metric}'))
    model = torch.nn.Conv2d(1, 1, 1)
    model.data_preprocessor = None
    measure.prepare(model, torch.utils.data.DataLoader([0]))
    gt = torch.rand(3, 64, 64) * 255
    noise = torch.randn(3, 64, 64)
    distances = []
    for sigma in (0, 10, 60):
        measure.results.clear()
        pred = (gt + sigma * noise).clamp(0, 255)
        measure.process(None, [dict(output=dict(pred_img=pred), gt_img=gt)])
        distances.append(measure.compute_metrics(measure.results)[metric])
    assert distances[0] == pytest.approx(0, abs=1e-5) and distances[0] < distances[1] < distances[2]
    assert image_metrics.perceptual_distance(metric)(np.zeros((8, 8, 3)), np.zeros((8, 8, 3))) is None
    with pytest.raises(ValueError, match='at least 32 pixels'):
        measure.process(None, [dict(output=dict(pred_img=gt[:, :8]), gt_img=gt[:, :8])])
