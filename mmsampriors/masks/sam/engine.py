"""SAM's "segment everything", batched and without leaving the device."""

from dataclasses import dataclass
from typing import Callable

import torch
from segment_anything.modeling import Sam
from torch import Tensor
from torchvision.ops import batched_nms

from mmsampriors.masks.image_masks import ImageMasks

from .decoder import build_decoder
from .encoder import encode_images, takes_any_size
from .filters import boxes_above, pack_above, stability_scores, unpack
from .frames import LogitResizer, point_grid, resized_shape, to_encoder
from .precision import computed_in


@dataclass
class Candidates:
    """Masks of one image before non-maximum suppression: ``packed`` (K, bytes), the rest as in ``ImageMasks``."""

    packed: Tensor
    scores: Tensor
    stability: Tensor
    boxes: Tensor


class MaskEngine:
    """Masks of everything in an image, as ``segment_anything.SamAutomaticMaskGenerator`` finds them, many times faster.

    With float32 and the full resolution the result is the stock generator's with ``crop_n_layers=0`` and
    ``min_mask_region_area=0``, up to rounding; empty masks are dropped. Prompts are decoded in folded form
    (``folding.py``) and upscaled only where the predicted IoU passes.

    Args:
        sam (Sam): In eval mode, on the device where it is to run. Weights are read at each call.
        points_per_side (int): The prompts are a grid of that many points squared.
        pred_iou_thresh (float): Masks must have a higher predicted IoU; 0 keeps all.
        stability_score_thresh (float): Masks must have at least this stability; 0 keeps all.
        stability_score_offset (float): Distance in logits of the two cuts that stability compares.
        box_nms_thresh (float): Of two masks whose boxes have a higher IoU the one with the lower score is dropped.
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
        sam: Sam,
        points_per_side: int = 32,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        box_nms_thresh: float = 0.7,
        *,
        stability_score_offset: float = 1.0,
        resolution: int = None,
        dtype: torch.dtype = torch.float32,
        compile: bool = False,
        images_per_batch: int = 8,
        max_bytes: int = None,
    ) -> None:
        if points_per_side < 1 or images_per_batch < 1:
            raise ValueError(
                'points_per_side and images_per_batch must be at least 1, found '
                f'{points_per_side} and {images_per_batch}'
            )
        self.sam = sam
        self.grid = point_grid(points_per_side)
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = box_nms_thresh
        self.resolution = resolution or sam.image_encoder.img_size
        self.dtype = dtype
        self.images_per_batch = images_per_batch
        self.max_bytes = max_bytes
        self.decoder = build_decoder(sam, dtype)
        self._encode, self._decode = encode_images, self.decoder.decode
        if compile:
            self._encode, self._decode = torch.compile(self._encode), torch.compile(self._decode)

    @classmethod
    def fast(cls, sam: Sam, **kwargs) -> 'MaskEngine':
        """The setting for training patches: a quarter of the usual points, and half the resolution.

        Patches have fewer pixels than SAM's input, which shows them enlarged. The resolution is halved only where the
        image encoder is segment_anything's own. ``.dev_scripts/benchmarks/mask_engine.py --fast`` reports the agreement
        with the exact setting beside the speed.

        Args:
            sam (Sam): As for the class.
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
        images = [_checked(image, i) for i, image in enumerate(images)]
        found = []
        for start in range(0, len(images), self.images_per_batch):
            batch = [image.to(self.sam.device) for image in images[start : start + self.images_per_batch]]
            found += _halving(self._segment, batch)
        return found

    def _segment(self, images: list) -> list:
        """:meth:`generate` for images that are encoded together, in [0, 255]."""
        sizes = [tuple(image.shape[1:]) for image in images]
        with computed_in(self.dtype, self.sam.device):
            embeddings = self._encode(self.sam.image_encoder, to_encoder(images, self.sam, self.resolution))
        state = self.image_state(embeddings)
        low = tuple(4 * n for n in state.grid)
        by_size = {size: LogitResizer(low, self.resolution, size, self.sam.device) for size in set(sizes)}
        resizers = [by_size[size] for size in sizes]
        per_chunk = self._fitting(self.decoder.bytes_per_prompt(state.grid[0] * state.grid[1]) * len(images))
        chunks = []
        for points in self.grid.split(per_chunk):
            chunks += _halving(lambda points: [self._decode_points(state, points, resizers)], points)
        return [self._suppress([part for chunk in chunks for part in chunk[i]], size) for i, size in enumerate(sizes)]

    def image_state(self, embeddings: Tensor):
        """What the decoder keeps of image embeddings (I, C, h, w)."""
        prompt_encoder, grid = self.sam.prompt_encoder, tuple(embeddings.shape[-2:])
        weight = prompt_encoder.no_mask_embed.weight
        dense = weight[:, :, None, None].expand(-1, -1, *grid)
        return self.decoder.prepare(embeddings.to(weight.dtype), dense, prompt_encoder.pe_layer(grid)[None])

    def prompt_embeddings(self, points: Tensor, sizes: list) -> Tensor:
        """Prompt embeddings of points (B, 2) of the unit square on each image, image-major: (I * B, 2, C)."""
        prompt_encoder, device = self.sam.prompt_encoder, self.sam.device
        shapes = torch.tensor([resized_shape(size, self.resolution)[::-1] for size in sizes], dtype=torch.float64)
        points = (points * shapes[:, None]).flatten(0, 1)[:, None]  # pixels of the encoder's input
        # The prompt encoder adds half a pixel and divides by its own input size.
        factor = prompt_encoder.input_image_size[0] / self.resolution
        points = ((points + 0.5) * factor - 0.5).to(device)
        labels = torch.ones(len(points), 1, dtype=torch.int, device=device)
        return prompt_encoder(points=(points, labels), boxes=None, masks=None)[0]

    def _decode_points(self, state, points: Tensor, resizers: list) -> list:
        """Candidates of each image for points (B, 2) of the unit square: a list of lists."""
        scores, prompts = self._decode(state, self.prompt_embeddings(points, [resizer.size for resizer in resizers]))
        scores = scores.view(len(resizers), len(points), -1)
        wanted = scores > self.pred_iou_thresh if self.pred_iou_thresh > 0 else torch.ones_like(scores).bool()
        rows = wanted.any(2).flatten().nonzero().flatten().split(wanted.any(2).sum(1).tolist())
        scores, wanted = scores.flatten(0, 1), wanted.flatten(0, 1)
        return [
            self._upscale(state.of_image(i), prompts, rows[i], scores[rows[i]], wanted[rows[i]], resizer)
            for i, resizer in enumerate(resizers)
        ]

    def _upscale(self, image, prompts, rows: Tensor, scores: Tensor, wanted: Tensor, resizer: LogitResizer) -> list:
        """Candidates among the prompts ``rows`` of one image, in chunks that fit."""
        if len(rows) == 0:
            return []
        corner = tuple(-(-used // 4) for used in resizer.used)
        prompts_at_once = self._fitting(self.decoder.bytes_per_upscaling(corner[0] * corner[1]))
        masks_at_once = self._fitting(4 * 4 * resizer.size[0] * resizer.size[1])  # logits, and what measures them
        selected = self.decoder.select(image, prompts, rows, corner)
        found = []
        for start in range(0, len(rows), prompts_at_once):
            part = slice(start, start + prompts_at_once)
            logits = self.decoder.masks(image, selected[part], wanted[part]).split(masks_at_once)
            found += map(self._measure, map(resizer, logits), scores[part][wanted[part]].split(masks_at_once))
        return found

    def _measure(self, logits: Tensor, scores: Tensor) -> Candidates:
        """Candidates among masks given by full-size logits (K, H, W) and predicted IoU (K,)."""
        threshold = self.sam.mask_threshold
        stability = stability_scores(logits, threshold, self.stability_score_offset)
        if self.stability_score_thresh > 0:
            stable = (stability >= self.stability_score_thresh).nonzero().flatten()
            logits, scores, stability = logits[stable], scores[stable], stability[stable]
        # Stock drops boxes at the edge of a crop that is no edge of the image; the only crop here is the image.
        return Candidates(pack_above(logits, threshold), scores, stability, boxes_above(logits, threshold))

    def _suppress(self, found: list, size: tuple) -> ImageMasks:
        """Non-maximum suppression over all candidates of an image of ``size``."""
        if not found:
            return ImageMasks.empty(*size, device=self.sam.device)
        packed, scores, stability, boxes = (
            torch.cat([getattr(part, name) for part in found]) for name in ('packed', 'scores', 'stability', 'boxes')
        )
        keep = batched_nms(boxes, scores.float(), torch.zeros_like(scores), self.box_nms_thresh)
        return ImageMasks.from_masks(unpack(packed[keep], size), scores[keep], stability[keep])

    def _fitting(self, bytes_each: int) -> int:
        """How many things of a size fit in the working memory; at least one."""
        default = 48 * 2**20 if self.sam.device.type == 'cpu' else 4 * 2**30
        return max(1, (self.max_bytes or default) // bytes_each)


def _checked(image: Tensor, index: int) -> Tensor:
    """(3, H, W), float32 in [0, 255], from what :meth:`MaskEngine.generate` takes."""
    if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] != 3:
        found = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f'images[{index}] must be a tensor of shape (3, H, W), found {found}')
    if image.dtype == torch.uint8:
        return image.float()
    if not image.is_floating_point():
        raise ValueError(f'images[{index}] must be uint8, or float in [0, 1], found {image.dtype}')
    low, high = torch.stack(image.aminmax()).tolist()
    if not (low >= 0 and high <= 1):
        raise ValueError(f'images[{index}] must be in [0, 1], found {low} to {high}: clamp it, or give uint8')
    return image.float() * 255


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
