"""Judges the small SAM on photographs segmented by hand, beside felzenszwalb and a whole-image mask.

Prints one JSON object a line, for each segmenter:

- ``one_click``: the centre of the largest inscribed circle of every human segment of at least 1 % of the image; the IoU
  of the best of three outputs (felzenszwalb: of the segment under the click).
- ``overlap``: the best IoU of each human segment with the automatic masks, and of each automatic mask with the human
  segments; the mean of both.
- ``boundary_f``: F-measure of the automatic masks' borders against those of people's segments, within 3 pixels.
- ``masks_per_segment``: automatic masks to human segments of any size; ``masks_per_large_segment``: to those that
  count for ``one_click``.
- ``borders_on_grid``: share of the automatic masks' borders that lie on multiples of 16 in pixels of the SAM's input,
  to the share that chance would put there. 1 is no block pattern.
- ``seconds``: an image, for automatic masks, by ``MaskEngine`` for the SAM.
"""

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine import DictAction
from segment_anything import SamPredictor
from skimage.segmentation import felzenszwalb
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmsampriors.masks import MaskEngine, pairwise_iou  # noqa: E402  (the checkout, installed or not)
from mmsampriors.masks.sam.tiny import IMAGE_SIZE, TINY_AUTOMATIC, build_sam_tiny  # noqa: E402
from tiny_sam_training.borders import border_map, borders_on_grid, boundary_f  # noqa: E402

# The best of 30 settings (scale 150 to 800, sigma 0.5 to 1.1, min_size 300 to 3500) on 15 photographs of bsds500/train,
# each for its own figure: one click 0.490, overlap 0.451 there.
FELZENSZWALB_CLICK = dict(scale=200, sigma=1.1, min_size=700)
FELZENSZWALB_MASKS = dict(scale=250, sigma=0.8, min_size=2000)
SEGMENTERS = ('sam_tiny', 'felzenszwalb', 'whole_image')
BORDER_REACH = 3  # pixels
UNITS = dict(one_click='IoU', human_to_masks='IoU', masks_to_human='IoU', boundary_f='F', seconds='s')


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', required=True, help='folder of ID.jpg')
    parser.add_argument('--segments', required=True, help='folder of ID.png, 8-bit label maps')
    parser.add_argument('--checkpoint', default=None, help='weights; defaults to those of the package')
    parser.add_argument('--every', type=int, default=1, help='judge every n-th photograph')
    parser.add_argument('--smallest', type=float, default=0.01, help='segments count from this share of the image')
    parser.add_argument('--threads', type=int, default=2, help='of torch')
    parser.add_argument(
        '--automatic', nargs='+', action=DictAction, default={}, help='other settings of automatic masks, key=value'
    )
    parser.add_argument(
        '--segmenters', nargs='+', choices=SEGMENTERS, default=SEGMENTERS, help='which to judge; all of them'
    )
    return parser.parse_args()


def human_segments(labels: np.ndarray, smallest: float) -> np.ndarray:
    """(G, H, W), bool: the segments of at least ``smallest`` of the image."""
    masks = labels[None] == np.unique(labels)[:, None, None]
    return masks[masks.mean((1, 2)) >= smallest]


def inscribed_center(mask: np.ndarray) -> tuple:
    """x, y of the centre of the largest circle inside an (H, W) bool mask."""
    distance = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return int(x), int(y)


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, H, W) and (B, H, W) bool masks to their (A, B) IoU; 0 where both are empty."""
    return np.nan_to_num(pairwise_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy())


class TinySam:
    """The small SAM behind segment-anything's predictor, and this project's engine."""

    def __init__(self, checkpoint, automatic):
        sam = build_sam_tiny(checkpoint)
        self.predictor, self.engine = SamPredictor(sam), MaskEngine(sam, **automatic)

    def clicks(self, image, points):
        """The (3, H, W) bool outputs of every click."""
        self.predictor.set_image(image)
        return [self.predictor.predict(np.array([p]), np.array([1]))[0] for p in points]

    def masks(self, image):
        """(K, H, W), bool."""
        (found,) = self.engine.generate([torch.from_numpy(image).permute(2, 0, 1)])
        return found.bitmaps.numpy()


class Felzenszwalb:
    """scikit-image's graph segmentation, tuned for each figure."""

    def clicks(self, image, points):
        labels = felzenszwalb(image, **FELZENSZWALB_CLICK)
        return [labels[None] == labels[y, x] for x, y in points]

    def masks(self, image):
        labels = felzenszwalb(image, **FELZENSZWALB_MASKS)
        return labels[None] == np.unique(labels)[:, None, None]


