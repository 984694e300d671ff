"""Testing a checkpoint, and comparing students on pairs."""

import copy
import os
import os.path as osp
from dataclasses import dataclass
from typing import Dict, List

import numpy as np
import torch
import torch.nn.functional as F
from mmagic.evaluation.metrics import psnr, ssim
from mmagic.structures import DataSample
from mmengine.hooks import Hook
from torch import Tensor

from mmsampriors.checkpoints import generator_weights, state_dict_of
from mmsampriors.images import read_rgb, to_eight_bits
from mmsampriors.masks import ImageMasks
from mmsampriors.models import Regions
from mmsampriors.models.networks import unwrapped
from mmsampriors.registry import MODELS, SCOPE, build_part, is_a

from .export import stock_model, student_weights
from .launch import ConsoleRunner
from .pretrained import misfit, refuse_misfit, weights_of

PARTIAL = 'Take a checkpoint that this config trained. To test it as it is, add --allow-partial'


class FittingCheckpointHook(Hook):
    """Refuses a checkpoint that lacks weights of what is tested, and takes SPF unit and refiner out of it where the
    student is tested alone.

    Args:
        refined (bool): Whether refined images are tested.
        allow_partial (bool): Whether weights that are missing are a warning.
    """

    def __init__(self, refined: bool, allow_partial: bool):
        self.refined, self.allow_partial = refined, allow_partial

    def after_load_checkpoint(self, runner, checkpoint):
        model = unwrapped(runner.model)
        source = runner.cfg.load_from
        if hasattr(model, 'generator'):
            found, form = generator_weights(checkpoint, source)
        else:
            found, form = state_dict_of(checkpoint, source)[0], ''
        if self.refined and not any(key.startswith('refiner.') for key in found):
            raise ValueError('--refined needs a training checkpoint of an SPDModel; this one holds no refiner')
        if form:
            runner.logger.info(f'{source}: {form}')
        whole = self.refined or not hasattr(model, 'generator')
        expected = weights_of(model) if whole else weights_of(model, 'generator')
        known = model.state_dict() if form else None
        if self.allow_partial:
            message = misfit(found, expected, known)
            if message:
                runner.logger.warning(f'--allow-partial: the checkpoint does not fit the model: {message}')
        else:
            refuse_misfit(found, expected, type(model).__name__, PARTIAL, known)
        checkpoint['state_dict'] = found if self.refined else student_weights(found)


class KeepMetricsHook(Hook):
    """Keeps the metrics of the test; mmagic's test loop does not return them."""

    def __init__(self):
        self.metrics = {}

    def after_test_epoch(self, runner, metrics=None):
        # Where a test set has no metrics mmagic reports a text.
        numbers = {name: value for name, value in (metrics or {}).items() if not isinstance(value, str)}
        self.metrics.update({name: float(value) for name, value in numbers.items()})


def config_for_testing(cfg, refined):
    """The config that tests the student, or the refined images, whose logs and pictures get a folder of their own."""
    cfg = copy.deepcopy(cfg)
    if refined:
        cfg.model.test_cfg = {**(cfg.model.get('test_cfg') or {}), 'refined': True}
        cfg.work_dir = osp.join(cfg.work_dir, 'refined')
        cfg.experiment_name = f'{cfg.get("experiment_name", "test")}_refined'
    elif is_a(cfg.model, 'SPDModel'):
        cfg.model = stock_model(cfg.model)
    # Nothing of training: mmengine's Runner would build the training set to know the iteration, which mmagic's
    # visualization hook asks for, and whoever tests need not have it.
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = cfg.param_scheduler = None
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if not str(hook['type']).startswith(f'{SCOPE}.')]
    return cfg


def test(cfg, refined, allow_partial=False):
    """Runs the test loop and gives its metrics, ``prefix/name`` to value; see :class:`FittingCheckpointHook`."""
    kept = KeepMetricsHook()
    runner = ConsoleRunner.from_cfg(config_for_testing(cfg, refined))
    runner.register_hook(FittingCheckpointHook(refined, allow_partial))
    runner.register_hook(kept, 'LOWEST')
    runner.test()
    return kept.metrics


