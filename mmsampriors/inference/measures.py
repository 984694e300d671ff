"""Measuring restored photographs, against ground truth and without, and pictures that compare.

Importing this is light: mmagic's metrics are imported when something is measured.
"""

import io
import json
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmsampriors.files import MadeFiles
from mmsampriors.images import (
    COLLAPSE,
    FULL_REFERENCE,
    LUMA,
    NO_REFERENCE,
    Photograph,
    PhotographError,
    enlarged,
    read_photograph,
    split_by_reference,
    to_eight_bits,
)

from .inputs import RESTORED, Found, find_photographs

METRICS = FULL_REFERENCE + NO_REFERENCE
BETTER = dict(PSNR='higher', SSIM='higher', LPIPS='lower', DISTS='lower', NIQE='lower')
DEFAULT, DEFAULT_ENLARGED = ('PSNR', 'SSIM'), ('PSNR-Y', 'SSIM-Y')
SMALLEST_FOR_NIQE = 192  # pixels a side: it looks at blocks of 96 in an image halved once


class Measuring:
    """What is measured of each photograph, and the table of it.

    Args:
        metrics (list[str]): Some of ``METRICS``.
        truths (dict[Path, Path]): Name of a result to the file of its ground truth; empty where none is needed.
        device (str, optional): Where networks that measure run.
        scale (int): How many times larger the restored images are. Above 1 a border of as many pixels counts for
            nothing, as published results of super-resolution are measured, and the input is enlarged by bicubic
            interpolation.
    """

    def __init__(self, metrics: Sequence[str], truths: Dict[Path, Path], device: Optional[str] = None, scale: int = 1):
        self.metrics, self.truths, self.device, self.scale = metrics, truths, device, scale
        self.by_psnr = (DEFAULT if scale == 1 else DEFAULT_ENLARGED)[0]
        needed = dict.fromkeys([*metrics, *([self.by_psnr] if truths else [])])
        self.functions = {metric: _function_of(metric, device, scale if scale > 1 else 0) for metric in needed}

    @classmethod
    def of(
        cls, metrics: Optional[Sequence[str]], gt: Optional[str], photographs: Sequence[Found], device=None, scale=1
    ):
        """What the options of a command ask for; None where they ask for nothing.

        Raises:
            FileNotFoundError: A photograph has no ground truth, or weights are missing and cannot be downloaded.
            ValueError: A metric needs ground truth, and there is none.
        """
        if metrics is None and gt is None:
            return None
        metrics = list(dict.fromkeys(metrics or (DEFAULT if scale == 1 else DEFAULT_ENLARGED)))
        full = [metric for metric in metrics if metric in FULL_REFERENCE]
        if full and gt is None:
            raise ValueError(f'{", ".join(full)} compare with ground truth: name its folder with --gt')
        return cls(metrics, _truths_of(gt, photographs) if gt else {}, device, scale)

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
            dict: ``name``, and by kind a dict of metric to value; None where an image is too small for a metric. The
            enlarged input is ``bicubic``. With ground truths there always is PSNR, or PSNR-Y of enlarged images.

        Raises:
            PhotographError: The ground truth cannot be read, or has another size.
        """
        truth = self.truth_of(name).pixels if self.truths else None
        row = dict(name=str(name))
        for kind, image in images.items():
            pixels = image.pixels
            if kind == 'input' and self.scale > 1:
                kind, pixels = 'bicubic', enlarged(pixels, self.scale)
            if truth is not None:
                truth = self._cropped(truth, pixels.shape[:2], name)
            row[kind] = {
                metric: function(_bgr(pixels), None if metric in NO_REFERENCE else _bgr(truth))
                for metric, function in self.functions.items()
            }
        return row

    def _cropped(self, truth, size, name):
        """The ground truth without what is left where its size is no multiple of the scale."""
        if any(not 0 <= length - own < self.scale for length, own in zip(truth.shape, size)):
            larger = f' and is restored {self.scale} times as large' if self.scale > 1 else ''
            own = f'{size[1] // self.scale}x{size[0] // self.scale}'
            raise PhotographError(f'has {own} pixels{larger}, its ground truth {self.truths[name]} {_size(truth)}')
        return truth[: size[0], : size[1]]

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
        name = file_of(shard)
        MadeFiles(out, 'restore').write(name, json.dumps(rows, indent=1))
        kinds = [kind for kind in rows[0] if kind != 'name']
        parts = []
        for title, metrics in zip(('against ground truth', 'without reference'), split_by_reference(self.metrics)):
            if not metrics:
                continue
            header = [title, *(f'{metric} ({BETTER[metric.removesuffix("-Y")]} is better)' for metric in metrics)]
            lines = []
            for kind in kinds:
                means = [_mean([row[kind][metric] for row in rows]) for metric in metrics]
                shown = [show_value(metric.removesuffix('-Y'), mean) for metric, mean in zip(metrics, means)]
                lines.append([kind, *shown])
            parts.append(text_table(header, lines))
        if self.scale > 1:
            parts.append(f'of PSNR, SSIM and NIQE without a border of {self.scale} pixels')
        if self.truths:
            fallen = sum(row[kinds[0]][self.by_psnr] - row[RESTORED][self.by_psnr] > COLLAPSE for row in rows)
            parts.append(
                f'CollapseRate {100 * fallen / len(rows):.3g} %: {fallen} of {len(rows)} restored more than '
                f'{COLLAPSE:g} dB of {self.by_psnr} below their {kinds[0]}'
            )
        parts.append(f'means of {len(rows)} photographs; each in {Path(out) / name}')
        return '\n\n'.join(parts)


def file_of(shard) -> str:
    """The name of the file that :meth:`Measuring.report` writes."""
    return 'measured.json' if shard[1] == 1 else f'measured_{shard[0]}_of_{shard[1]}.json'


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


def _function_of(metric, device, border):
    """A function of an image and its ground truth, (H, W, 3), BGR, float in [0, 255]."""
    if metric in ('LPIPS', 'DISTS'):
        from mmsampriors.evaluation.image_metrics import perceptual_distance

        measure = perceptual_distance(metric, device)
        return lambda image, truth: measure(image[..., ::-1] / 255, truth[..., ::-1] / 255)
    from mmagic.evaluation.metrics import niqe, psnr, ssim

    if metric == 'NIQE':
        return lambda image, truth: float(niqe(image, border)) if min(image.shape[:2]) >= SMALLEST_FOR_NIQE else None
    function = dict(PSNR=psnr, SSIM=ssim)[metric.removesuffix('-Y')]
    options = dict(crop_border=border, convert_to='Y' if metric.endswith('-Y') else None, channel_order='bgr')
    return lambda image, truth: float(function(image, truth, **options))


def _bgr(pixels):
    """Pixels of any kind as mmagic's metrics take them: (H, W, 3), BGR, float64 in [0, 255]."""
    pixels = pixels.astype(np.float64) / (257 if pixels.dtype == np.uint16 else 1)
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels[..., ::-1]


