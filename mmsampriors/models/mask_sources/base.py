"""What a mask source is to the model."""

from typing import List, Sequence

from torch import Tensor

from mmsampriors.masks import ImageMasks


class MaskSource:
    """Where the masks of a training step come from.

    A source is no ``nn.Module``: SAM is a tool of training and no part of the model. A source that is ``stored`` has
    its masks on disk; while training they travel with the samples through the pipeline, and :meth:`segment` serves
    whole images in validation only.
    """

    stored = False
    #: What a user should know before training with these masks; logged as a warning.
    caution = ''

    def __deepcopy__(self, memo):
        return self

    def check(self):
        """Raises what can be known to be wrong without building or reading anything large."""

    def prepare(self):
        """Raises what can be known to be wrong before any image is segmented, such as a missing checkpoint."""

    def release(self):
        """Frees the device of what segments, until images are segmented again."""

    def provenance(self) -> dict:
        """What the masks depend on besides the image: plain values, for the cache."""
        raise NotImplementedError

    def segment(self, images: Tensor, paths: Sequence[str] = ()) -> List[ImageMasks]:
        """Masks of images.

        Args:
            images (Tensor): (N, 3, H, W), RGB in [0, 1].
            paths (Sequence[str]): The files of the N images, for sources that look masks up.

        Returns:
            list[ImageMasks]: N of them, on the device of ``images``.
        """
        raise NotImplementedError
