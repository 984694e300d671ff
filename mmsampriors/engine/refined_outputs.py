"""What the refiner makes of the student's images in validation."""

from typing import List

import torch
from mmagic.structures import DataSample

from mmsampriors.masks import ImageMasks
from mmsampriors.models import Regions


class RefinedOutputs:
    """Refines what validation restores, once for all hooks that want it.

    Args:
        model (SPDModel): Its student is watched from now on, for validation keeps no normalized images.
    """

    def __init__(self, model):
        self.model, self.inputs, self.restored = model, None, None
        self._watch = model.generator.register_forward_hook(self._keep)

    def _keep(self, student, inputs, restored):
        self.inputs, self.restored = inputs[0], restored

    def close(self):
        """Stops watching, and lets go of what it saw: images of a whole photograph."""
        self._watch.remove()
        self.inputs = self.restored = None

    @torch.no_grad()
    def add_to(self, outputs: List[DataSample]):
        """Adds ``refined_img``, like ``output.pred_img``, and ``refined_masks``, an ImageMasks, where they are missing.

        Args:
            outputs (list[DataSample]): What the model put out in its latest step.
        """
        if 'refined_img' in outputs[0]:
            return
        samples = DataSample.stack(outputs)
        seen = self.model.seen_by_refiner(self.inputs, self.restored)
        masks = self.model.masks_of(seen, samples)
        refined = self.model.refine(seen, Regions(masks, seen))
        refined = self.model.data_preprocessor.destruct(refined, samples).cpu()
        height, width = refined.shape[-2:]
        for output, image, of_image in zip(outputs, refined, masks):
            # The preprocessor may have padded the image, and what it made is cut off again.
            inside = ImageMasks.from_masks(of_image.bitmaps[:, :height, :width].cpu())
            output.set_data(dict(refined_img=image, refined_masks=inside))
