"""Looks for the settings of automatic masks that suit weights of the small SAM: its ``TINY_AUTOMATIC``.

Every mask of each photograph is found once; then each setting picks among them. Prints one JSON object a line, the best
setting last: of those with at most so many masks, the one with the highest overlap. Take other photographs than those
that the weights are judged on:

    python .dev_scripts/tune_sam_tiny.py --images BSDS500/train/images --segments BSDS500/train/segments --every 8
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torchvision.ops import nms
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from judge_sam_tiny import BORDER_REACH, human_segments, iou_matrix  # noqa: E402

from mmsampriors.masks import MaskEngine  # noqa: E402  (the checkout, installed or not)
from mmsampriors.masks.sam.tiny import TINY_AUTOMATIC, build_sam_tiny  # noqa: E402
from tiny_sam_training.borders import border_map, boundary_f  # noqa: E402

SETTINGS = dict(
    pred_iou_thresh=(0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7),
    stability_score_thresh=(0.2, 0.4, 0.6, 0.7, 0.8),
    box_nms_thresh=(0.4, 0.5, 0.6, 0.7),
)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', required=True, help='folder of ID.jpg')
    parser.add_argument('--segments', required=True, help='folder of ID.png, 8-bit label maps')
    parser.add_argument('--checkpoint', default=None, help='weights; defaults to those of the package')
    parser.add_argument('--every', type=int, default=20, help='take every n-th photograph')
    parser.add_argument('--smallest', type=float, default=0.01, help='segments count from this share of the image')
    parser.add_argument('--most', type=float, default=1.0, help='masks to human segments of any size, at most')
    parser.add_argument('--threads', type=int, default=2, help='of torch')
    return parser.parse_args()


def picked(found, setting: dict) -> np.ndarray:
    """Which of an image's masks a setting leaves: their places, (K,)."""
    passing = (found.scores > setting['pred_iou_thresh']) & (found.stability >= setting['stability_score_thresh'])
    places = passing.nonzero().flatten()
    return places[nms(found.boxes[places].float(), found.scores[places], setting['box_nms_thresh'])].numpy()


def figures(photographs: list, setting: dict) -> dict:
    """Overlap, boundary F-measure and masks to human segments of a setting; ``photographs`` as :func:`prepared`."""
    human, masks, borders, counts = [], [], [], []
    for found, to_large, to_all, truth in photographs:
        places = picked(found, setting)
        human += (to_large[:, places].max(1) if len(places) else np.zeros(len(to_large))).tolist()
        masks += to_all[:, places].max(0).tolist()
        borders.append(boundary_f(border_map(found.bitmaps[places].numpy()), truth, BORDER_REACH))
        counts.append((len(places), len(to_all)))
    kept, segments = np.sum(counts, 0)
    return dict(
        overlap=(np.mean(human) + (np.mean(masks) if masks else 0)) / 2,
        boundary_f=np.mean(borders),
        masks_per_segment=kept / segments,
    )


def prepared(engine, image_path, segment_path, smallest) -> tuple:
    """All masks of a photograph, their IoU with large and with all human segments, and people's borders."""
    image = cv2.cvtColor(cv2.imread(str(image_path)), cv2.COLOR_BGR2RGB)
    labels = cv2.imread(str(segment_path), cv2.IMREAD_UNCHANGED)
    (found,) = engine.generate([torch.from_numpy(image).permute(2, 0, 1)])
    everyone, bitmaps = labels[None] == np.unique(labels)[:, None, None], found.bitmaps.numpy()
    large = human_segments(labels, smallest)
    return found, iou_matrix(large, bitmaps), iou_matrix(everyone, bitmaps), border_map(everyone)


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    paths = sorted(Path(args.images).glob('*.jpg'))[:: args.every]
    if not paths:
        raise FileNotFoundError(f'no .jpg in --images {args.images}')
    loosest = {key: min(values) for key, values in SETTINGS.items()} | dict(box_nms_thresh=1.0)
    engine = MaskEngine(build_sam_tiny(args.checkpoint), TINY_AUTOMATIC['points_per_side'], **loosest)
    photographs = [
        prepared(engine, path, Path(args.segments) / f'{path.stem}.png', args.smallest) for path in tqdm(paths)
    ]
    lines = []
    for values in itertools.product(*SETTINGS.values()):
        setting = dict(zip(SETTINGS, values))
        lines.append({**setting, **{key: round(float(x), 4) for key, x in figures(photographs, setting).items()}})
    lines.sort(key=lambda line: (line['masks_per_segment'] <= args.most, line['overlap']))
    print('\n'.join(map(json.dumps, lines)))


if __name__ == '__main__':
    main()
