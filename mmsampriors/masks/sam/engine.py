"""SAM's "segment everything", batched and without leaving the device."""

import warnings
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from typing import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms

from ..image_masks import ImageMasks
from .builders import META_AUTOMATIC
from .decoders import build_decoder
from .encoder import Embeddings, check_resolution, encode_images, takes_any_size
from .ops import (
    LogitResizer,
    autocast_to,
    cut,
    embed_points,
    point_grid,
    shown_shape,
    stability_scores,
    stretches,
    to_device,
    to_encoder,
    to_host,
    unpack,
)

#: Sizes of images whose resizing matrices and points are kept. Training has one, a folder of photographs a few.
KEPT_SIZES = 16


@dataclass
class Candidates:
    """Masks of one image before non-maximum suppression: ``packed`` (K, bytes), the rest as in ``ImageMasks``.

    ``kept`` (K,) says which pass the filters; it is None where the others are gone already.
    """

    packed: Tensor
    scores: Tensor
    stability: Tensor
    boxes: Tensor
    kept: Tensor = None

    def select(self, index: Tensor) -> 'Candidates':
        """Those at ``index`` (L,), all of them kept."""
        return Candidates(*(getattr(self, field.name)[index] for field in fields(self)[:4]))


class MaskEngine:
    """Masks of everything in an image, as ``segment_anything.SamAutomaticMaskGenerator`` finds them, many times faster.

    With float32 and the full resolution the result is the stock generator's with ``crop_n_layers=0`` and
    ``min_mask_region_area=0``, up to rounding; empty masks are dropped. Prompts are decoded in folded form
    (``folding.py``) and upscaled only where the predicted IoU passes.

    Args:
        sam (nn.Module): In eval mode, on the device where it is to run. Weights are read at each call.
        points_per_side (int, optional): The prompts are a grid of that many points squared.
        pred_iou_thresh (float, optional): Masks must have a higher predicted IoU; 0 keeps all.
        stability_score_thresh (float, optional): Masks must have at least this stability; 0 keeps all.
        stability_score_offset (float): Distance in logits of the two cuts that stability compares.
        box_nms_thresh (float, optional): Of two masks whose boxes have a higher IoU the one with the lower score is
            dropped. These four default to what suits the SAM: ``sam.automatic``, as :func:`build_sam` leaves it, or
            else the settings for Meta's.
        resolution (int, optional): Long side in pixels at which images are encoded; a multiple of the patch size.
            Defaults to the SAM's own. Lower ones need segment_anything's own image encoder.
        dtype (torch.dtype): float32, bfloat16 or float16, of the image encoder and of all work on image tokens.
        compile (bool): Whether encoder and decoder go through ``torch.compile``: faster, after minutes of start-up for
            each new batch shape.
        images_per_batch (int): Images that are encoded together, at most.
        max_bytes (int, optional): Working memory of the decoder. It bounds how many prompts and masks are in work at
            once, never what is found; beside it stand the encoder's own memory and the masks found, at one bit a
            pixel. Defaults to 48 MiB on CPU, which stays near the caches, and to 4 GiB elsewhere. Where even less is
            free on a GPU, batches are halved until they fit.
    """

    def __init__(
        self,
        sam: nn.Module,
        points_per_side: int = None,
        pred_iou_thresh: float = None,
        stability_score_thresh: float = None,
        box_nms_thresh: float = None,
        *,
        stability_score_offset: float = 1.0,
        resolution: int = None,
        dtype: torch.dtype = torch.float32,
        compile: bool = False,
        images_per_batch: int = 8,
        max_bytes: int = None,
    ) -> None:
        _check_sam(sam)
        given = dict(
            points_per_side=points_per_side,
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            box_nms_thresh=box_nms_thresh,
        )
        given = {name: value for name, value in given.items() if value is not None}
        settings = {**META_AUTOMATIC, **getattr(sam, 'automatic', {}), **given}
        _check_settings(dtype, **settings, stability_score_offset=stability_score_offset)
        _check_counts(
            points_per_side=settings['points_per_side'],
            images_per_batch=images_per_batch,
            resolution=1 if resolution is None else resolution,
        )
        self.sam = sam
        self.grid = point_grid(settings['points_per_side'])
        self.pred_iou_thresh = settings['pred_iou_thresh']
        self.stability_score_thresh = settings['stability_score_thresh']
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = settings['box_nms_thresh']
        self.resolution = resolution or sam.image_encoder.img_size
        check_resolution(sam.image_encoder, self.resolution)
        self.images_per_batch = images_per_batch
        self.max_bytes = max_bytes
        self._said_nothing_found = False
        self.decoder = build_decoder(sam, dtype)
        self._resizer = lru_cache(KEPT_SIZES)(LogitResizer)
        # Of nothing that holds the engine: a cycle would keep a large SAM on its device until Python looks for cycles.
        inputs = sam.prompt_encoder.input_image_size[0]
        self.points_on = lru_cache(KEPT_SIZES)(partial(_points_on, self.grid, self.resolution, inputs, stretches(sam)))
        self._encode, self._decode = encode_images, self.decoder.decode
        if compile:
            self._encode, self._decode = torch.compile(self._encode), torch.compile(self._decode)

    @property
    def dtype(self) -> torch.dtype:
        """Of the image encoder and of all work on image tokens; may be set between two calls."""
        return self.decoder.dtype

    @dtype.setter
    def dtype(self, dtype: torch.dtype) -> None:
        self.decoder.dtype = dtype

    def release(self) -> None:
        """Moves the SAM to the host, and drops what was kept on its device of the sizes of images."""
        self.sam.to('cpu')
        self._resizer.cache_clear()
        self.points_on.cache_clear()

    @classmethod
    def fast(cls, sam: nn.Module, **kwargs) -> 'MaskEngine':
        """The setting for training patches: a quarter of the usual points, and half the resolution.

        Patches have fewer pixels than SAM's input, which shows them enlarged. The resolution is halved only where the
        image encoder is segment_anything's own. ``.dev_scripts/benchmarks/mask_engine.py --fast`` reports the agreement
        with the exact setting beside the speed.

        Args:
            sam (nn.Module): As for the class.
            **kwargs: Other arguments of the class; they take precedence.
        """
        side = sam.image_encoder.img_size // (2 if takes_any_size(sam.image_encoder) else 1)
        return cls(sam, **{'points_per_side': 16, 'resolution': side, **kwargs})

    @torch.no_grad()
    def generate(self, images) -> list:
        """Segments everything.

        Args:
            images (Tensor | list[Tensor]): (N, 3, H, W), or a list of (3, H, W) of any sizes; RGB, float in [0, 1] or
                uint8. They are moved to the SAM's device.

        Returns:
            list[ImageMasks]: One an image, on the SAM's device, largest area first.

        Raises:
            ValueError: Another shape, type or range of values.
        """
        images = _checked(images)
        found = []
        for start in range(0, len(images), self.images_per_batch):
            batch = [to_device(image, self.sam.device) for image in images[start : start + self.images_per_batch]]
            found += _halving(self._segment, batch)
        return found

    def _segment(self, images: list) -> list:
        """:meth:`generate` for images that are encoded together.

        There are two device-to-host synchronisations for each chunk of prompts and two at the end, whatever the number
        of images. On the CPU, where they cost nothing, masks are filtered one chunk at a time.
        """
        sizes, device = [tuple(image.shape[1:]) for image in images], self.sam.device
        images = [image.float() if image.dtype == torch.uint8 else image.float() * 255 for image in images]
        with autocast_to(self.dtype, device):
            embeddings = self._encode(self.sam.image_encoder, to_encoder(images, self.sam, self.resolution))
        state = self.image_state(embeddings)
        resizers = [self.resizer_of(state, size) for size in sizes]
        points = self.points_on(tuple(sizes), device)
        per_chunk = self._fitting(self.decoder.bytes_per_prompt(state.grid[0] * state.grid[1]) * len(images))
        chunks = []
        for some in points.split(per_chunk):
            chunks += _halving(lambda some: [self._decode_points(state, some, resizers)], some)
        return self._suppress([[part for chunk in chunks for part in chunk[i]] for i in range(len(images))], sizes)

    def image_state(self, embeddings: Embeddings):
        """What the decoder keeps of images."""
        prompt_encoder, grid = self.sam.prompt_encoder, tuple(embeddings.image.shape[-2:])
        weight = prompt_encoder.no_mask_embed.weight
        dense = weight[:, :, None, None].expand(-1, -1, *grid)
        return self.decoder.prepare(embeddings.to(weight.dtype), dense, prompt_encoder.pe_layer(grid)[None])

    def resizer_of(self, state, size: tuple) -> LogitResizer:
        """What brings the decoder's masks of an image of ``size`` (H, W) to that size."""
        side = self.decoder.token_side
        low, options = tuple(side * n for n in state.grid), dict(stretched=stretches(self.sam), enlarged=4 // side)
        return self._resizer(low, self.resolution, size, self.sam.device, **options)

    def corner_of(self, resizer: LogitResizer) -> tuple:
        """(h, w) of the upper left image tokens that a resizer uses the masks of."""
        return tuple(-(-used // self.decoder.token_side) for used in resizer.used)

    def prompt_embeddings(self, points: Tensor) -> Tensor:
        """Embeddings of points (B, I, 2) of the prompt encoder's input on I images, image-major: (I * B, 2, C)."""
        return embed_points(self.sam.prompt_encoder, points.transpose(0, 1).flatten(0, 1))

    def _decode_points(self, state, points: Tensor, resizers: list) -> list:
        """Candidates of each image for points (B, I, 2): a list of lists."""
        scores, prompts = self._decode(state, self.prompt_embeddings(points))
        scores = scores.view(len(resizers), len(points), -1)
        wanted = to_host(scores > self.pred_iou_thresh if self.pred_iou_thresh > 0 else torch.ones_like(scores).bool())
        found = [
            self._upscale(state.of_image(i), prompts, i * len(points), scores[i], wanted[i], resizer)
            for i, resizer in enumerate(resizers)
        ]
        return found if self._filters_at_once else _filtered(found)

    @property
    def _filters_at_once(self) -> bool:
        return self.sam.device.type == 'cpu'

    def _upscale(self, image, prompts, first: int, scores: Tensor, wanted: np.ndarray, resizer: LogitResizer) -> list:
        """Candidates among the prompts of one image, in chunks that fit.

        Args:
            image (ImageState): Of that image.
            prompts (PromptState): Of all images.
            first (int): Where the image's prompts begin.
            scores (Tensor): (B, M), predicted IoU of its masks.
            wanted (ndarray): (B, M), bool, which masks are upscaled.
            resizer (LogitResizer): Brings them to the image's size.
        """
        rows, device = np.flatnonzero(wanted.any(1)), scores.device
        if len(rows) == 0:
            return []
        corner = self.corner_of(resizer)
        prompts_at_once = self._fitting(self.decoder.bytes_per_upscaling(corner[0] * corner[1]))
        masks_at_once = self._masks_at_once(resizer.size)
        selected = self.decoder.select(image, prompts, to_device(first + rows, device), corner)
        scores, wanted = scores.flatten()[to_device(np.flatnonzero(wanted), device)], wanted[rows]
        found = []
        for start in range(0, len(rows), prompts_at_once):
            part = slice(start, start + prompts_at_once)
            which = np.flatnonzero(wanted[part])
            logits = self.decoder.masks(image, selected[part], to_device(which, device))
            some, scores = scores.tensor_split([len(which)])
            parts = zip(logits.split(masks_at_once), some.split(masks_at_once))
            found += [self._measure(resizer(logits), some) for logits, some in parts]
        return found

    def _measure(self, logits: Tensor, scores: Tensor) -> Candidates:
        """Candidates among masks given by full-size logits (K, H, W) and predicted IoU (K,)."""
        threshold = self.sam.mask_threshold
        stability = stability_scores(logits, threshold, self.stability_score_offset)
        if self.stability_score_thresh > 0:  # which empty masks fail
            kept = stability >= self.stability_score_thresh
        else:
            kept = logits.amax((1, 2)) > threshold
        # Stock drops boxes at the edge of a crop that is no edge of the image; the only crop here is the image.
        if not self._filters_at_once:
            packed, boxes = cut(logits, threshold)
            return Candidates(packed, scores, stability, boxes, kept)
        which = np.flatnonzero(to_host(kept))
        packed, boxes = cut(logits, threshold, which)
        index = torch.from_numpy(which)
        return Candidates(packed, scores[index], stability[index], boxes)

    def _masks_at_once(self, size: tuple) -> int:
        """How many masks of ``size`` (H, W) are measured at once: on CPU some 4 MiB, which stay near the caches."""
        pixels = size[0] * size[1]
        fitting = self._fitting(4 * 4 * pixels)  # logits, and what measures them
        return min(fitting, max(1, 2**20 // pixels)) if self._filters_at_once else fitting

    def _suppress(self, found: list, sizes: list) -> list:
        """Non-maximum suppression over all candidates of each image; ``found`` has a list of them an image."""
        device = self.sam.device
        joined = [_joined(parts) if parts else None for parts in found]
        owners = np.repeat(np.arange(len(found)), [len(one.scores) if one else 0 for one in joined])
        if len(owners) == 0:
            self._warn_of_no_mask()
            return [ImageMasks.empty(*size, device=device) for size in sizes]
        boxes, scores = (torch.cat([getattr(one, name) for one in joined if one]) for name in ('boxes', 'scores'))
        # Boxes of different images suppress no other: an image is what torchvision calls a class.
        keep = to_host(batched_nms(boxes, scores.float(), to_device(owners, device), self.box_nms_thresh))
        begins = np.searchsorted(owners, np.arange(len(found)))
        masks = [
            _image_masks(one.select(to_device(keep[owners[keep] == i] - begins[i], device)), size)
            if one
            else ImageMasks.empty(*size, device=device)
            for i, (one, size) in enumerate(zip(joined, sizes))
        ]
        if not all(map(len, masks)):
            self._warn_of_no_mask()
        return masks

    def _warn_of_no_mask(self):
        """Warns once: a blank image has no masks, and neither has any where the thresholds do not suit the SAM."""
        if not self._said_nothing_found:
            self._said_nothing_found = True
            warnings.warn(
                f'no mask was found in an image: none passes pred_iou_thresh={self.pred_iou_thresh} and '
                f'stability_score_thresh={self.stability_score_thresh}. Where this SAM scores low, set lower ones, or '
                'register it with the settings that suit it: register_sam(..., automatic=dict(pred_iou_thresh=...))'
            )

    def _fitting(self, bytes_each: int) -> int:
        """How many things of a size fit in the working memory; at least one."""
        default = 48 * 2**20 if self.sam.device.type == 'cpu' else 4 * 2**30
        return max(1, (self.max_bytes or default) // bytes_each)


def _points_on(
    grid: Tensor, resolution: int, inputs: int, stretched: bool, sizes: tuple, device: torch.device
) -> Tensor:
    """A grid on images, in pixels of the prompt encoder's input.

    Args:
        grid (Tensor): (P, 2), float64, in the unit square.
        resolution (int): Long side in pixels at which images are encoded.
        inputs (int): Side in pixels of the prompt encoder's input.
        stretched (bool): Whether images are stretched to a square, as SAM 2 wants them.
        sizes (tuple): (H, W) of each of I images.
        device (torch.device): Where the points are wanted.

    Returns:
        Tensor: (P, I, 2), float64.
    """
    shapes = torch.tensor([shown_shape(size, resolution, stretched)[::-1] for size in sizes], dtype=torch.float64)
    # The prompt encoder adds half a pixel and divides by its own input size.
    return to_device((grid[:, None] * shapes + 0.5) * (inputs / resolution) - 0.5, device)


def _joined(parts: list) -> Candidates:
    """Candidates of one image, one after the other."""
    return Candidates(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Candidates)[:4]))


def _filtered(found: list) -> list:
    """Candidates of several images without those that are not kept, at one word from the device."""
    parts = [part for of_image in found for part in of_image]
    if not parts:
        return found
    kept = to_host(torch.cat([part.kept for part in parts]))
    ends = np.cumsum([len(part.kept) for part in parts])
    selected = iter(
        [
            part.select(to_device(np.flatnonzero(kept), part.scores.device))
            for part, kept in zip(parts, np.split(kept, ends[:-1]))
        ]
    )
    return [[next(selected) for _ in of_image] for of_image in found]


def _image_masks(kept: Candidates, size: tuple) -> ImageMasks:
    """Masks that are neither empty nor suppressed, largest first; the device need not say how many there are."""
    bitmaps = unpack(kept.packed, size)
    areas = bitmaps.flatten(1).sum(1)
    order = areas.argsort(descending=True, stable=True)
    return ImageMasks(
        *(part[order] for part in (bitmaps, kept.scores.float(), kept.stability.float(), kept.boxes, areas))
    )


#: What the engine uses of a SAM.
SAM_PARTS = ('image_encoder', 'prompt_encoder', 'mask_decoder')


def _check_sam(sam):
    missing = [part for part in SAM_PARTS if not isinstance(getattr(sam, part, None), nn.Module)]
    if missing:
        raise TypeError(
            f'expected a SAM, a network with {", ".join(SAM_PARTS)}, as build_sam makes; found {type(sam).__name__} '
            f'without {", ".join(missing)}'
        )


def _check_counts(**counts):
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f'{name} must be a whole number of at least 1, found {value!r}')


def _check_settings(dtype, **thresholds):
    for name, value in thresholds.items():
        if not isinstance(value, (int, float)) or not 0 <= value < float('inf'):
            raise ValueError(f'{name} must be a number of at least 0, found {value!r}')
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f'dtype must be torch.float32, torch.bfloat16 or torch.float16, found {dtype!r}')


def _checked(images) -> list:
    """What :meth:`MaskEngine.generate` takes, or an error; the device says once what values all images have."""
    if not isinstance(images, (Tensor, list, tuple)) or isinstance(images, Tensor) and images.ndim != 4:
        found = f'a tensor of shape {tuple(images.shape)}' if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f'images must be a tensor of shape (N, 3, H, W) or a list of tensors (3, H, W), found {found}')
    for index, image in enumerate(images):
        if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] != 3:
            found = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise ValueError(f'images[{index}] must be a tensor of shape (3, H, W), found {found}')
        if image.dtype != torch.uint8 and not image.is_floating_point():
            raise ValueError(f'images[{index}] must be uint8, or float in [0, 1], found {image.dtype}')
        if 0 in image.shape:
            raise ValueError(f'images[{index}] must have pixels, found the shape {tuple(image.shape)}')
    floats = [index for index, image in enumerate(images) if image.dtype != torch.uint8]
    if floats:
        device = images[floats[0]].device
        ranges = to_host(torch.stack([torch.stack(images[i].aminmax()).float().to(device) for i in floats]))
        for index, (low, high) in zip(floats, ranges.tolist()):
            if not (low >= 0 and high <= 1):
                raise ValueError(f'images[{index}] must be in [0, 1], found {low} to {high}: clamp it, or give uint8')
    return images


def _halving(run: Callable, items) -> list:
    """``run(items)``, a list; where a GPU has not enough memory, of both halves one after the other."""
    try:
        return run(items)
    except torch.cuda.OutOfMemoryError:
        if len(items) == 1:
            raise
    torch.cuda.empty_cache()
    middle = len(items) // 2
    return _halving(run, items[:middle]) + _halving(run, items[middle:])
