"""Metrics of images: PSNR by image, the share that collapsed, LPIPS and DISTS."""

import json
import os.path as osp
from pathlib import Path
from typing import Callable, List, Optional

import numpy as np
import torch
from mmagic.evaluation import PSNR
from mmagic.evaluation.metrics.base_sample_wise_metric import BaseSampleWiseMetric
from mmagic.evaluation.metrics.metrics_utils import obtain_data
from torch import Tensor

from mmsampriors.checkpoints import download_checkpoint, read_checkpoint
from mmsampriors.files import write_whole
from mmsampriors.images import COLLAPSE, enlarged
from mmsampriors.masks.sam.ops import torch_device
from mmsampriors.models.batch import metric_image_to_rgb
from mmsampriors.models.networks import unwrapped
from mmsampriors.registry import METRICS, MODELS, build_part


@METRICS.register_module()
class PSNRByImage(PSNR):
    """mmagic's PSNR, which writes what it measured of each image too. [ours]

    The file is a list of dicts: ``name``, of the ground truth's file; ``psnr``, in dB; and with ``masks`` their number
    on the ground truth, ``masks``, and the share of the pixels that they cover, ``coverage``.

    Args:
        out (str): The file, ``*.json``. That of refined images (``test_cfg.refined``) has ``refined_`` before its name.
        masks (dict, optional): Config of a mask source.
        **kwargs: Those of mmagic's PSNR.
    """

    def __init__(self, out: str, masks: Optional[dict] = None, **kwargs):
        super().__init__(**kwargs)
        self.out = out
        self.mask_source = build_part(MODELS, masks) if masks else None

    def prepare(self, module, dataloader):
        """Notes the device of the model, and whether it refines."""
        super().prepare(module, dataloader)
        module = unwrapped(module)
        self._device_of_model = next(module.parameters()).device
        self._refined = bool((module.test_cfg or {}).get('refined'))

    def process(self, data_batch, data_samples: List[dict]):
        """Measures the images of a batch."""
        super().process(data_batch, data_samples)
        for result, sample in zip(self.results[-len(data_samples) :], data_samples):
            path = sample.get('gt_path', '')
            result.update(name=osp.splitext(osp.basename(path))[0], psnr=float(result[self.metric]))
            if self.mask_source is not None:
                gt = metric_image_to_rgb(obtain_data(sample, self.gt_key, self._device_of_model))
                found = self.mask_source.segment(gt[None], [path])[0]
                result.update(
                    masks=len(found), coverage=found.bitmaps.any(0).float().mean().item() if len(found) else 0.0
                )

    def compute_metrics(self, results: List[dict]) -> dict:
        """The mean, as mmagic's; writes the file, in the main process."""
        folder, name = osp.split(self.out)
        path = osp.join(folder, f'refined_{name}' if self._refined else name)
        rows = [{key: value for key, value in result.items() if key != self.metric} for result in results]
        write_whole(path, json.dumps(rows, indent=1))
        return super().compute_metrics(results)


@METRICS.register_module()
class CollapseRate(PSNR):
    """The share of images whose PSNR is more than 3 dB below that of their input (SAM-Deblur, Li et al., ICASSP 2024).

    An input that is smaller than the ground truth is enlarged by bicubic interpolation.

    Args:
        **kwargs: Those of mmagic's PSNR; give those that the PSNR of the test set has.

    Metrics:
        - CollapseRate: in [0, 1]; lower is better
    """

    metric = 'CollapseRate'

    def process(self, data_batch, data_samples: List[dict]):
        """Compares the images of a batch with their inputs."""
        for sample in data_samples:
            gt, given = (obtain_data(sample, key, self.device) for key in (self.gt_key, 'input'))
            pred = obtain_data(sample['output'], self.pred_key, self.device)
            if given.shape != gt.shape:
                larger = enlarged(given.permute(1, 2, 0).numpy() / 255, gt.shape[1] // given.shape[1])
                given = torch.from_numpy(255 * larger).permute(2, 0, 1)
            before, after = (self.process_image(gt, image, None) for image in (given, pred))
            self.results.append({self.metric: float(before - after > COLLAPSE)})


SMALLEST = 32  # pixels a side: the networks halve an image five times
#: Network to the file of its weights, as torchvision names and fetches it.
BACKBONES = dict(LPIPS=('AlexNet', 'alexnet-owt-7be5be79.pth'), DISTS=('VGG-16', 'vgg16-397923af.pth'))
URL = 'https://download.pytorch.org/models/'


def backbone_weights(metric: str) -> Path:
    """The file of the weights that a metric needs, which is downloaded where it is missing.

    It is read once as plain data: torchvision would run what it holds.

    Args:
        metric (str): 'LPIPS' or 'DISTS'.

    Raises:
        FileNotFoundError: It is missing and cannot be downloaded.
        ValueError: It cannot be read as weights.
    """
    network, name = BACKBONES[metric]
    path = download_checkpoint(URL + name, check=True, remedy=f'leave {metric} out, which needs these weights')
    try:
        read_checkpoint(path)
    except ValueError as error:
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
    device = torch_device(device or 'cpu')
    network = network.eval().requires_grad_(False).to(device)

    def tensor_of(image):
        image = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).permute(2, 0, 1)[None]
        return (image * 2 - 1 if metric == 'LPIPS' else image).to(device)

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
