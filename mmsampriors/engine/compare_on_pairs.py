"""Compares what several trainings of one network make of the same pairs."""

import os
import os.path as osp
from dataclasses import dataclass
from typing import Dict, List

import cv2
import numpy as np
import torch
from mmagic.evaluation.metrics import psnr, ssim
from mmagic.structures import DataSample

from mmsampriors.masks import ImageMasks
from mmsampriors.models import Regions
from mmsampriors.registry import MODELS, build_part

from .pretrained import refuse_misfit, weights_of


@dataclass
class Comparison:
    """One pair of images and what the models made of the degraded one.

    Args:
        name (str): Name of the pair.
        images (dict[str, np.ndarray]): ``input``, ``target``, one for each training, and ``refined``; (H, W, 3),
            uint8, RGB.
        masks (ImageMasks): The masks that the refiner took.
        metrics (dict[str, dict[str, float]]): PSNR in dB and SSIM, on the Y channel, of each image but the target.
    """

    name: str
    images: Dict[str, np.ndarray]
    masks: ImageMasks
    metrics: Dict[str, Dict[str, float]]


@torch.no_grad()
def compare_on_pairs(model_cfg: dict, states: Dict[str, dict], refiner: str, data: str) -> List[Comparison]:
    """Restores the pairs of a folder with every training.

    Args:
        model_cfg (dict): Config of the SPDModel.
        states (dict[str, dict]): State dict of each training, of an SPDModel or of its stock model.
        refiner (str): The one among them whose refiner makes the refined image.
        data (str): Folder with ``input`` and ``target``, images of the same names; read as RGB.
    """
    model = build_part(MODELS, model_cfg).eval()
    for name, state in states.items():
        refuse_misfit(state, weights_of(model, 'generator'), name, 'Compare trainings of one network')
    comparisons = []
    for file in sorted(os.listdir(osp.join(data, 'input'))):
        images = {kind: cv2.imread(osp.join(data, kind, file))[..., ::-1] for kind in ('input', 'target')}
        sample = DataSample(metainfo=dict(img_channel_order=['rgb']))
        lq = torch.from_numpy(images['input'].copy()).permute(2, 0, 1)[None].float() / 255
        for name, state in states.items():
            model.load_state_dict(state, strict=name == refiner)
            restored = model.generator(lq)
            images[name] = _array(restored)
            if name == refiner:
                seen = model.seen_by_refiner(lq, restored)
                masks = model.masks_of(seen, sample)
                images['refined'] = _array(model.refine(seen, Regions(masks, seen)))
        metrics = {name: measure(image, images['target']) for name, image in images.items() if name != 'target'}
        comparisons.append(Comparison(osp.splitext(file)[0], images, masks[0], metrics))
    return comparisons


def measure(image: np.ndarray, target: np.ndarray) -> Dict[str, float]:
    """PSNR in dB and SSIM on the Y channel, as mmagic measures deraining.

    Args:
        image (np.ndarray): (H, W, 3), uint8, RGB.
        target (np.ndarray): Likewise.
    """
    return {
        name: float(metric(image, target, convert_to='Y', channel_order='rgb'))
        for name, metric in (('PSNR', psnr), ('SSIM', ssim))
    }


def mean_metrics(comparisons: List[Comparison]) -> Dict[str, Dict[str, float]]:
    """The mean of each metric over the pairs."""
    first = comparisons[0].metrics
    return {
        name: {metric: float(np.mean([one.metrics[name][metric] for one in comparisons])) for metric in first[name]}
        for name in first
    }


def _array(images):
    return (images[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
