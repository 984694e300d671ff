"""LPIPS and DISTS: how different two images look, by features of networks that know photographs.

The networks are torchmetrics' (Apache-2.0); the small weights on top come with it. Those of AlexNet and VGG-16 are
torchvision's, which are downloaded once.
"""

from pathlib import Path
from typing import Callable, Optional

import numpy as np
import torch
from mmagic.evaluation.metrics.base_sample_wise_metric import BaseSampleWiseMetric
from torch import Tensor

from mmsampriors.models.rgb import metric_image_to_rgb
from mmsampriors.models.unwrapped import unwrapped
from mmsampriors.registry import METRICS

SMALLEST = 32  # pixels a side: the networks halve an image five times
#: Network to the file of its weights, as torchvision names and fetches it.
BACKBONES = dict(LPIPS=('AlexNet', 'alexnet-owt-7be5be79.pth'), DISTS=('VGG-16', 'vgg16-397923af.pth'))
URL = 'https://download.pytorch.org/models/'


def backbone_weights(metric: str) -> Path:
    """The file of the weights that a metric needs, which is downloaded where it is missing.

    It is read once with ``weights_only=True``: torchvision would run what it holds.

    Args:
        metric (str): 'LPIPS' or 'DISTS'.

    Raises:
        FileNotFoundError: It is missing and cannot be downloaded.
        ValueError: It cannot be read as weights.
    """
    network, name = BACKBONES[metric]
    path = Path(torch.hub.get_dir()) / 'checkpoints' / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            digest = name.rsplit('-', 1)[1].removesuffix('.pth')
            torch.hub.download_url_to_file(URL + name, str(path), hash_prefix=digest, progress=False)
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f'{metric} needs the weights of {network}, {name}, which could not be downloaded ({error}). Download '
                f'{URL}{name} elsewhere and put it into {path.parent}'
            ) from None
    try:
        torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        raise ValueError(
            f'{path} cannot be read as weights of {network} ({error}): remove it and get it again'
        ) from None
    return path


def perceptual_distance(metric: str, device: Optional[str] = None) -> Callable[[np.ndarray, np.ndarray], float]:
    """A function of two images, (H, W, 3), RGB in [0, 1]; None for images that are too small.

    Args:
        metric (str): 'LPIPS', with AlexNet, as restoration papers report it, or 'DISTS'.
        device (str, optional): Where it runs. Defaults to the CPU.

    Raises:
        FileNotFoundError: Weights are missing and cannot be downloaded.
        ValueError: Weights cannot be read.
    """
    backbone_weights(metric)
    # Here and not above: importing torchmetrics takes seconds.
    from torchmetrics.functional.image.dists import DISTSNetwork
    from torchmetrics.functional.image.lpips import _LPIPS

    network = _LPIPS(net='alex') if metric == 'LPIPS' else DISTSNetwork()
    network = network.eval().requires_grad_(False).to(device or 'cpu')

    def tensor_of(image):
        image = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).permute(2, 0, 1)[None]
        return (image * 2 - 1 if metric == 'LPIPS' else image).to(device or 'cpu')

    @torch.no_grad()
    def distance(image, truth):
        if min(image.shape[:2]) < SMALLEST:
            return None
        return float(network(tensor_of(image), tensor_of(truth)).mean())

    return distance


class _Perceptual(BaseSampleWiseMetric):
    """What the two metrics have in common: mmagic's images, BGR or gray in [0, 255], as the networks take them."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        backbone_weights(self.metric)  # a missing file is an error before the first batch
        self._distance = None

    def prepare(self, module, dataloader):
        """Builds the network on the device of the model."""
        super().prepare(module, dataloader)
        self._distance = perceptual_distance(self.metric, next(unwrapped(module).parameters()).device)

    def process_image(self, gt: Tensor, pred: Tensor, mask) -> float:
        """Compares two images, (C, H, W).

        Raises:
            ValueError: They are smaller than 32 pixels.
        """
        value = self._distance(_rgb(pred), _rgb(gt))
        if value is None:
            raise ValueError(f'{self.metric} needs at least {SMALLEST} pixels a side, found {tuple(gt.shape[1:])}')
        return value


@METRICS.register_module()
class LPIPS(_Perceptual):
    """Learned perceptual image patch similarity with AlexNet (Zhang et al., CVPR 2018); lower is better.

    Args:
        **kwargs: Those of mmagic's metrics: ``gt_key``, ``pred_key``, ``prefix``, ``collect_device``.

    Metrics:
        - LPIPS: mean over the images
    """

    metric = 'LPIPS'


@METRICS.register_module()
class DISTS(_Perceptual):
    """Deep image structure and texture similarity (Ding et al., TPAMI 2020); lower is better.

    Args:
        **kwargs: Those of mmagic's metrics: ``gt_key``, ``pred_key``, ``prefix``, ``collect_device``.

    Metrics:
        - DISTS: mean over the images
    """

    metric = 'DISTS'


def _rgb(image):
    return metric_image_to_rgb(image).permute(1, 2, 0).cpu().numpy()