@dataclass
class Comparison:
    """One pair of images and what the models made of the degraded one.

    Args:
        name (str): Name of the pair.
        images (dict[str, np.ndarray]): ``input``, ``target``, one for each training, and ``refined``; (H, W, 3),
            uint8, RGB. A smaller input is enlarged by bicubic interpolation.
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
        images = {kind: to_eight_bits(read_rgb(osp.join(data, kind, file))) for kind in ('input', 'target')}
        sample = DataSample(metainfo=dict(img_channel_order=['rgb']))
        lq = torch.from_numpy(images['input'].copy()).permute(2, 0, 1)[None].float() / 255
        if model.scale > 1:
            images['input'] = _array(F.interpolate(lq, scale_factor=model.scale, mode='bicubic'))
        for name, state in states.items():
            model.load_state_dict(state, strict=name == refiner)
            restored = model.generator(lq)
            images[name] = _array(restored)
            if name == refiner:
                refiner_input = model.refiner_input(lq, restored)
                masks = model.masks_of(refiner_input, sample)
                images['refined'] = _array(model.refine(refiner_input, Regions(masks, refiner_input)))
        border = model.scale if model.scale > 1 else 0
        metrics = {name: measure(image, images['target'], border) for name, image in images.items() if name != 'target'}
        comparisons.append(Comparison(osp.splitext(file)[0], images, masks[0], metrics))
    return comparisons


def measure(image: np.ndarray, target: np.ndarray, crop_border: int = 0) -> Dict[str, float]:
    """PSNR in dB and SSIM on the Y channel, as mmagic measures deraining and, with a border of s, super-resolution.

    Args:
        image (np.ndarray): (H, W, 3), uint8, RGB.
        target (np.ndarray): Likewise.
        crop_border (int): Pixels that are left out at each side.
    """
    return {
        name: float(metric(image, target, crop_border=crop_border, convert_to='Y', channel_order='rgb'))
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


class RefinedOutputs:
    """Refines what validation restores, once for all hooks that want it.

    Args:
        model (SPDModel): Its student is watched from now on, for validation keeps no normalized images.
    """

    def __init__(self, model):
        self.model, self.inputs, self.restored = model, None, None
        self._watch = model.generator.register_forward_hook(self._keep)

    def _keep(self, student, inputs, restored):
        self.inputs, self.restored = inputs[0], restored.float()  # half precision where val_cfg.fp16 is set

    def close(self):
        """Stops watching, and lets go of what it saw: images of a whole photograph.

        Where training takes stored masks, the segmenter leaves the device.
        """
        self._watch.remove()
        self.inputs = self.restored = None
        if self.model.mask_source.stored:
            self.model.mask_source.release()

    @torch.no_grad()
    def add_to(self, outputs: List[DataSample]):
        """Adds ``refined_img``, like ``output.pred_img``, and ``refined_masks``, an ImageMasks, where they are missing.

        Args:
            outputs (list[DataSample]): What the model put out in its latest step.
        """
        if 'refined_img' in outputs[0]:
            return
        samples = DataSample.stack(outputs)
        refiner_input = self.model.refiner_input(self.inputs, self.restored)
        masks = self._stored_masks(outputs, refiner_input) or self.model.masks_of(refiner_input, samples)
        refined = self.model.refine(refiner_input, Regions(masks, refiner_input))
        refined = self.model.data_preprocessor.destruct(refined, samples).cpu()
        height, width = refined.shape[-2:]
        for output, image, of_image in zip(outputs, refined, masks):
            # The preprocessor may have padded the image, and what it made is cut off again.
            inside = ImageMasks.from_masks(of_image.bitmaps[:, :height, :width].cpu())
            output.set_data(dict(refined_img=image, refined_masks=inside))

    def _stored_masks(self, outputs: List[DataSample], refiner_input: Tensor) -> List[ImageMasks]:
        """Masks that were stored before training, on the refiner's input; none where those of an image are not."""
        source = self.model.mask_source
        kept = source.kept_for_validation if source.stored else {}
        paths = [output.get(source.image_key) for output in outputs] if kept else []
        if not paths or any(path not in kept for path in paths):
            return []
        found = [kept[path].load(path) for path in paths]
        height, width = refiner_input.shape[-2:]
        if any(masks.size[0] > height or masks.size[1] > width for masks in found):
            return []  # of another scale than what the refiner takes
        # The preprocessor may have padded the image; masks end in their last row and column.
        return [
            masks.take(
                np.minimum(np.arange(height), masks.size[0] - 1), np.minimum(np.arange(width), masks.size[1] - 1)
            ).to(refiner_input.device)
            for masks in found
        ]
