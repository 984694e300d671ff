"""The mask under a click: one point, the best of SAM's three masks."""

from typing import NamedTuple, Tuple

import torch
from torch import Tensor

from .encoder import encode_images
from .engine import MaskEngine
from .precision import computed_in
from .resizing import LogitResizer, shown_shape, stretches, to_encoder
from .transfer import to_device


class SeenImage(NamedTuple):
    """An image that has been embedded.

    Attributes:
        state (object): What the decoder keeps of it.
        resizer (LogitResizer): Brings logits to its size.
    """

    state: object
    resizer: LogitResizer


@torch.no_grad()
def see(engine: MaskEngine, image: Tensor) -> SeenImage:
    """Embeds an image, once for all clicks on it.

    Args:
        engine (MaskEngine): Gives SAM, decoder, resolution and precision.
        image (Tensor): (3, H, W), uint8, RGB.
    """
    sam, resolution = engine.sam, engine.resolution
    square = to_encoder([to_device(image, sam.device).float()], sam, resolution)
    with computed_in(engine.dtype, sam.device):
        state = engine.image_state(encode_images(sam.image_encoder, square))
    low, size = tuple(4 * side for side in state.grid), tuple(image.shape[1:])
    return SeenImage(state, LogitResizer(low, resolution, size, sam.device, stretched=stretches(sam)))


@torch.no_grad()
def mask_at(engine: MaskEngine, seen: SeenImage, x: float, y: float) -> Tuple[Tensor, float]:
    """The mask that SAM scores highest of the three that it offers for a point, as ``SamPredictor`` finds them.

    Args:
        engine (MaskEngine): The one that saw the image.
        seen (SeenImage): Of :func:`see`.
        x (float): Column in pixels.
        y (float): Row in pixels.

    Returns:
        tuple[Tensor, float]: The mask, (H, W), bool, and SAM's estimate of its IoU. The mask may be empty.

    Raises:
        ValueError: The point is outside the image.
    """
    sam, resolution, (height, width) = engine.sam, engine.resolution, seen.resizer.size
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f'the point ({x}, {y}) is outside the image of {width}x{height} pixels')
    shown_height, shown_width = shown_shape((height, width), resolution, stretches(sam))
    point = torch.tensor([[[x * shown_width / width, y * shown_height / height]]], dtype=torch.float64)
    # The prompt encoder adds half a pixel and divides by its own input size.
    point = (point + 0.5) * (sam.prompt_encoder.input_image_size[0] / resolution) - 0.5
    scores, prompts = engine.decoder.decode(seen.state, engine.prompt_embeddings(to_device(point, sam.device)))
    best, image = int(scores[0].argmax()), seen.state.of_image(0)
    corner = tuple(-(-used // 4) for used in seen.resizer.used)
    first = torch.zeros(1, dtype=torch.int64, device=sam.device)
    selected = engine.decoder.select(image, prompts, first, corner)
    logits = seen.resizer(engine.decoder.masks(image, selected, first + best))
    return logits[0] > sam.mask_threshold, float(scores[0, best])
