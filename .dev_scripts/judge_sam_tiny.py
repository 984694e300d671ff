"""Judges the small SAM on photographs segmented by hand, beside felzenszwalb and a whole-image mask.

Prints one JSON object a line. One click: the centre of the largest inscribed circle of every human segment of at
least 1 % of the image; the IoU of the best of three outputs (felzenszwalb: of the segment under the click). Overlap:
the best IoU of each human segment with the automatic masks, and of each automatic mask with the human segments.
"""

import argparse
import json
import platform
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from skimage.segmentation import felzenszwalb
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmsampriors.masks import pairwise_iou  # noqa: E402
from mmsampriors.masks.sam.tiny import TINY_AUTOMATIC, build_sam_tiny  # noqa: E402  (the checkout, installed or not)

# The best of 30 settings (scale 150 to 800, sigma 0.5 to 1.1, min_size 300 to 3500) on 15 photographs of bsds500/train,
# each for its own figure: one click 0.490, overlap 0.451 there.
FELZENSZWALB_CLICK = dict(scale=200, sigma=1.1, min_size=700)
FELZENSZWALB_MASKS = dict(scale=250, sigma=0.8, min_size=2000)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', required=True, help='folder of ID.jpg')
    parser.add_argument('--segments', required=True, help='folder of ID.png, 8-bit label maps')
    parser.add_argument('--checkpoint', default=None, help='weights; defaults to those of the package')
    parser.add_argument('--every', type=int, default=1, help='judge every n-th photograph')
    parser.add_argument('--smallest', type=float, default=0.01, help='segments count from this share of the image')
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
    """The small SAM behind segment-anything's own predictor and generator."""

    def __init__(self, checkpoint):
        sam = build_sam_tiny(checkpoint)
        self.predictor = SamPredictor(sam)
        self.generator = SamAutomaticMaskGenerator(sam, **TINY_AUTOMATIC)

    def clicks(self, image, points):
        """The (3, H, W) bool outputs of every click."""
        self.predictor.set_image(image)
        return [self.predictor.predict(np.array([p]), np.array([1]))[0] for p in points]

    def masks(self, image):
        """(K, H, W), bool."""
        return _stack([m['segmentation'] for m in self.generator.generate(image)], image)


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


def _stack(masks, image):
    return np.stack(masks) if masks else np.zeros((0, *image.shape[:2]), bool)


def judge(segmenter, pairs, smallest, name=None) -> dict:
    """Per-item figures of a segmenter.

    Args:
        segmenter (object): With ``clicks(image, points)`` and ``masks(image)``.
        pairs (list[tuple]): Paths of images and label maps.
        smallest (float): Human segments count from this share of the image.
        name (str, optional): For the progress bar.

    Returns:
        dict: Lists of ``one_click`` and ``human_to_masks``, one entry a human segment, and ``masks_to_human``, one
        entry an automatic mask.
    """
    figures = dict(one_click=[], human_to_masks=[], masks_to_human=[])
    for image_path, segment_path in tqdm(pairs, desc=name, unit='image'):
        image = cv2.cvtColor(cv2.imread(str(image_path)), cv2.COLOR_BGR2RGB)
        labels = cv2.imread(str(segment_path), cv2.IMREAD_UNCHANGED)
        human = human_segments(labels, smallest)
        outputs = segmenter.clicks(image, [inscribed_center(m) for m in human])
        figures['one_click'] += [iou_matrix(o, m[None]).max() for o, m in zip(outputs, human)]
        masks = segmenter.masks(image)
        ious = iou_matrix(human, masks) if len(masks) else np.zeros((len(human), 1))
        figures['human_to_masks'] += ious.max(1).tolist()
        if len(masks):
            everyone = labels[None] == np.unique(labels)[:, None, None]
            figures['masks_to_human'] += iou_matrix(masks, everyone).max(1).tolist()
    return figures


def report(name, figures, photographs) -> list:
    """The JSON lines of one segmenter; ``overlap`` is the mean of both directions."""
    hardware = f'{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads'
    lines = []
    for key, values in figures.items():
        values = np.asarray(values, np.float64) if len(values) else np.zeros(1)
        lines.append(
            dict(
                name=f'{name}/{key}',
                mean=round(values.mean(), 4),
                median=round(np.median(values), 4),
                min=round(values.min(), 4),
                max=round(values.max(), 4),
                unit='IoU',
                count=len(values),
                photographs=photographs,
                hardware=hardware,
            )
        )
    both = (lines[1]['mean'] + lines[2]['mean']) / 2
    return lines + [dict(name=f'{name}/overlap', mean=round(both, 4), unit='IoU', photographs=photographs)]


def main():
    args = parse_args()
    images = sorted(Path(args.images).glob('*.jpg'))[:: args.every]
    if not images:
        raise FileNotFoundError(f'no .jpg in --images {args.images}')
    pairs = [(path, Path(args.segments) / f'{path.stem}.png') for path in images]
    for name, segmenter in dict(
        sam_tiny=TinySam(args.checkpoint), felzenszwalb=Felzenszwalb(), whole_image=WholeImage()
    ).items():
        for line in report(name, judge(segmenter, pairs, args.smallest, name), len(pairs)):
            print(json.dumps(line), flush=True)


if __name__ == '__main__':
    main()
