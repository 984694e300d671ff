"""Measuring restored photographs: against ground truth, and without.

Importing this is light: mmagic's metrics are imported when something is measured.
"""

import json
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np

from mmsampriors.files import write_whole
from mmsampriors.image_metrics import FULL_REFERENCE, NO_REFERENCE, kept_apart

from .inputs import Found, find_photographs
from .photographs import Photograph, PhotographError, read_photograph

METRICS = FULL_REFERENCE + NO_REFERENCE
BETTER = dict(PSNR='higher', SSIM='higher', LPIPS='lower', DISTS='lower', NIQE='lower')
DEFAULT = ('PSNR', 'SSIM')
SMALLEST_FOR_NIQE = 192  # pixels a side: it looks at blocks of 96 in an image halved once


class Measuring:
    """What is measured of each photograph, and the table of it.

    Args:
        metrics (list[str]): Some of ``METRICS``.
        truths (dict[Path, Path]): Name of a result to the file of its ground truth; empty where none is needed.
        device (str, optional): Where networks that measure run.
    """

    def __init__(self, metrics: Sequence[str], truths: Dict[Path, Path], device: Optional[str] = None):
        self.metrics, self.truths, self.device = metrics, truths, device
        self.functions = {}
        for metric in metrics:
            self.functions[metric] = _function_of(metric, device)

    @classmethod
    def of(cls, metrics: Optional[Sequence[str]], gt: Optional[str], photographs: Sequence[Found], device=None):
        """What the options of a command ask for; None where they ask for nothing.

        Raises:
            FileNotFoundError: A photograph has no ground truth, or weights are missing and cannot be downloaded.
            ValueError: A metric needs ground truth, and there is none.
        """
        if metrics is None and gt is None:
            return None
        metrics = list(dict.fromkeys(metrics or DEFAULT))
        full = [metric for metric in metrics if metric in FULL_REFERENCE]
        if full and gt is None:
            raise ValueError(f'{", ".join(full)} compare with ground truth: name its folder with --gt')
        return cls(metrics, _truths_of(gt, photographs) if gt else {}, device)

    def truth_of(self, name: Path) -> Photograph:
        """The ground truth of a result."""
        try:
            return read_photograph(self.truths[name])
        except PhotographError as error:
            raise PhotographError(f'its ground truth {self.truths[name]} {error}') from None

    def row_of(self, name: Path, images: Dict[str, Photograph]) -> Dict:
        """Measures the images of one photograph.

        Args:
            name (Path): Of the result.
            images (dict[str, Photograph]): ``input``, ``restored`` and perhaps ``refined``.

        Returns:
            dict: ``name``, and by kind a dict of metric to value; None where an image is too small for a metric.

        Raises:
            PhotographError: The ground truth cannot be read, or has another size.
        """
        truth = self.truth_of(name).pixels if self.truths else None
        row = dict(name=str(name))
        for kind, image in images.items():
            if truth is not None and image.pixels.shape[:2] != truth.shape[:2]:
                raise PhotographError(
                    f'has {_size(image.pixels)} pixels, its ground truth {self.truths[name]} {_size(truth)}'
                )
            row[kind] = {
                metric: function(_bgr(image.pixels), None if metric in NO_REFERENCE else _bgr(truth))
                for metric, function in self.functions.items()
            }
        return row

    def report(self, rows: List[Dict], out, shard=(0, 1)) -> str:
        """Writes all values to ``OUT/measured.json`` and gives the tables of means, with and without reference apart.

        Args:
            rows (list[dict]): Of :meth:`row_of`.
            out (str | Path): The folder of results.
            shard (tuple[int]): Of the process, for the name of the file.
        """
        from mmsampriors.reports.tables import show_value, text_table

        if not rows:
            return 'nothing was measured'
        name = 'measured.json' if shard[1] == 1 else f'measured_{shard[0]}_of_{shard[1]}.json'
        write_whole(Path(out) / name, json.dumps(rows, indent=1))
        kinds = [kind for kind in rows[0] if kind != 'name']
        parts = []
        for title, metrics in zip(('against ground truth', 'without reference'), kept_apart(self.metrics)):
            if not metrics:
                continue
            header = [title, *(f'{metric} ({BETTER[metric.removesuffix("-Y")]} is better)' for metric in metrics)]
            lines = []
            for kind in kinds:
                means = [_mean([row[kind][metric] for row in rows]) for metric in metrics]
                shown = [show_value(metric.removesuffix('-Y'), mean) for metric, mean in zip(metrics, means)]
                lines.append([kind, *shown])
            parts.append(text_table(header, lines))
        parts.append(f'means of {len(rows)} photographs; each in {Path(out) / name}')
        return '\n\n'.join(parts)


def _truths_of(folder, photographs):
    """The file of each photograph's ground truth: of the same name below the folder, whatever the suffix."""
    if not Path(folder).is_dir():
        raise FileNotFoundError(f'there is no folder {folder} of ground truths')
    found = find_photographs([str(folder)])
    exact = {one.path.relative_to(folder): one.path for one in found}
    by_name = {name.with_suffix(''): path for name, path in exact.items()}
    truths, missing = {}, []
    for one in photographs:
        own = one.name.with_name(one.path.name)
        path = exact.get(own) or by_name.get(own.with_suffix(''))
        if path is None:
            missing.append(str(one.path))
        truths[one.name] = path
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of {len(photographs)} photographs have no ground truth of their name in {folder}; the '
            f'first: {missing[0]}'
        )
    return truths


def _function_of(metric, device):
    """A function of an image and its ground truth, (H, W, 3), BGR, float in [0, 255]."""
    if metric in ('LPIPS', 'DISTS'):
        from mmsampriors.evaluation.perceptual import perceptual_distance

        measure = perceptual_distance(metric, device)
        return lambda image, truth: measure(image[..., ::-1] / 255, truth[..., ::-1] / 255)
    from mmagic.evaluation.metrics import niqe, psnr, ssim

    if metric == 'NIQE':
        return lambda image, truth: float(niqe(image, 0)) if min(image.shape[:2]) >= SMALLEST_FOR_NIQE else None
    function = dict(PSNR=psnr, SSIM=ssim)[metric.removesuffix('-Y')]
    convert_to = 'Y' if metric.endswith('-Y') else None
    return lambda image, truth: float(function(image, truth, convert_to=convert_to, channel_order='bgr'))


def _bgr(pixels):
    """Pixels of any kind as mmagic's metrics take them: (H, W, 3), BGR, float64 in [0, 255]."""
    pixels = pixels.astype(np.float64) / (257 if pixels.dtype == np.uint16 else 1)
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels[..., ::-1]


def _size(pixels):
    return f'{pixels.shape[1]}x{pixels.shape[0]}'


def _mean(values):
    values = [value for value in values if value is not None]
    return float(np.mean(values)) if values else None
