"""mmengine's TensorBoard, MLflow and Weights & Biases backends get losses by owner, metrics and panels of a real run.

With files on disk only: MLflow's file store, and W&B offline.
"""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

import mmsampriors.engine  # noqa: F401

#: What a step of the joint schedule logs, and what a validation does.
OWNERS = {'student.loss_recon', 'refiner.loss_recon', 'spd.loss_image', 'sgr.loss_region', 'sgr.loss_pixel'}
LOGGED = {*OWNERS, 'loss', 'lr', 'grad.student', 'grad.spd', 'grad.sgr', 'spd.weight', 'PSNR', 'refined/PSNR'}


@pytest.fixture
def train(runner_cfg):
    """A function that trains two iterations with a backend, validates, and gives the folder that backends write to."""

    def with_backend(**backend):
        hooks = [
            dict(type='mmsampriors.SPDVisualizationHook', num_images=1),
            dict(type='mmsampriors.RefinedPSNRHook'),
            # mmagic's, of its default runtime: each image of the validation.
            dict(type='BasicVisualizationHook', interval=1),
        ]
        cfg = runner_cfg(
            hooks=hooks,
            max_iters=2,
            visualizer=dict(
                type='ConcatImageVisualizer',
                vis_backends=[dict(type='LocalVisBackend'), backend],
                fn_key='gt_path',
                img_keys=['gt_img', 'pred_img'],
                bgr2rgb=True,
            ),
        )
        cfg['train_cfg']['val_interval'] = 2
        runner = Runner.from_cfg(Config(cfg))
        runner.train()
        return Path(runner.log_dir) / 'vis_data'

    return with_backend


def assert_same_as_on_disk(folder, images):
    """The first panel, and all images, are those that LocalVisBackend wrote.

    Args:
        folder (Path): Of all backends.
        images (list[np.ndarray]): What the backend got.
    """
    on_disk = [np.asarray(Image.open(path)) for path in folder.glob('vis_image/*.png')]
    assert len(on_disk) == len(images) == 5, 'a panel, and four photographs'
    assert max(image.shape[1] for image in on_disk) > 300, 'the panel'
    for image in on_disk:
        assert any(np.array_equal(image, other) for other in images)


def test_tensorboard(train):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = train(type='TensorboardVisBackend')
    events = EventAccumulator(str(folder), size_guidance=dict(images=0)).Reload()
    assert LOGGED <= set(events.Tags()['scalars'])
    assert [event.step for event in events.Scalars('spd.loss_image')] == [1, 2]
    names = events.Tags()['images']
    assert len([name for name in names if name.startswith('spd_')]) == 1
    encoded = [event.encoded_image_string for name in names for event in events.Images(name)]
    assert_same_as_on_disk(folder, [np.asarray(Image.open(io.BytesIO(content))) for content in encoded])


def test_mlflow(train):
    mlflow = pytest.importorskip('mlflow', reason="MLflow is not installed: pip install 'mlflow-skinny'")
    folder = train(type='MLflowVisBackend', exp_name='spd')
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name('spd').experiment_id])
    assert run.info.status == 'FINISHED' and LOGGED <= set(run.data.metrics)
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, 'spd.loss_image')] == [1, 2]
    assert run.data.params['model.type'] == 'mmsampriors.SPDModel'
    names = [found.path for found in client.list_artifacts(run.info.run_id) if found.path.endswith('.png')]
    assert len([name for name in names if re.fullmatch(r'spd_[a-z]+_2\.png', name)]) == 1
    images = [client.download_artifacts(run.info.run_id, name) for name in names]
    assert_same_as_on_disk(folder, [np.asarray(Image.open(path)) for path in images])


@pytest.mark.slow
def test_weights_and_biases_offline(train, tmp_path, monkeypatch):
    wandb = pytest.importorskip('wandb', reason='Weights & Biases is not installed: pip install wandb')
    # Its own settings and caches lie in the home folder otherwise.
    for name in ('WANDB_CONFIG_DIR', 'WANDB_CACHE_DIR', 'WANDB_DATA_DIR'):
        monkeypatch.setenv(name, str(tmp_path / 'wandb'))
    monkeypatch.setenv('WANDB_SILENT', 'true')
    folder = train(type='WandbVisBackend', init_kwargs=dict(project='spd', mode='offline'))
    wandb.teardown()  # its own process writes the file
    (log,) = folder.glob('wandb/offline-run-*/*.wandb')
    # The log is binary, and holds each name that was logged as text.
    content = log.read_bytes()
    assert [name for name in LOGGED if name.encode() not in content] == []
    images = list(log.parent.glob('files/media/images/**/*.png'))
    assert len([path for path in images if path.name.startswith('spd_')]) == 1
    assert_same_as_on_disk(folder, [np.asarray(Image.open(path)) for path in images])