class WholeImage:
    """One mask of everything."""

    def clicks(self, image, points):
        return [self.masks(image)] * len(points)

    def masks(self, image):
        return np.ones((1, *image.shape[:2]), bool)


def judge(segmenter, pairs, smallest, name=None) -> dict:
    """Per-item figures of a segmenter.

    Args:
        segmenter (object): With ``clicks(image, points)`` and ``masks(image)``.
        pairs (list[tuple]): Paths of images and label maps.
        smallest (float): Human segments count from this share of the image.
        name (str, optional): For the progress bar.

    Returns:
        dict: Lists of ``one_click`` and ``human_to_masks``, one entry a human segment; of ``masks_to_human``, one an
        automatic mask; and of all others, one a photograph.
    """
    keys = ('one_click', 'human_to_masks', 'masks_to_human', 'boundary_f', 'seconds', 'counts', 'grid')
    figures = {key: [] for key in keys}
    for image_path, segment_path in tqdm(pairs, desc=name, unit='image'):
        image = cv2.cvtColor(cv2.imread(str(image_path)), cv2.COLOR_BGR2RGB)
        labels = cv2.imread(str(segment_path), cv2.IMREAD_UNCHANGED)
        human = human_segments(labels, smallest)
        outputs = segmenter.clicks(image, [inscribed_center(m) for m in human])
        figures['one_click'] += [iou_matrix(o, m[None]).max() for o, m in zip(outputs, human)]
        begin = time.perf_counter()
        masks = segmenter.masks(image)
        figures['seconds'].append(time.perf_counter() - begin)
        everyone = labels[None] == np.unique(labels)[:, None, None]
        ious = iou_matrix(human, masks) if len(masks) else np.zeros((len(human), 1))
        figures['human_to_masks'] += ious.max(1).tolist()
        if len(masks):
            figures['masks_to_human'] += iou_matrix(masks, everyone).max(1).tolist()
        figures['boundary_f'].append(boundary_f(border_map(masks), border_map(everyone), BORDER_REACH))
        figures['counts'].append((len(masks), len(everyone), len(human)))
        figures['grid'].append(borders_on_grid(masks, IMAGE_SIZE))
    return figures


def report(name, figures, photographs) -> list:
    """The JSON lines of one segmenter."""
    hardware = f'{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads'
    lines = []
    for key, unit in UNITS.items():
        values = np.asarray(figures[key], np.float64) if len(figures[key]) else np.zeros(1)
        lines.append(
            dict(
                name=f'{name}/{key}',
                mean=round(values.mean(), 4),
                median=round(np.median(values), 4),
                min=round(values.min(), 4),
                max=round(values.max(), 4),
                unit=unit,
                count=len(figures[key]),
                photographs=photographs,
                hardware=hardware,
            )
        )
    masks, segments, large = np.sum(figures['counts'], 0)
    on_grid, by_chance, _ = np.sum(figures['grid'], 0)
    sums = dict(
        overlap=((lines[1]['mean'] + lines[2]['mean']) / 2, 'IoU'),
        masks_per_segment=(masks / segments, 'ratio'),
        masks_per_large_segment=(masks / large, 'ratio'),
        borders_on_grid=(on_grid / max(by_chance, 1), 'times chance'),
    )
    return lines + [
        dict(name=f'{name}/{key}', mean=round(float(value), 4), unit=unit, photographs=photographs)
        for key, (value, unit) in sums.items()
    ]


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    images = sorted(Path(args.images).glob('*.jpg'))[:: args.every]
    if not images:
        raise FileNotFoundError(f'no .jpg in --images {args.images}')
    pairs = [(path, Path(args.segments) / f'{path.stem}.png') for path in images]
    segmenters = dict(
        sam_tiny=lambda: TinySam(args.checkpoint, {**TINY_AUTOMATIC, **args.automatic}),
        felzenszwalb=Felzenszwalb,
        whole_image=WholeImage,
    )
    for name in args.segmenters:
        for line in report(name, judge(segmenters[name](), pairs, args.smallest, name), len(pairs)):
            print(json.dumps(line), flush=True)


if __name__ == '__main__':
    main()
