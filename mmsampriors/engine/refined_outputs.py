"""What the refiner makes of the student's images in validation."""

from typing import List

import numpy as np
import torch
from mmagic.structures import DataSample
from torch import Tensor

from mmsampriors.datasets.stored_masks import key_of
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
        seen = self.model.seen_by_refiner(self.inputs, self.restored)
        masks = self._stored_masks(outputs, seen) or self.model.masks_of(seen, samples)
        refined = self.model.refine(seen, Regions(masks, seen))
        refined = self.model.data_preprocessor.destruct(refined, samples).cpu()
        height, width = refined.shape[-2:]
        for output, image, of_image in zip(outputs, refined, masks):
            # The preprocessor may have padded the image, and what it made is cut off again.
            inside = ImageMasks.from_masks(of_image.bitmaps[:, :height, :width].cpu())
            output.set_data(dict(refined_img=image, refined_masks=inside))

    def _stored_masks(self, outputs: List[DataSample], seen: Tensor) -> List[ImageMasks]:
        """Masks that were stored before training, on the pixels of ``seen``; none where those of an image are not."""
        source = self.model.mask_source
        kept = getattr(source, 'kept_for_validation', {})
        paths = [output.get(key_of(source)) for output in outputs] if kept else []
        if not paths or any(path not in kept for path in paths):
            return []
        found = [kept[path].load(path) for path in paths]
        height, width = seen.shape[-2:]
        if any(masks.size[0] > height or masks.size[1] > width for masks in found):
            return []  # of another scale than what the refiner takes
        # The preprocessor may have padded the image; masks end in their last row and column.
        return [
            masks.take(
                np.minimum(np.arange(height), masks.size[0] - 1), np.minimum(np.arange(width), masks.size[1] - 1)
            ).to(seen.device)
            for masks in found
        ]
