"""Repairs to logging: what tracks experiments has moved on since mmengine's last release."""

import os
import sys

from .applying import after_import, up_to

VIS_BACKEND_MODULE = 'mmengine.visualization.vis_backend'


def _follow_mlflow():
    MLflow = sys.modules[VIS_BACKEND_MODULE].MLflowVisBackend
    if getattr(MLflow.add_image, 'mended', False):
        return
    upstream_start, upstream_add = MLflow._init_env, MLflow.add_image

    def _init_env(self):
        if self._tracking_uri is None:  # files in the work folder
            os.environ.setdefault('MLFLOW_ALLOW_FILE_STORE', 'true')
        upstream_start(self)

    def add_image(self, name, image, step=0, **kwargs):
        upstream_add(self, f'{name}_{step}.png', image, step, **kwargs)

    add_image.mended = True
    MLflow._init_env, MLflow.add_image = _init_env, add_image


@up_to('mmengine', '0.10.7')
def follow_mlflow():
    """mmengine 0.10.7 gives MLflow images whose names have no suffix, and MLflow fails at them.

    Here they are named as on disk, with the step. And mmengine keeps MLflow's files in the work folder, which MLflow
    3.13 and later refuse unless a variable allows it: it is set where no server is named. Can go when mmengine follows
    (its issues 1681 and 1687).
    """
    after_import(VIS_BACKEND_MODULE, _follow_mlflow)
