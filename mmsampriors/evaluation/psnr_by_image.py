"""PSNR of each image, for statistics over images."""

import json
import os.path as osp
from typing import List, Optional

from mmagic.evaluation import PSNR
from mmagic.evaluation.metrics.metrics_utils import obtain_data

from mmsampriors.files import write_whole
from mmsampriors.models.rgb import metric_image_to_rgb
from mmsampriors.models.unwrapped import unwrapped
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
