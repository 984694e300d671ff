"""The crop of a training whose patches grow."""

from mmagic.datasets.transforms import PairedRandomCrop

from mmsampriors.datasets.samplers.progressive import patch_size_of
from mmsampriors.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ProgressivePairedRandomCrop(PairedRandomCrop):
    """PairedRandomCrop with the patch size that ProgressiveBatchSampler chose for the batch.

    Required keys: ``sample_idx`` (a SampleIndex), ``scale``, ``lq_key`` and its ``_path``, ``gt_key`` and its
    ``_path``. Modified keys: ``lq_key`` and ``gt_key``.

    Args:
        lq_key (str): Key of the degraded image. Default: 'img'.
        gt_key (str): Key of the ground truth. Default: 'gt'.

    Raises:
        ValueError: The image is smaller than the patch, or the pair does not match in size.
    """

    def __init__(self, lq_key: str = 'img', gt_key: str = 'gt'):
        super().__init__(gt_patch_size=None, lq_key=lq_key, gt_key=gt_key)

    def transform(self, results: dict) -> dict:
        self.gt_patch_size = patch_size_of(results)
        try:
            return super().transform(results)
        except ValueError as error:
            raise ValueError(
                f'{error} (pair of {results[f"{self.lq_key}_path"]} and '
                f'{results[f"{self.gt_key}_path"]}, patch size {self.gt_patch_size}; PadToPatch in the '
                'pipeline before this crop extends images that are smaller)'
            ) from error
