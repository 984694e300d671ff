import json

import numpy as np
import pytest
import torch

import mmsampriors.evaluation  # noqa: F401  (registers it)
import mmsampriors.models  # noqa: F401
from mmsampriors.registry import METRICS, build_part


class Model(torch.nn.Conv2d):
    """What the metric asks a model for."""

    data_preprocessor = None
    test_cfg = None


class Loader:
    dataset = range(2)


def sample(name, error, size=(24, 32)):
    """As mmagic hands it to metrics: BGR, float, in [0, 255]; the left half is black and the right half white."""
    gt = torch.zeros(3, *size)
    gt[..., size[1] // 2 :] = 200
    return dict(output=dict(pred_img=gt + error), gt_img=gt, gt_path=f'target/{name}.png')


@pytest.mark.parametrize('refined', [False, True])
def test_every_image_is_written_beside_the_mean(tmp_path, refined):
    model = Model(1, 1, 1)
    model.test_cfg = dict(refined=True) if refined else None
    metric = build_part(
        METRICS,
        dict(
            type='mmsampriors.PSNRByImage',
            out=str(tmp_path / 'images' / 'rain.json'),
            prefix='rain',
            masks=dict(type='FelzenszwalbMasks', scale=10, sigma=0, min_size=20),
        ),
    )
    metric.prepare(model, Loader)
    metric.process(None, [sample('a', 1)])
    metric.process(None, [sample('b', 10)])
    found = metric.evaluate()
    expected = [20 * np.log10(255), 20 * np.log10(25.5)]
    assert found == pytest.approx({'rain/PSNR': np.mean(expected)})
    file = tmp_path / 'images' / ('refined_rain.json' if refined else 'rain.json')
    images = json.loads(file.read_text())
    assert [image['name'] for image in images] == ['a', 'b'] and list(file.parent.iterdir()) == [file]
    assert [image['psnr'] for image in images] == pytest.approx(expected)
    assert {(image['masks'], image['coverage']) for image in images} == {(2, 1.0)}
