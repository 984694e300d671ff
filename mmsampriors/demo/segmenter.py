"""SAM on the page: masks under a click, and all masks."""

import os
import threading
from typing import Dict, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from mmsampriors.masks import SAM_BUILDERS, ImageMasks, MaskEngine, draw_masks, pairwise_iou, shared_sam
from mmsampriors.masks.optional_packages import check_extra
from mmsampriors.masks.sam.encoder import encode_images
from mmsampriors.masks.sam.ops import (
    LogitResizer,
    autocast_to,
    fastest_exact_dtype,
    shown_shape,
    stretches,
    to_device,
    to_encoder,
    torch_device,
)

from .scene import CLEAN, DAMAGED, RESTORED, Scene

CLICKED = np.array([[255, 176, 0]])
FOUND_TOO = 0.5  # least IoU of a mask with one on the clean photograph that counts as the same
OTHER = (255, 255, 255)  # of masks that the clean photograph has not


class Drawn(NamedTuple):
    """Both pictures with masks, and the numbers that are shown beside them.

    Attributes:
        pictures (dict[str, np.ndarray]): ``damaged`` and ``restored``, (H, W, 3), uint8.
        numbers (dict[str, dict]): The same names to what was counted.
    """

    pictures: Dict[str, np.ndarray]
    numbers: Dict[str, dict]


class Segmenter:
    """SAM, and what it finds in the views of a scene. One caller at a time; the others wait.

    Args:
        model_type (str): A key of ``SAM_BUILDERS``.
        checkpoint (str, optional): As for ``build_sam``.
        device (str, optional): Of torch. Defaults to CUDA where there is one, or else the CPU.

    Raises:
        ImportError: The package of that SAM, an extra, is not installed.
        ValueError: There is no such SAM.
    """

    def __init__(self, model_type: str, checkpoint: Optional[str] = None, device: Optional[str] = None):
        if model_type not in SAM_BUILDERS:
            raise ValueError(f'a SAM is one of {sorted(SAM_BUILDERS)}, found {model_type!r}')
        check_extra(model_type)
        if checkpoint and '://' not in str(checkpoint) and not os.path.isfile(checkpoint):
            raise FileNotFoundError(f'there is no SAM checkpoint {checkpoint}')
        self.model_type, self.checkpoint = model_type, checkpoint
        self.device = torch_device(device)
        self._engine, self._lock = None, threading.Lock()

    def click(self, scene: Scene, x: float, y: float) -> Drawn:
        """The mask under a point, on the damaged and on the restored view.

        Args:
            scene (Scene): Remembers what SAM has seen.
            x (float): Column in pixels of the views.
            y (float): Row in pixels of the views.

        Returns:
            Drawn: ``numbers`` hold ``area``, a share of the image, ``score``, SAM's own estimate, and ``iou`` with the
            mask on the clean photograph, None where that is not known.

        Raises:
            FileNotFoundError: SAM has no checkpoint, and it cannot be downloaded.
        """
        with self._lock:
            found = {name: self._mask(scene, name, x, y) for name in scene.views}
        clean = found.get(CLEAN)
        pictures, numbers = {}, {}
        for name in (DAMAGED, RESTORED):
            mask, score = found[name]
            iou = None if clean is None else _iou(mask, clean[0])
            numbers[name] = dict(area=mask.float().mean().item(), score=score, iou=iou)
            picture = draw_masks(scene.views[name], ImageMasks.from_masks(mask[None]), CLICKED)
            pictures[name] = _with_dot(picture, x, y)
        return Drawn(pictures, numbers)

    def everything(self, scene: Scene) -> Drawn:
        """All masks on the damaged and on the restored view.

        Where the clean photograph is known, a mask has the colour of the mask there that it resembles, and is white
        where there is none. So one thing has one colour in both pictures.

        Returns:
            Drawn: ``numbers`` hold ``masks``, their count, and ``found``: how many of the clean photograph's masks are
            among them, and ``wanted``, how many there are; None where that is not known.

        Raises:
            FileNotFoundError: SAM has no checkpoint, and it cannot be downloaded.
        """
        with self._lock:
            engine = self._built()
            found = {name: engine.generate(_tensor(view)[None])[0].to('cpu') for name, view in scene.views.items()}
        reference = found.get(CLEAN, found[RESTORED])
        palette = np.random.default_rng(0).uniform(40, 255, (len(reference), 3))
        pictures, numbers = {}, {}
        for name in (DAMAGED, RESTORED):
            masks = found[name]
            colours, again = _colours(masks, reference, palette)
            pictures[name] = draw_masks(scene.views[name], masks, colours)
            known = CLEAN in found
            numbers[name] = dict(
                masks=len(masks), found=again if known else None, wanted=len(reference) if known else None
            )
        return Drawn(pictures, numbers)

    def _built(self) -> MaskEngine:
        if self._engine is None:
            sam = shared_sam(self.model_type, self.checkpoint).to(self.device)
            self._engine = MaskEngine(sam, dtype=fastest_exact_dtype(self.device))
        return self._engine

    def _mask(self, scene, name, x, y):
        engine = self._built()
        if name not in scene.seen:
            scene.seen[name] = see(engine, _tensor(scene.views[name]))
        mask, score = mask_at(engine, scene.seen[name], x, y)
        return mask.cpu(), score


def _tensor(pixels):
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _iou(one, other):
    """1 where both masks are empty."""
    union = (one | other).sum().item()
    return (one & other).sum().item() / union if union else 1.0


def _colours(masks, reference, palette):
    """The colour of each mask, (K, 3), and how many masks of the reference are among them."""
    colours = np.tile(np.array(OTHER, float), (len(masks), 1))
    if len(masks) == 0 or len(reference) == 0:
        return colours, 0
    iou = pairwise_iou(masks.bitmaps, reference.bitmaps)
    best, which = (values.numpy() for values in iou.max(1))
    alike = best >= FOUND_TOO
    colours[alike] = palette[which[alike]]
    return colours, int((iou.amax(0) >= FOUND_TOO).sum())


def _with_dot(picture, x, y):
    """A white dot with a dark rim where the person clicked."""
    rows, columns = np.ogrid[: picture.shape[0], : picture.shape[1]]
    distance = np.hypot(rows - y, columns - x)
    radius = max(4, max(picture.shape[:2]) / 110)
    picture[distance <= 1.5 * radius] = 20
    picture[distance <= radius] = 255
    return picture


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
    with autocast_to(engine.dtype, sam.device):
        state = engine.image_state(encode_images(sam.image_encoder, square))
    return SeenImage(state, engine.resizer_of(state, tuple(image.shape[1:])))


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
    first = torch.zeros(1, dtype=torch.int64, device=sam.device)
    selected = engine.decoder.select(image, prompts, first, engine.corner_of(seen.resizer))
    logits = seen.resizer(engine.decoder.masks(image, selected, first + best))
    return logits[0] > sam.mask_threshold, float(scores[0, best])