def _size(pixels):
    return f'{pixels.shape[1]}x{pixels.shape[0]}'


def _mean(values):
    values = [value for value in values if value is not None]
    return float(np.mean(values)) if values else None


BLOCK = 32  # pixels a side, of the photograph
#: The move, as a share of white, beyond which a result is garbage. [ours] Right restorations by the package's students
#: move by at most 0.11; of those with badly damaged weights half to all move further than this bound (the table is in
#: docs/restoring.md).
MOST_MOVED = 0.15
#: What restoring may do to a photograph as a whole: to its brightness, as a share of white, and to its contrast. [ours]
#: Rain twice as heavy as that of the students, taken from Kodak's photographs, moves their brightness by at most 0.25.
BRIGHTER, CONTRAST = 0.25, (0.8, 4.0)


def largest_move(photograph: np.ndarray, restored: np.ndarray) -> Tuple[float, Tuple[int, int]]:
    """How far restoring moved the large shapes of a photograph: both are compared at 1/32 of its size. [ours]

    Garbage moves them further than ``MOST_MOVED``. Brightness and contrast of the whole may change, as they do where a
    veil of rain is taken away.

    Args:
        photograph (np.ndarray): (H, W) or (H, W, 3), RGB, of any type.
        restored (np.ndarray): (scale * H, scale * W) or (scale * H, scale * W, 3), likewise. Where it is gray alone,
            the photograph's luma counts.

    Returns:
        tuple[float, tuple[int, int]]: The largest difference of a block's mean in any channel, as a share of white,
        and that block's middle, (x, y) in pixels of the photograph. Sides below 48 pixels are one block.
    """
    edges = [np.linspace(0, side, max(1, round(side / BLOCK)) + 1).astype(int) for side in photograph.shape[:2]]
    before, after = _block_means(photograph, edges, 1), _block_means(restored, edges, len(restored) // len(photograph))
    if after.shape[2] < before.shape[2]:
        before = before @ np.reshape(LUMA, (3, 1))
    moves = np.abs(after - _as_bright(before, after)).max(axis=2)
    row, column = np.unravel_index(moves.argmax(), moves.shape)
    middle = [int(side[at] + side[at + 1]) // 2 for side, at in zip(edges, (row, column))]
    return float(moves[row, column]), (middle[1], middle[0])


def _as_bright(before, after):
    """``before`` with the brightness and contrast of ``after``, as far as restoring may change them."""
    shapes = before - before.mean()
    contrast = np.sum(shapes * after) / max(np.sum(shapes**2), 1e-9)
    brighter = np.clip(after.mean() - before.mean(), -BRIGHTER, BRIGHTER)
    return before.mean() + brighter + np.clip(contrast, *CONTRAST) * shapes


def _block_means(pixels, edges, scale):
    """(rows, columns, channels) in [0, 1]; a band at a time, for the float copy of a photograph would be large."""
    rows, columns = (scale * side for side in edges)
    bands = [pixels[top:bottom].mean(axis=0, dtype=np.float32) for top, bottom in zip(rows[:-1], rows[1:])]
    sums = np.add.reduceat(np.stack(bands), columns[:-1], axis=1, dtype=np.float64)
    means = sums.reshape(*sums.shape[:2], -1) / np.diff(columns)[:, None]
    return means if pixels.dtype.kind == 'f' else means / np.iinfo(pixels.dtype).max


WIDEST = 8192  # pixels of a panel; larger ones are shrunk
GAP = 8


def panel_of(images: Dict[str, np.ndarray]) -> Image.Image:
    """Images side by side with their titles.

    Args:
        images (dict[str, np.ndarray]): Title to pixels, (H, W) or (H, W, 3), uint8 or uint16. All are shown as large as
            the largest; the smaller ones in their pixels.
    """
    height, width = max(pixels.shape[:2] for pixels in images.values())
    scale = min(1.0, (WIDEST / len(images) - GAP) / width, WIDEST / height)
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    size = max(12, min(48, width // 20))
    font = ImageFont.load_default(size)
    panel = Image.new('RGB', (len(images) * (width + GAP) - GAP, height + 2 * size), 'white')
    draw = ImageDraw.Draw(panel)
    for index, (title, pixels) in enumerate(images.items()):
        left, picture = index * (width + GAP), _picture(pixels)
        if picture.size != (width, height):
            way = Image.Resampling.NEAREST if picture.width < width else Image.Resampling.LANCZOS
            picture = picture.resize((width, height), way)
        panel.paste(picture, (left, 2 * size))
        draw.text((left + width // 2, size), title, fill='black', font=font, anchor='mm')
    return panel


def _picture(pixels):
    return Image.fromarray(to_eight_bits(pixels)).convert('RGB')


def encode_panel(photographs: Dict[str, Photograph]) -> bytes:
    """A panel as JPEG, in the colour profile of the first.

    Args:
        photographs (dict[str, Photograph]): Title to photograph.
    """
    panel = panel_of({title: photograph.pixels for title, photograph in photographs.items()})
    icc, file = next(iter(photographs.values())).icc, io.BytesIO()
    panel.save(file, 'JPEG', quality=92, subsampling=0, icc_profile=icc if _is_rgb(icc) else None)
    return file.getvalue()


def _is_rgb(icc):
    return bool(icc) and icc[16:20] == b'RGB '
